"""Training that ends once it is clear what would be cut (You et al. 2020, Early-Bird Tickets, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from prunecli.coupling.space import Space
from prunecli.plan import Plan
from prunecli.report.epochs import Sparsity
from prunecli.training.hooks import Regularizer, Sparsifier


def distance(one: Plan, other: Plan, sizes: Mapping[str, int]) -> float:
    """The share of all units, ``sizes[group]`` of them, that one plan keeps and the other removes."""
    apart = 0
    for name, size in sizes.items():
        kept = (set(plan.keep.get(name, range(size))) for plan in (one, other))
        apart += len(next(kept) ^ next(kept))
    return apart / max(1, sum(sizes.values()))


@dataclass
class Watch:
    """A :class:`Regularizer` that asks after every epoch what would be cut. ``ended``: as an epoch before,
    but for less than ``stable_at`` of all units.
    """

    inner: Regularizer | None
    planned: Callable[[], Plan]
    sizes: Mapping[str, int]
    stable_at: float
    distances: list[float] = field(default_factory=list)
    ended: bool = False
    _last: Plan | None = None

    def after_backward(self) -> None:
        if self.inner is not None:
            self.inner.after_backward()

    def after_epoch(self, epoch: int) -> None:
        if self.inner is not None:
            self.inner.after_epoch(epoch)
        plan = self.planned()
        if self._last is not None:
            self.distances.append(distance(self._last, plan, self.sizes))
            self.ended = self.distances[-1] < self.stable_at
        self._last = plan

    def state_dict(self) -> Mapping[str, Any]:
        return {
            "inner": None if self.inner is None else dict(self.inner.state_dict()),
            "distances": list(self.distances), "ended": self.ended,
            "last": None if self._last is None else self._last.to_json(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.inner is not None:
            self.inner.load_state_dict(state["inner"])
        self.distances, self.ended = list(state["distances"]), state["ended"]
        self._last = None if state["last"] is None else Plan.from_json(state["last"])


@dataclass
class UntilStable:
    """A :class:`Sparsifier` that makes a :class:`Watch` of ``inner``'s regularizer, or of none. ``chosen``
    is what would be cut, by the tensors of a network.
    """

    inner: Sparsifier | None
    chosen: Callable[[nn.Module], Plan]
    sizes: Mapping[str, int]
    stable_at: float
    _watch: Watch | None = None

    @property
    def name(self) -> str:
        return "train" if self.inner is None else self.inner.name

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"--prune-when": self.stable_at, **({} if self.inner is None else self.inner.identity)}

    def begin(self, network: nn.Module, steps: int) -> Regularizer:
        made = None if self.inner is None else self.inner.begin(network, steps)
        self._watch = Watch(made, lambda: self.chosen(network), self.sizes, self.stable_at)
        return self._watch

    @property
    def plan(self) -> Plan | None:
        return None if self.inner is None else self.inner.plan

    def told(self) -> tuple[Sparsity, Sequence[str]]:
        found = self._watch.distances if self._watch is not None else []
        ended = self._watch is not None and self._watch.ended
        base, notes = (Sparsity("none", {}), ()) if self.inner is None else self.inner.told()
        last: float | None = found[-1] if found else None
        facts = {**base.told, "mask distance": last, "stable": ended}
        said = ", ".join(f"{value:.3g}" for value in found) or "none: it takes two epochs"
        after = "the cut was made once" if ended else "the cut was made at the end, before"
        note = f"distances of masks from epoch to epoch: {said}; {after} it was below {self.stable_at:g}"
        sparsity = Sparsity(base.regularizer, base.values, facts, base.target, base.picked)
        return sparsity, (*notes, note)


def sizes_of(space: Space) -> dict[str, int]:
    """The units of every group that could lose some."""
    return {group.name: group.size for group in space.groups if group.frozen is None}
