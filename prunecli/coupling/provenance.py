"""Which operators an axis went through, for those who ask. A trace that nobody asks keeps nothing of this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from prunecli.coupling.algebra import Algebra
from prunecli.coupling.nodes import TRIVIAL, Node, leaves
from prunecli.coupling.recording import ROOT, tensors_in
from prunecli.coupling.space import Effect, Use

if TYPE_CHECKING:
    from prunecli.coupling.functions import Handler
    from prunecli.coupling.recording import Recording

_WEIGHT = "_prunecli_weight"
_MET = " (met in "


@dataclass(frozen=True, slots=True)
class _Part:
    """The axes of one tensor of a call; ``is_weight`` where parameters alone went into it."""

    axes: tuple[Node, ...]
    is_weight: bool


@dataclass(frozen=True, slots=True)
class _Event:
    operator: str
    where: str
    arguments: tuple[_Part, ...]
    results: tuple[_Part, ...]


class _WatchedAlgebra(Algebra):
    """An algebra that adds to every reason for pinning the module whose ``forward`` was running."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording

    def pin(self, node: Node, reason: str) -> None:
        where = self._recording.where
        if where != ROOT and _MET not in reason and where not in reason and reason not in TRIVIAL:
            reason += f"{_MET}{where})"
        super().pin(node, reason)


class Provenance:
    """What happened in a trace, in order. Nodes are kept as they were; they are read when all is known."""

    def __init__(self) -> None:
        self._events: list[_Event] = []
        self._begun = 0
        self._heard = 0
        self._seen: set[tuple[str, str]] = set()

    def algebra(self, recording: Recording) -> Algebra:
        """The algebra that ``recording`` is to work with."""
        return _WatchedAlgebra(recording)

    def begin(self, again: bool) -> None:
        """A run starts; ``again``: it stands for the last one, which failed."""
        if again:
            del self._events[self._begun :]
        self._begun = len(self._events)
        self._seen = {(event.operator, event.where) for event in self._events}

    def note(
        self, recording: Recording, operator: str, arguments: Iterable[Tensor], out: list[Tensor]
    ) -> None:
        """One call is done. What rearranges a single weight says nothing, and neither does what an earlier
        run has shown.
        """
        self._heard += 1
        traced = [tensor for tensor in arguments if recording.is_traced(tensor)]
        weights = [tensor for tensor in traced if _is_weight(recording, tensor)]
        if len(weights) == len(traced):
            for tensor in out:
                setattr(tensor, _WEIGHT, True)
            if len(traced) < 2:
                return
        if (operator, recording.where) not in self._seen:
            parts = tuple(_Part(tuple(recording.axes(t)), _is_weight(recording, t)) for t in traced)
            results = tuple(_Part(tuple(recording.axes(t)), False) for t in out)
            self._events.append(_Event(operator, recording.where, parts, results))

    def around(
        self, recording: Recording, handler: Handler, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run ``handler``; its function is noted where none of its operators was (fused attention)."""
        before = self._heard
        result = handler(recording, func, args, kwargs)
        if self._heard == before:
            given = [t for t in tensors_in((*args, *kwargs.values())) if recording.is_traced(t)]
            made = [t for t in tensors_in(result) if not any(t is other for other in given)]
            if made and any(not _is_weight(recording, t) for t in given):
                self.note(recording, str(getattr(func, "__name__", func)), given, made)
        return result

    def uses(self, names: Mapping[int, str]) -> dict[str, tuple[Use, ...]]:
        """Per group, the operators that its units went through, in order of execution, each place once.

        ``names`` maps the identity of an atom to the name of its group.
        """
        counts: dict[str, dict[tuple[str, str, Effect], int]] = {}
        for event in self._events:
            for group, effect in _effects(event, names).items():
                found = counts.setdefault(group, {})
                key = (event.operator, event.where, effect)
                found[key] = found.get(key, 0) + 1
        return {
            group: tuple(Use(*key, times) for key, times in found.items()) for group, found in counts.items()
        }


def _is_weight(recording: Recording, tensor: Tensor) -> bool:
    return recording.name_of(tensor) is not None or hasattr(tensor, _WEIGHT)


def _effects(event: _Event, names: Mapping[int, str]) -> dict[str, Effect]:
    given: dict[str, int] = {}
    weighed = {name for part in event.arguments if part.is_weight for name in _groups(part, names)}
    for part in event.arguments:
        for name in _groups(part, names) if not part.is_weight else ():
            given[name] = given.get(name, 0) + 1
    made = {name for part in event.results for name in _groups(part, names)}
    return {
        name: _effect(given.get(name, 0), name in made) for name in dict.fromkeys((*given, *weighed, *made))
    }


def _effect(given: int, made: bool) -> Effect:
    if given > 1:
        return "joins"
    if given:
        return "passes" if made else "takes"
    return "makes"


def _groups(part: _Part, names: Mapping[int, str]) -> dict[str, None]:
    return {names[id(atom)]: None for node in part.axes for atom in leaves(node) if id(atom) in names}
