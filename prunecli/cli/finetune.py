"""``prune finetune``: a checkpoint trained on data."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunecli.cli import names, options, output, settings
from prunecli.cli.kept import Kept
from prunecli.cli.options import (
    DATA,
    OUTPUT,
    RUNNING,
    Arch,
    ArchArg,
    Checkpoint,
    Data,
    Device,
    EvalData,
    Force,
    Input,
    Json,
    Network,
    Quiet,
    Resume,
    SampleCount,
    SaveMinutes,
    Seed,
    Threads,
    Transform,
    UnsafeLoad,
)
from prunecli.errors import PruneError, UsageError
from prunecli.training.launched import launched, said_once
from prunecli.training.settings import AMP, AUGMENTS, OPTIMIZERS, SCHEDULES, Settings

if TYPE_CHECKING:
    from prunecli.report.trained import EpochRow, Finetuning

TRAINING = "Training"
LOSS = "What is made small"


# Long because Typer reads the options from the signature; everything after it is a few lines.
def finetune(
    ckpt: Checkpoint,
    data: Data = None,
    eval_data: EvalData = None,
    samples: SampleCount = None,
    transform: Transform = None,
    augment: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=DATA,
            help=f"Pictures changed at random: {', '.join(AUGMENTS)} (crop and imagenet flip too).",
        ),
    ] = "none",
    epochs: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=TRAINING, help="How often all samples are seen.")
    ] = 10,
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N", rich_help_panel=TRAINING, help="Samples of one step, of each process under torchrun."
        ),
    ] = 128,
    optimizer: Annotated[
        str, typer.Option(metavar="NAME", rich_help_panel=TRAINING, help=f"{', '.join(OPTIMIZERS)}.")
    ] = "sgd",
    lr: Annotated[
        float | None,
        typer.Option(
            metavar="X", rich_help_panel=TRAINING, help="Learning rate. Default: 0.01 (sgd), 1e-4 (adamw)."
        ),
    ] = None,
    momentum: Annotated[
        float, typer.Option(metavar="X", rich_help_panel=TRAINING, help="Of sgd, Nesterov's.")
    ] = 0.9,
    weight_decay: Annotated[
        float | None,
        typer.Option(metavar="X", rich_help_panel=TRAINING, help="Default: 5e-4 (sgd), 0.01 (adamw)."),
    ] = None,
    schedule: Annotated[
        str,
        typer.Option(
            metavar="NAME", rich_help_panel=TRAINING, help=f"Of the learning rate: {', '.join(SCHEDULES)}."
        ),
    ] = "multi-step",
    milestones: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            rich_help_panel=TRAINING,
            help="After which epochs multi-step divides it by ten. Default: three and four fifths of all.",
        ),
    ] = None,
    warmup: Annotated[
        int,
        typer.Option(metavar="N", rich_help_panel=TRAINING, help="Epochs in which the learning rate grows."),
    ] = 0,
    clip: Annotated[
        float | None,
        typer.Option(metavar="X", rich_help_panel=TRAINING, help="Bound of the norm of the gradient."),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            metavar="X", rich_help_panel=TRAINING, help="Write a moving average of the weights, like 0.999."
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=TRAINING,
            help="Stop after N epochs that are no better, and write the best.",
        ),
    ] = None,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate", rich_help_panel=TRAINING, help="Recompute statistics of norms at the end."
        ),
    ] = False,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=LOSS,
            help="cross-entropy, mse or FILE.py:function. Default: cross-entropy for one row of scores per "
            "sample, else mse.",
        ),
    ] = None,
    label_smoothing: Annotated[
        float,
        typer.Option(metavar="X", rich_help_panel=LOSS, help="Share of a label that goes to all classes."),
    ] = 0.0,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="DENSE", rich_help_panel=LOSS, help="The dense checkpoint to learn from (distillation)."
        ),
    ] = None,
    distill: Annotated[
        float,
        typer.Option(
            metavar="X",
            rich_help_panel=LOSS,
            help="Its share in the loss, where there is --against; 1 needs no labels, 0 is without it.",
        ),
    ] = 0.5,
    distill_temperature: Annotated[
        float, typer.Option(metavar="T", rich_help_panel=LOSS, help="Divides the scores of both networks.")
    ] = 4.0,
    arch: Arch = None,
    arch_arg: ArchArg = None,
    input: Input = None,
    unsafe_load: UnsafeLoad = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            rich_help_panel=OUTPUT,
            help="Default: STEM.finetuned.safetensors beside CKPT, or DIR.finetuned for a directory.",
        ),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=OUTPUT,
            help="Where the report goes (.json). Repeatable. Default: OUT with .json.",
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    resume: Resume = False,
    save_minutes: SaveMinutes = 10.0,
    amp: Annotated[
        str, typer.Option(metavar="NAME", rich_help_panel=RUNNING, help=f"Mixed precision: {', '.join(AMP)}.")
    ] = "none",
    channels_last: Annotated[
        bool,
        typer.Option(
            "--channels-last", rich_help_panel=RUNNING, help="Keep pictures pixel by pixel in memory."
        ),
    ] = False,
    device: Device = "auto",
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Train a checkpoint, dense or pruned, on data; a pruned one stays as small as it is.

    On several GPUs or machines: torchrun --nproc-per-node N -m prunecli finetune ...
    """
    chosen = {
        "epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "lr": lr, "momentum": momentum,
        "weight_decay": weight_decay, "schedule": schedule, "milestones": _epochs_in(milestones),
        "warmup": warmup, "clip": clip, "ema": ema, "patience": patience, "recalibrate": recalibrate,
        "loss": loss, "label_smoothing": label_smoothing, "distill": distill,
        "distill_temperature": distill_temperature, "augment": augment, "amp": amp,
        "channels_last": channels_last, "seed": seed,
    }  # fmt: skip
    request = _Request(
        files=settings.files(ckpt, out, report, arch, "finetuned"),
        data={"data": data, "eval_data": eval_data, "samples": samples, "transform": transform},
        settings=chosen,
        against=against,
        network=options.network(arch, arch_arg, input, unsafe_load),
        running={"device": device, "threads": threads, "resume": resume, "save_seconds": 60 * save_minutes},
        force=force,
    )
    here = launched()
    try:
        options.require_one_format(json, quiet)
        request.check(here.leads)
    except PruneError as error:
        raise said_once(error) from None
    done = _execute(request, quiet, here.leads)
    if here.leads:
        _show(done, request.files.output, json, quiet)


