"""What ``prune run`` was asked to train, before the cut and after it: its options, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from prunecli.cli import names, options
from prunecli.cli.kept import Kept
from prunecli.errors import UsageError, require_range
from prunecli.presets import preset
from prunecli.training.arguments import SAMPLES, parse_settings
from prunecli.training.asked import Trainings
from prunecli.training.launched import launched

FINETUNE_ARG, SPARSIFY_ARG = "--finetune-arg", "--sparsify-arg"
TRAINING = "Training before and after the cut"

Preset: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=TRAINING,
        help="Settings of a paper for what is not given; see prune ls presets.",
    ),
]
Sparsify: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=TRAINING,
        help="Train with a regularizer before the cut; see prune ls regularizers.",
    ),
]
SparsifyEpochs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=TRAINING,
        help="How long to train before the cut. With --rounds: before each, 1 unless given.",
    ),
]
SparsifyArgs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V",
        rich_help_panel=TRAINING,
        help="An option of prune sparsify, like lr=0.05, or a number of the regularizer, like "
        "strength=1e-3. Repeatable.",
    ),
]
Rounds: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=TRAINING,
        help="Train and cut N times, in equal shares.",
    ),
]
PruneWhen: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="mask-stable[=F]",
        rich_help_panel=TRAINING,
        help="End the training before the cut once less than F (0.1) of all units change sides from one "
        "epoch to the next.",
    ),
]
FinetuneEpochs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=TRAINING,
        help="Then train it for so long on all of --data, learning from the dense network too.",
    ),
]
FinetuneArgs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V",
        rich_help_panel=TRAINING,
        help="An option of prune finetune, like lr=0.05, milestones=60,80, augment=crop, distill=0 or "
        "samples=5000. Repeatable.",
    ),
]


Taken = Callable[[str], Any]
"""What an option of the command is, by its parameter: as typed, or as the preset has it."""


def preset_for(ctx: typer.Context, name: str | None) -> Taken:
    """Raises ``UsageError`` for a preset that does not exist, or does not suit the rest."""
    typed = ctx.params
    if name is None:
        return lambda parameter: typed.get(parameter)

    def is_typed(parameter: str) -> bool:
        source = ctx.get_parameter_source(parameter)
        return source is not None and source.name != "DEFAULT"

    known = preset(
        name, sparsify=typed["sparsify"], criterion=typed["criterion"] if is_typed("criterion") else None,
        rounds=typed["rounds"], speedup=typed["speedup"],
    )  # fmt: skip

    def taken(parameter: str) -> Any:
        return typed[parameter] if is_typed(parameter) else known.get(parameter, typed.get(parameter))

    return taken


def trainings_of(taken: Taken, sparsify_arg: list[str] | None, finetune_arg: list[str] | None) -> Trainings:
    """Single settings that were typed stand beside those of the preset. Raises ``UsageError``."""
    before = parse_settings(sparsify_arg or (), SPARSIFY_ARG, numbers=True)
    after = parse_settings(finetune_arg or (), FINETUNE_ARG)
    return Trainings(
        taken("sparsify"), taken("sparsify_epochs"), {**(taken("sparsify_args") or {}), **before},
        taken("rounds"), taken("prune_when"), taken("finetune_epochs"),
        {**(taken("finetune_args") or {}), **after},
    )  # fmt: skip


@dataclass(frozen=True)
class Course:
    """``trainings`` and each of the rest, named as its option."""

    trainings: Trainings = field(default_factory=Trainings)
    init: str | None = None
    eval_data: str | None = None
    resume: bool = False
    save_minutes: float = 10.0

    def check(self, data: str | None, *, steps: int, planned: bool, dry_run: bool) -> None:
        """Raise ``UsageError`` for the first thing wrong on the command line."""
        asked = self.trainings
        if self.init is not None:
            names.require_known("init", self.init, names.INIT)
            if not asked.any:
                raise UsageError(
                    "--init random, and nothing is trained", "--rounds 5, or --finetune-epochs 30"
                )
        if asked.sparsify is not None:
            names.require_known("regularizer", asked.sparsify, names.REGULARIZERS, "prunecli.regularizers")
        asked.check(data=data is not None, steps=steps, planned=planned)
        if not asked.any:
            self._check_nothing_given()
            if launched().size > 1:
                raise UsageError("nothing is trained here, and one process is enough", "without torchrun")
            return
        for given in (asked.sparsify_args, asked.finetune_args):
            options.require_data(self.eval_data, given.get(SAMPLES), None, 1)
        require_range(
            self.save_minutes >= 0, "--save-minutes", self.save_minutes, "a number of minutes from 0"
        )
        if asked.before and dry_run:
            raise UsageError(
                "--dry-run trains nothing, and what is cut is known after the training",
                "leave --dry-run out, or --sparsify, --rounds and --prune-when",
            )

    def _check_nothing_given(self) -> None:
        given = {"--eval-data": self.eval_data, "--resume": self.resume}
        first = next((option for option, value in given.items() if value), None)
        if first is not None:
            raise UsageError(f"{first} is given, and nothing is trained", "--finetune-epochs 30")

    def check_states(self, output: Path, force: bool) -> None:
        if self.trainings.any:
            Kept(output).check(self.resume, force)

    def check_metrics(self, output: Path, force: bool) -> None:
        if self.trainings.any:
            Kept(output).check_metrics(self.resume, force)

    def begin(self, output: Path) -> None:
        """After ``check_states``."""
        if self.trainings.any and not self.resume:
            Kept(output).clear()

    def for_api(self, output: Path) -> dict[str, Any]:
        """As ``prunecli.prune`` takes it; nothing where nothing is trained."""
        asked = self.trainings
        if not asked.any:
            return {}
        kept = Kept(output)
        return {
            "sparsify": asked.sparsify, "sparsify_epochs": asked.sparsify_epochs,
            "sparsify_args": asked.sparsify_args, "rounds": asked.rounds, "prune_when": asked.prune_when,
            "finetune_epochs": asked.finetune_epochs, "finetune_args": asked.finetune_args,
            "eval_data": self.eval_data, "resume": self.resume, "save_seconds": 60 * self.save_minutes,
            "state": kept.state, "metrics": kept.metrics,
        }  # fmt: skip
