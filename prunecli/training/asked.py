"""What ``prune run`` is asked to train, checked without torch, so that the command line can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from prunecli.errors import UsageError, require_range
from prunecli.training.arguments import SAMPLES
from prunecli.training.settings import Settings

STABLE = "mask-stable"
STABLE_AT = 0.1
"""The distance of masks at which You et al. 2020 (Early-Bird Tickets) draw the ticket."""

_BEFORE: Mapping[str, Any] = {"schedule": "constant", "distill": 0.0}
"""What pulls units down is multiplied by the learning rate; and no paper distils before the cut."""


@dataclass(frozen=True)
class Trainings:
    """Each named as its option; the ``args`` are settings of ``prune finetune``, and ``samples``. Those of
    ``sparsify`` are settings of ``prune sparsify``, numbers of the regularizer, and ``samples``.
    """

    sparsify: str | None = None
    sparsify_epochs: int | None = None
    sparsify_args: Mapping[str, Any] = field(default_factory=dict)
    rounds: int | None = None
    prune_when: str | None = None
    finetune_epochs: int | None = None
    finetune_args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def before(self) -> bool:
        """Whether anything is trained before it is cut."""
        return self.sparsify is not None or self.rounds is not None or self.prune_when is not None

    @property
    def after(self) -> bool:
        return self.finetune_epochs is not None

    @property
    def any(self) -> bool:
        return self.before or self.after

    @property
    def times(self) -> int:
        """How often a training is followed by a cut."""
        return self.rounds or 1

    @property
    def stable_at(self) -> float | None:
        """The distance of masks below which the cut is made. Raises ``UsageError``."""
        if self.prune_when is None:
            return None
        name, equals, text = self.prune_when.partition("=")
        try:
            found = float(text) if equals else STABLE_AT
        except ValueError:
            found = -1.0
        if name != STABLE or not 0 <= found < 1:
            raise UsageError(
                f"--prune-when {self.prune_when} is not known", f"--prune-when {STABLE}, or {STABLE}=0.05"
            )
        return found

    @property
    def numbers(self) -> dict[str, float]:
        """Those of the regularizer. Raises ``UsageError`` for what is no number."""
        found = {name: value for name, value in self.sparsify_args.items() if not _is_setting(name)}
        for name, value in found.items():
            if self.sparsify is None:
                raise UsageError(f"--sparsify-arg {name} is no setting, and there is no regularizer for it")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UsageError(f"--sparsify-arg {name}={value} is not a number", f"like {name}=1e-3")
        return found

    def settings_before(self, seed: int) -> Settings:
        """Raises ``UsageError``."""
        given = {name: value for name, value in self.sparsify_args.items() if _is_setting(name)}
        epochs = self.sparsify_epochs or (1 if self.rounds is not None else None)
        if epochs is None:
            option = f"--sparsify {self.sparsify}" if self.sparsify else f"--prune-when {self.prune_when}"
            raise UsageError(f"{option}: for how long?", "--sparsify-epochs 10")
        return _settings({**_BEFORE, **given}, epochs, seed, "--sparsify")

    def settings_after(self, seed: int) -> Settings:
        """Raises ``UsageError``."""
        assert self.finetune_epochs is not None
        return _settings(self.finetune_args, self.finetune_epochs, seed, "--finetune")

    def check(self, *, data: bool, steps: int, planned: bool) -> None:
        """Raises ``UsageError`` for the first that cannot be, of itself or beside the rest of a run."""
        self._check_alone()
        # Reading them raises what is wrong with them.
        _ = self.stable_at, self.numbers
        if self.any and not data:
            option = "--finetune-epochs" if self.after else f"--{self._first_before}"
            raise UsageError(f"{option} needs data", "--data SPEC, like --data imagefolder:DIR")
        if self.rounds is not None:
            for other, given in (("--steps", steps > 1), ("--prune-when", self.prune_when is not None)):
                if given:
                    raise UsageError(f"--rounds goes without {other}", f"leave {other} out")
        if self.before and planned:
            raise UsageError(
                "a plan is known before anything is trained",
                "prune sparsify CKPT, then prune run OUT --plan PLAN",
            )
        if self.before:
            self.settings_before(0)
        if self.after:
            self.settings_after(0)

    def _check_alone(self) -> None:
        for name in ("sparsify_epochs", "rounds", "finetune_epochs"):
            value = getattr(self, name)
            fits = value is None or value >= 1
            require_range(fits, f"--{name.replace('_', '-')}", value, "a whole number from 1")
        if not self.after and self.finetune_args:
            raise UsageError("--finetune-arg is given, and nothing is trained", "--finetune-epochs 30")
        if not self.before:
            given = {"--sparsify-epochs": self.sparsify_epochs, "--sparsify-arg": self.sparsify_args}
            first = next((option for option, value in given.items() if value), None)
            if first is not None:
                raise UsageError(f"{first} is given, and no training before the cut", "--sparsify NAME")

    @property
    def _first_before(self) -> str:
        named = ("sparsify", "rounds", "prune_when")
        return next(name for name in named if getattr(self, name) is not None).replace("_", "-")

    def options(self) -> dict[str, Any]:
        """For the recipe: what of the training before the cut is not among the settings of a stage."""
        named = {
            "sparsify": self.sparsify, "sparsify_epochs": self.sparsify_epochs, "rounds": self.rounds,
            "prune_when": self.prune_when,
        }  # fmt: skip
        found: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if self.sparsify_args:
            found["sparsify_args"] = [f"{name}={value}" for name, value in sorted(self.sparsify_args.items())]
        return found


def _is_setting(name: str) -> bool:
    return name.replace("-", "_") in (*(item.name for item in fields(Settings)), SAMPLES)


def _settings(given: Mapping[str, Any], epochs: int, seed: int, option: str) -> Settings:
    named = {name.replace("-", "_"): value for name, value in given.items()}
    for name, other in (("epochs", f"{option}-epochs"), ("seed", "--seed")):
        if name in named:
            raise UsageError(f"{option}-arg {name} is what {other} says", f"{other} {named[name]}")
    named.pop(SAMPLES, None)
    return Settings.of({**named, "epochs": epochs, "seed": seed})
