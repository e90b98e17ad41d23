"""Where a run that is not finished is kept: its state and its metrics."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prunecli.errors import UsageError

SAVE_SECONDS = 600.0


@dataclass(frozen=True)
class Keeping:
    """Where the state is kept, how often within an epoch, and whether it begins there. ``identity`` is what
    must be the same for a run to be the same, by name.
    """

    path: Path
    identity: Mapping[str, Any]
    resume: bool = False
    seconds: float = SAVE_SECONDS
    metrics: Path | None = None


@dataclass(frozen=True)
class Kept:
    """What of a :class:`Keeping` is asked for, before it is known what the run is."""

    state: Path | None = None
    resume: bool = False
    seconds: float = SAVE_SECONDS
    metrics: Path | None = None

    @staticmethod
    def of(state: str | Path | None, resume: bool, seconds: float, metrics: str | Path | None) -> Kept:
        """Raises ``UsageError`` where there is nothing to resume from."""
        if resume and state is None:
            raise UsageError("resume needs the state of the run", "state=FILE")
        return Kept(_path(state), resume, seconds, _path(metrics))

    def named(self, name: str) -> Kept:
        """The same for one of several trainings: its files are beside those of the last."""
        return replace(self, state=_named(self.state, name), metrics=_named(self.metrics, name))

    def keeping(self, identity: Mapping[str, Any]) -> Keeping | None:
        if self.state is None:
            return None
        return Keeping(self.state, identity, self.resume, self.seconds, self.metrics)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _named(path: Path | None, name: str) -> Path | None:
    return None if path is None else path.with_name(f"{path.stem}.{name}{path.suffix}")


def states_of(state: Path) -> list[Path]:
    """The files that there are of a run kept in ``state``: of its last training first, then of those before,
    which :meth:`Kept.named` names.
    """
    before = sorted(state.parent.glob(f"{glob.escape(state.stem)}.*{state.suffix}"))
    return [state, *before] if state.exists() else before
