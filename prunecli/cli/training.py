"""What the training commands have in common: their options, a run, and how it is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias, TypeVar

import typer

from prunecli.cli import names, options, output, settings
from prunecli.cli.options import DATA, OUTPUT, RUNNING, Network
from prunecli.errors import UsageError
from prunecli.training.settings import AMP, AUGMENTS, OPTIMIZERS, SCHEDULES, Settings

if TYPE_CHECKING:
    from prunecli.report.trained import EpochRow, Finetuning

TRAINING = "Training"
LOSS = "What is made small"

EvalData: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        rich_help_panel=DATA,
        help="What accuracy is measured on after every epoch. Default: the test part of --data, if any.",
    ),
]
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
    int, typer.Option(metavar="N", rich_help_panel=TRAINING, help="Samples of one step.")
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
        metavar="DENSE", rich_help_panel=LOSS, help="The dense checkpoint to learn from (distillation)."
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
Reports: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="Where the report goes (.json). Repeatable. Default: OUT with .json.",
    ),
]
Resume: TypeAlias = Annotated[
    bool,
    typer.Option("--resume", rich_help_panel=RUNNING, help="Go on where the same command was stopped."),
]
SaveMinutes: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="N",
        rich_help_panel=RUNNING,
        help="How often the state is written within an epoch; after each it is anyway.",
    ),
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

    files: settings.Files
    data: dict[str, Any]
    settings: dict[str, Any]
    against: Path | None
    network: Network
    running: dict[str, Any]
    force: bool
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self._beside(".state.pt")

    @property
    def plan(self) -> Path:
        return self._beside(".plan.json")

    @property
    def metrics(self) -> Path:
        return self._beside(".metrics.jsonl")

    def _beside(self, ending: str) -> Path:
        place = self.files.output
        return place.with_name(f"{place.name.removesuffix('.safetensors')}{ending}")

    def check(self) -> None:
        """Raise a ``PruneError`` for the first thing wrong: the command line first, the files after."""
        given = self.data["data"]
        if given is None:
            hint = "like --data imagefolder:DIR; --help lists the sources"
            raise UsageError("no data given", hint)
        Settings.of(self.settings)
        options.require_data(given, self.data["samples"], self.data["transform"], 1)
        options.require_data(self.data["eval_data"], None, None, 1)
        self._check_loss()
        names.require_known("device", self.running["device"].partition(":")[0], names.DEVICES)
        options.require_from("--threads", self.running["threads"], 1)
        if not self.running["save_seconds"] >= 0:
            raise UsageError("--save-minutes is out of range", "a number of minutes from 0")
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
        if self.against is not None:
            options.require_readable(self.against)
        resume = self.running["resume"]
        if resume and not self.state.exists():
            raise UsageError(f"there is no state to resume from: {self.state}", "leave --resume out")
        if self.state.exists() and not resume and not self.force:
            raise UsageError(
                f"{self.state} is the state of a run that was stopped",
                "--resume goes on with it, --force starts anew",
            )
        if not resume:
            options.require_writable(self.metrics, self.force)


class Trained(Protocol):
    """What a training command of the API returns."""

    def save(self, path: Path, *, force: bool) -> Finetuning: ...


T = TypeVar("T", bound=Trained)


def execute(request: Request, train: Callable[..., T], quiet: bool) -> tuple[T, Finetuning]:
    """Train with ``train`` (``prunecli.finetune`` or ``sparsify``), write OUT and the reports."""
    of, files = request.network, request.files
    with output.epochs(quiet) as (progress, line):

        def told(row: EpochRow) -> None:
            from prunecli.report.finetuned import epoch_line

            line(epoch_line(row, request.settings["epochs"]))

        result = train(
            files.checkpoint, **request.data, against=request.against, arch=of.arch, arch_args=of.arguments,
            inputs=of.inputs, unsafe_load=of.unsafe_load, **request.running, state=request.state,
            metrics=request.metrics, progress=progress, on_epoch=told, **request.more, **request.settings,
        )  # fmt: skip
        done = result.save(files.output, force=request.force)
    done = replace(done, command=("prune", *sys.argv[1:]))
    from prunecli.report.files import write_report

    for path in files.reports:
        if not options.is_stdout(path):
            write_report(done, path)
    return result, done


def show(done: Finetuning, place: Path, json: bool, quiet: bool) -> None:
    if quiet:
        output.path(place)
        return
    output.notes((*done.network.notes, *done.notes))
    if json:
        output.document(done.to_json())
        return
    from prunecli.report.finetuned import finetuning

    output.show(*finetuning(done))
