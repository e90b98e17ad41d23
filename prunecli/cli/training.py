"""What the training commands have in common: their options, a run, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias, TypeVar

import typer

from prunecli.cli import jobs, names, options, output
from prunecli.cli.gates import gates
from prunecli.cli.kept import Kept
from prunecli.cli.options import DATA, RUNNING, Network
from prunecli.cli.settings import Files, Printing
from prunecli.errors import GateError, PruneError, UsageError, require_range
from prunecli.gates import Gates
from prunecli.training.launched import ToldElsewhereError, launched, said_once
from prunecli.training.settings import AMP, AUGMENTS, OPTIMIZERS, SCHEDULES, Settings

if TYPE_CHECKING:
    from prunecli.report.epochs import EpochRow
    from prunecli.report.trained import Finetuning

TRAINING = "Training"
LOSS = "What is made small"

Augment: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=DATA,
        help=f"Pictures changed at random: {', '.join(AUGMENTS)} (crop and imagenet flip too).",
    ),
]
Epochs: TypeAlias = Annotated[
    int, typer.Option(metavar="N", rich_help_panel=TRAINING, help="How often all samples are seen.")
]
BatchSize: TypeAlias = Annotated[
    int,
    typer.Option(
        metavar="N", rich_help_panel=TRAINING, help="Samples of one step, of each process under torchrun."
    ),
]
Optimizer: TypeAlias = Annotated[
    str, typer.Option(metavar="NAME", rich_help_panel=TRAINING, help=f"{', '.join(OPTIMIZERS)}.")
]
Lr: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="X", rich_help_panel=TRAINING, help="Learning rate. Default: 0.01 (sgd), 1e-4 (adamw)."
    ),
]
Momentum: TypeAlias = Annotated[
    float, typer.Option(metavar="X", rich_help_panel=TRAINING, help="Of sgd, Nesterov's.")
]
WeightDecay: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="X", rich_help_panel=TRAINING, help="Default: 5e-4 (sgd), 0.01 (adamw)."),
]
Schedule: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME", rich_help_panel=TRAINING, help=f"Of the learning rate: {', '.join(SCHEDULES)}."
    ),
]
Milestones: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        rich_help_panel=TRAINING,
        help="After which epochs multi-step divides it by ten. Default: three and four fifths of all.",
    ),
]
Warmup: TypeAlias = Annotated[
    int,
    typer.Option(metavar="N", rich_help_panel=TRAINING, help="Epochs in which the learning rate grows."),
]
Clip: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="X", rich_help_panel=TRAINING, help="Bound of the norm of the gradient."),
]
Ema: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="X", rich_help_panel=TRAINING, help="Write a moving average of the weights, like 0.999."
    ),
]
Patience: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=TRAINING,
        help="Stop after N epochs that are no better, and write the best.",
    ),
]
Recalibrate: TypeAlias = Annotated[
    bool,
    typer.Option("--recalibrate", rich_help_panel=TRAINING, help="Recompute statistics of norms at the end."),
]
Loss: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=LOSS,
        help="cross-entropy, mse or FILE.py:function. Default: cross-entropy for one row of scores per "
        "sample, else mse.",
    ),
]
LabelSmoothing: TypeAlias = Annotated[
    float,
    typer.Option(metavar="X", rich_help_panel=LOSS, help="Share of a label that goes to all classes."),
]
Against: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="CKPT", rich_help_panel=LOSS, help="The dense checkpoint to learn from (distillation)."
    ),
]
Distill: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="X",
        rich_help_panel=LOSS,
        help="Its share in the loss, where there is --against; 1 needs no labels, 0 is without it.",
    ),
]
DistillTemperature: TypeAlias = Annotated[
    float, typer.Option(metavar="T", rich_help_panel=LOSS, help="Divides the scores of both networks.")
]
Amp: TypeAlias = Annotated[
    str, typer.Option(metavar="NAME", rich_help_panel=RUNNING, help=f"Mixed precision: {', '.join(AMP)}.")
]
ChannelsLast: TypeAlias = Annotated[
    bool,
    typer.Option("--channels-last", rich_help_panel=RUNNING, help="Keep pictures pixel by pixel in memory."),
]


def epochs_in(text: str | None) -> tuple[int, ...] | None:
    """``60,80`` as numbers. Raises ``UsageError``."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--milestones {text} are no epochs", "like --milestones 60,80") from None


