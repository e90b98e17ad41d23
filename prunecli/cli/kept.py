"""The files of a training that is not finished: its state and its metrics, beside the output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prunecli.cli import options
from prunecli.errors import UsageError
from prunecli.training.kept import states_of


@dataclass(frozen=True)
class Kept:
    """Where a run that writes ``output`` keeps them."""

    output: Path

    @property
    def state(self) -> Path:
        return self._beside(".state.pt")

    @property
    def metrics(self) -> Path:
        return self._beside(".metrics.jsonl")

    @property
    def plan(self) -> Path:
        """What a regularizer picked."""
        return self._beside(".plan.json")

    def _beside(self, ending: str) -> Path:
        return self.output.with_name(f"{self.output.name.removesuffix('.safetensors')}{ending}")

    def _states(self) -> list[Path]:
        """Of all trainings of the run."""
        return states_of(self.state)

    def clear(self) -> None:
        """Before a run that begins anew, where ``check`` let it: no state of another stays beside its own."""
        for state in self._states():
            state.unlink(missing_ok=True)

    def check(self, resume: bool, force: bool) -> None:
        """Raise ``UsageError`` where there is nothing to go on with, or something that would be lost. Before
        other files are looked at: a run that failed a gate leaves a report too, and this says how to go on.
        """
        there = self._states()
        if resume and not there:
            raise UsageError(f"there is no state to resume from: {self.state}", "leave --resume out")
        if there and not resume and not force:
            raise UsageError(
                f"{there[0]} is the state of a run that was stopped",
                "--resume goes on with it, --force starts anew",
            )

    def check_metrics(self, resume: bool, force: bool) -> None:
        """As ``options.require_writable``, for a run that begins anew."""
        if not resume:
            options.require_writable(self.metrics, force)