def _epochs_in(text: str | None) -> tuple[int, ...] | None:
    """``60,80`` as numbers. Raises ``UsageError``."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--milestones {text} are no epochs", "like --milestones 60,80") from None


@dataclass(frozen=True)
class _Request:
    """One run, complete. ``data``, ``settings`` and ``running`` as ``prunecli.finetune`` takes them."""

    files: settings.Files
    data: dict[str, Any]
    settings: dict[str, Any]
    against: Path | None
    network: Network
    running: dict[str, Any]
    force: bool

    @property
    def kept(self) -> Kept:
        return Kept(self.files.output)

    def check(self, writes: bool) -> None:
        """Raise a ``PruneError`` for the first thing wrong: the command line first, the files after; those
        that are written only where this process ``writes``.
        """
        given = self.data["data"]
        if given is None:
            hint = "like --data imagefolder:DIR; prune finetune --help lists the sources"
            raise UsageError("no data given", hint)
        Settings.of(self.settings)
        options.require_data(given, self.data["samples"], self.data["transform"], 1)
        options.require_data(self.data["eval_data"], None, None, 1)
        self._check_loss()
        names.require_known("device", self.running["device"].partition(":")[0], names.DEVICES)
        options.require_from("--threads", self.running["threads"], 1)
        if not self.running["save_seconds"] >= 0:
            raise UsageError("--save-minutes is out of range", "a number of minutes from 0")
        options.require_readable(self.files.checkpoint)
        if self.against is not None:
            options.require_readable(self.against)
        if writes:
            self._check_files()

    def _check_loss(self) -> None:
        loss = self.settings["loss"]
        file, _, function = (loss or "").rpartition(":")
        if loss is not None and not (file.endswith(".py") and function.isidentifier()):
            names.require_known("loss", loss, ("cross-entropy", "mse"))
        if self.settings["patience"] is not None and not self._is_judged():
            raise UsageError("--patience needs data to measure on, and this has no test part", "--eval-data")

    def _is_judged(self) -> bool:
        from prunecli.data.specs import is_divided

        return self.data["eval_data"] is not None or is_divided(self.data["data"])

    def _check_files(self) -> None:
        self.files.check(self.force, dry_run=False)
        self.kept.check(self.running["resume"], self.force)


def _execute(request: _Request, quiet: bool, writes: bool) -> Finetuning:
    import prunecli

    of, files = request.network, request.files
    with output.epochs(quiet or not writes) as (progress, line):

        def told(row: EpochRow) -> None:
            from prunecli.report.finetuned import epoch_line

            line(epoch_line(row, request.settings["epochs"]))

        result = prunecli.finetune(
            files.checkpoint, **request.data, against=request.against, arch=of.arch, arch_args=of.arguments,
            inputs=of.inputs, unsafe_load=of.unsafe_load, **request.running, state=request.kept.state,
            metrics=request.kept.metrics, progress=progress, on_epoch=told, **request.settings,
        )  # fmt: skip
        done = result.save(files.output, force=request.force)
    done = replace(done, command=("prune", *sys.argv[1:]))
    from prunecli.report.files import write_report

    for path in files.reports if writes else ():
        if not options.is_stdout(path):
            write_report(done, path)
    return done


def _show(done: Finetuning, place: Path, json: bool, quiet: bool) -> None:
    if quiet:
        output.path(place)
        return
    output.notes((*done.network.notes, *done.notes))
    if json:
        output.document(done.to_json())
        return
    from prunecli.report.finetuned import finetuning

    output.show(*finetuning(done))
