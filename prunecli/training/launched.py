"""What torchrun tells a process through its environment; no torch, since the command line asks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from prunecli.errors import ImpossibleError, PruneError, UsageError


class ToldElsewhereError(ImpossibleError):
    """Why this process ends is said by another of the same training, and not said again."""

    def __init__(self) -> None:
        super().__init__("another process of this training says why it ended")


@dataclass(frozen=True)
class Launched:
    """This process is the one numbered ``rank`` of ``size``, and ``local`` on its machine of ``beside``."""

    rank: int = 0
    size: int = 1
    local: int = 0
    beside: int = 1

    @property
    def leads(self) -> bool:
        """It alone prints and writes."""
        return self.rank == 0


def launched(environment: Mapping[str, str] = os.environ) -> Launched:
    """One of one, unless torchrun (or what speaks like it) started several. Raises ``UsageError``."""
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return Launched()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        local = int(environment.get("LOCAL_RANK", rank))
        beside = int(environment.get("LOCAL_WORLD_SIZE", size))
    except ValueError:
        rank = size = local = beside = 0
    if not 0 <= rank < size or not 0 <= local < beside:
        shown = ", ".join(f"{name}={environment[name]}" for name in names if name in environment)
        raise UsageError(f"the environment is that of no torchrun: {shown}", "unset RANK WORLD_SIZE")
    return Launched(rank, size, local, beside) if size > 1 else Launched()


def said_once(error: PruneError) -> PruneError:
    """``error``, which every process finds by itself: on each machine the first one says it."""
    return error if launched().local == 0 else ToldElsewhereError()
