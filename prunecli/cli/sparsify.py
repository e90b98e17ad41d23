"""``prune sparsify``: training that makes whole units small."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunecli.cli import names, options, settings, training
from prunecli.cli.options import (
    OUTPUT,
    Arch,
    ArchArg,
    Checkpoint,
    Data,
    Device,
    EvalData,
    Force,
    Ignore,
    Input,
    Json,
    Only,
    Quiet,
    Resume,
    SampleCount,
    SaveMinutes,
    Seed,
    Threads,
    Transform,
    UnsafeLoad,
)
from prunecli.cli.training import (
    Against,
    Amp,
    Augment,
    BatchSize,
    ChannelsLast,
    Clip,
    Distill,
    DistillTemperature,
    Ema,
    Epochs,
    LabelSmoothing,
    Loss,
    Lr,
    Milestones,
    Momentum,
    Optimizer,
    Patience,
    Recalibrate,
    Reports,
    Schedule,
    Warmup,
    WeightDecay,
)
from prunecli.errors import UsageError
from prunecli.training.launched import launched

if TYPE_CHECKING:
    from prunecli.sparsifying import Sparsified

REGULARIZER = "Regularizer"
TARGET = "What greg-1 and greg-2 pick (one target)"


# Long because Typer reads the options from the signature; everything after it is a few lines.
def sparsify(
    ckpt: Checkpoint,
    name: Annotated[
        str | None,
        typer.Option(
            "--sparsify", metavar="NAME", rich_help_panel=REGULARIZER, help="See prune ls regularizers."
        ),
    ] = None,
    numbers: Annotated[
        list[str] | None,
        typer.Option(
            "--sparsify-arg",
            metavar="K=X",
            rich_help_panel=REGULARIZER,
            help="A number of it, like strength=1e-3. Repeatable.",
        ),
    ] = None,
    speedup: Annotated[
        float | None,
        typer.Option(metavar="X", rich_help_panel=TARGET, help="Dense MACs / pruned MACs, like 2."),
    ] = None,
    flops: Annotated[
        float | None, typer.Option(metavar="F", rich_help_panel=TARGET, help="Fraction of MACs to keep.")
    ] = None,
    params: Annotated[
        float | None,
        typer.Option(metavar="F", rich_help_panel=TARGET, help="Fraction of parameters to keep."),
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(metavar="R", rich_help_panel=TARGET, help="Fraction of units to remove.")
    ] = None,
    scheme: Annotated[
        str,
        typer.Option(
            metavar="NAME", rich_help_panel=TARGET, help="How scores become a choice; see prune ls schemes."
        ),
    ] = "protected",
    protect: Annotated[
        float,
        typer.Option(
            metavar="F",
            rich_help_panel=TARGET,
            help="Fraction every group keeps at least (scheme protected).",
        ),
    ] = 0.1,
    only: Only = None,
    ignore: Ignore = None,
    data: Data = None,
    eval_data: EvalData = None,
    samples: SampleCount = None,
    transform: Transform = None,
    augment: Augment = "none",
    epochs: Epochs = 10,
    batch_size: BatchSize = 128,
    optimizer: Optimizer = "sgd",
    lr: Lr = None,
    momentum: Momentum = 0.9,
    weight_decay: WeightDecay = None,
    schedule: Schedule = "constant",
    milestones: Milestones = None,
    warmup: Warmup = 0,
    clip: Clip = None,
    ema: Ema = None,
    patience: Patience = None,
    recalibrate: Recalibrate = False,
    loss: Loss = None,
    label_smoothing: LabelSmoothing = 0.0,
    against: Against = None,
    distill: Distill = 0.5,
    distill_temperature: DistillTemperature = 4.0,
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
            help="Default: STEM.sparse.safetensors beside CKPT, or DIR.sparse for a directory.",
        ),
    ] = None,
    report: Reports = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    resume: Resume = False,
    save_minutes: SaveMinutes = 10.0,
    amp: Amp = "none",
    channels_last: ChannelsLast = False,
    device: Device = "auto",
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Train a checkpoint so that whole units become small, before prune run cuts them.

    What greg-1 and greg-2 picked is written as OUT.plan.json, for prune run OUT --plan.

    On several GPUs or machines: torchrun --nproc-per-node N -m prunecli sparsify ...
    """
    with training.once():
        options.require_one_format(json, quiet)
        more = _regularized(
            name, numbers, {"speedup": speedup, "flops": flops, "params": params, "ratio": ratio}
        )
        more |= {
            "scheme": scheme,
            "protect": protect,
            "only": tuple(only or ()),
            "ignore": tuple(ignore or ()),
        }
        chosen = {
            "epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "lr": lr,
            "momentum": momentum, "weight_decay": weight_decay, "schedule": schedule,
            "milestones": training.epochs_in(milestones), "warmup": warmup, "clip": clip, "ema": ema,
            "patience": patience, "recalibrate": recalibrate, "loss": loss,
            "label_smoothing": label_smoothing, "distill": distill,
            "distill_temperature": distill_temperature, "augment": augment, "amp": amp,
            "channels_last": channels_last, "seed": seed,
        }  # fmt: skip
        request = training.Request(
            files=settings.files(ckpt, out, report, arch, "sparse"),
            data={"data": data, "eval_data": eval_data, "samples": samples, "transform": transform},
            settings=chosen,
            against=against,
            network=options.network(arch, arch_arg, input, unsafe_load),
            running={
                "device": device,
                "threads": threads,
                "resume": resume,
                "save_seconds": 60 * save_minutes,
            },
            force=force,
            more=more,
        )
        request.check(launched().leads)
        if launched().leads:
            options.require_writable(request.kept.plan, force or resume)
    import prunecli

    def write(found: Sparsified) -> None:
        if found.plan is not None:
            from prunecli.report.files import write_plan

            write_plan(found.plan, request.kept.plan)

    printing = settings.Printing(as_json=json, quiet=quiet, force=force)
    training.carry_out(request, prunecli.sparsify, printing, write)


def _regularized(
    name: str | None, numbers: list[str] | None, given: dict[str, float | None]
) -> dict[str, Any]:
    """The regularizer, as ``prunecli.sparsify`` takes it. Raises ``UsageError``."""
    if name is None:
        raise UsageError("no regularizer given", "like --sparsify group-lasso; see prune ls regularizers")
    names.require_known("regularizer", name, names.REGULARIZERS, "prunecli.regularizers")
    target: dict[str, float] = {}
    if name in names.PICKING:
        target = settings.target(given, None)
    elif name in names.REGULARIZERS and any(value is not None for value in given.values()):
        raise UsageError(
            f"{name} makes all units small, whatever is cut later", "give the target to prune run"
        )
    return {"regularizer": name, "regularizer_args": _numbers(numbers or []), **target}


def _numbers(texts: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = float("nan")
        if not name or not isfinite(found[name]):
            raise UsageError(f"--sparsify-arg {text} is not K=NUMBER", "like --sparsify-arg strength=1e-3")
    return found