@dataclass(frozen=True)
class Request:
    """One run, complete. ``data``, ``settings`` and ``running`` as ``prunecli.finetune`` takes them, ``more``
    what another command has besides.
    """

    files: Files
    data: dict[str, Any]
    settings: dict[str, Any]
    against: Path | None
    network: Network
    running: dict[str, Any]
    printing: Printing
    more: dict[str, Any] = field(default_factory=dict)
    gates: Gates = field(default_factory=Gates)

    @property
    def kept(self) -> Kept:
        return Kept(self.files.output)

    def check(self, writes: bool) -> None:
        """Raise a ``PruneError`` for the first thing wrong: the command line first, the files after; those
        that are written only where this process ``writes``.
        """
        given = self.data["data"]
        if given is None:
            hint = "like --data imagefolder:DIR; --help lists the sources"
            raise UsageError("no data given", hint)
        Settings.of(self.settings)
        options.require_data(given, self.data["samples"], self.data["transform"], 1)
        options.require_data(self.data["eval_data"], None, None, 1)
        self._check_loss()
        self.gates.require_data(given, self.data["eval_data"], trains=True)
        self.gates.require_dense(self.against is not None, "--against DENSE")
        names.require_known("device", self.running["device"].partition(":")[0], names.DEVICES)
        options.require_from("--threads", self.running["threads"], 1)
        minutes = self.running["save_seconds"] / 60
        require_range(minutes >= 0, "--save-minutes", minutes, "a number of minutes from 0")
        assert self.files.checkpoint is not None
        options.require_readable(self.files.checkpoint)
        if self.against is not None:
            options.require_readable(self.against)
        if writes:
            resume, force = self.running["resume"], self.printing.force
            self.kept.check(resume, force)
            self.files.check(force, dry_run=False, resume=resume)
            self.kept.check_metrics(resume, force)

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


def asked(
    typed: Mapping[str, Any],
    files: Files,
    against: Path | None,
    more: dict[str, Any] | None = None,
) -> Request:
    """What was ``typed``, by the names of the parameters that the training commands share. Raises
    ``UsageError``.
    """
    options.require_one_format(typed["json"], typed["quiet"])
    chosen = {field.name: typed[field.name] for field in fields(Settings) if field.name in typed}
    return Request(
        files=files,
        data={name: typed[name] for name in ("data", "eval_data", "samples", "transform")},
        settings=chosen | {"milestones": epochs_in(typed["milestones"])},
        against=against,
        network=options.network(*(typed[name] for name in ("arch", "arch_arg", "input", "unsafe_load"))),
        running={
            **{name: typed[name] for name in ("device", "threads", "resume", "latency")},
            "save_seconds": 60 * typed["save_minutes"],
        },
        printing=Printing(*(typed[name] for name in ("json", "quiet", "force"))),
        more=more or {},
        gates=gates(typed),
    )


class Trained(Protocol):
    """What a training command of the API returns."""

    @property
    def report(self) -> Finetuning: ...

    def save(self, path: Path, *, force: bool) -> Finetuning: ...


T = TypeVar("T", bound=Trained)


@contextmanager
def once() -> Iterator[None]:
    """What is wrong with a command line, said by one of the processes that were started with it."""
    try:
        yield
    except PruneError as error:
        raise said_once(error) from None


def carry_out(
    request: Request,
    train: Callable[..., T],
    write: Callable[[T], None] = lambda _: None,
) -> None:
    """Train with ``train`` (``prunecli.finetune`` or ``sparsify``), write OUT, what ``write`` writes and the
    reports, and show what came of it.
    """
    leads = launched().leads
    result, done, failed = _trained(request, train, request.printing.quiet or not leads)
    if not leads:
        if failed is not None:
            raise ToldElsewhereError
        return
    if failed is None:
        write(result)
    from prunecli.report.files import write_report

    for path in request.files.reports:
        if not options.is_stdout(path):
            write_report(done, path)
    _show(done, request.files.output, request.printing)
    if failed is not None:
        raise failed


def _trained(
    request: Request, train: Callable[..., T], quiet: bool
) -> tuple[T, Finetuning, GateError | None]:
    """What came of it, its report, and the gate that keeps it from being written."""
    of, files = request.network, request.files
    with output.epochs(quiet) as (progress, line):

        def told(row: EpochRow) -> None:
            from prunecli.report.finetuned import epoch_line

            line(epoch_line(row, request.settings["epochs"]))

        result = train(
            files.checkpoint, **request.data, against=request.against, arch=of.arch, arch_args=of.arguments,
            inputs=of.inputs, unsafe_load=of.unsafe_load, **request.running, state=request.kept.state,
            metrics=request.kept.metrics, progress=progress, on_epoch=told, **request.gates.for_api,
            **request.more, **request.settings,
        )  # fmt: skip
        failed = None
        try:
            done = result.save(files.output, force=request.printing.force)
        except GateError as error:
            done, failed = files.beside(result.report), error
    return result, replace(done, command=jobs.command_line()), failed


def _show(done: Finetuning, place: Path, printing: Printing) -> None:
    if printing.quiet:
        if done.output is not None:
            output.path(place)
        return
    output.notes((*done.network.notes, *done.notes))
    if printing.as_json:
        output.document(done.to_json())
        return
    from prunecli.report.finetuned import finetuning

    output.show(*finetuning(done))
