"""What ``prune run`` was asked to train: ``--finetune-epochs`` and what goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli.cli import options
from prunecli.cli.kept import Kept
from prunecli.errors import UsageError
from prunecli.training.arguments import SAMPLES, parse_settings
from prunecli.training.launched import launched
from prunecli.training.settings import Settings

FINETUNE_ARG = "--finetune-arg"


@dataclass(frozen=True)
class Course:
    """Each named as its option; ``arguments`` as typed."""

    epochs: int | None = None
    arguments: tuple[str, ...] = ()
    eval_data: str | None = None
    resume: bool = False
    save_minutes: float = 10.0

    def check(self, data: str | None) -> None:
        """Raise ``UsageError`` for the first thing wrong on the command line."""
        if self.epochs is None:
            self._check_nothing_given()
            return
        if data is None:
            raise UsageError("--finetune-epochs needs data", "--data SPEC, like --data imagefolder:DIR")
        options.require_from("--finetune-epochs", self.epochs, 1)
        settings = parse_settings(self.arguments, FINETUNE_ARG)
        for name, other in (("epochs", "--finetune-epochs"), ("seed", "--seed")):
            if name in settings:
                raise UsageError(f"{FINETUNE_ARG} {name} is what {other} says", f"{other} {settings[name]}")
        options.require_data(self.eval_data, settings.pop(SAMPLES, None), None, 1)
        Settings.of({**settings, "epochs": self.epochs})
        if not self.save_minutes >= 0:
            raise UsageError("--save-minutes is out of range", "a number of minutes from 0")
        if launched().size > 1:
            raise UsageError(
                "prune run trains in one process",
                "without --finetune-epochs, then torchrun ... -m prunecli finetune OUT --against CKPT",
            )

    def _check_nothing_given(self) -> None:
        given = {FINETUNE_ARG: self.arguments, "--eval-data": self.eval_data, "--resume": self.resume}
        first = next((option for option, value in given.items() if value), None)
        if first is not None:
            raise UsageError(f"{first} is given, and nothing is trained", "--finetune-epochs 30")

    def check_files(self, output: Path, force: bool) -> None:
        if self.epochs is not None:
            Kept(output).check(self.resume, force)

    def for_api(self, output: Path) -> dict[str, Any]:
        """As ``prunecli.prune`` takes it; nothing where nothing is trained."""
        if self.epochs is None:
            return {}
        kept = Kept(output)
        return {
            "finetune_epochs": self.epochs, "finetune_args": parse_settings(self.arguments, FINETUNE_ARG),
            "eval_data": self.eval_data, "resume": self.resume, "save_seconds": 60 * self.save_minutes,
            "state": kept.state, "metrics": kept.metrics,
        }  # fmt: skip
