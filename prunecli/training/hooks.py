"""What may take part in training: the regularizers, and whoever watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from prunecli.plan import Plan
from prunecli.report.epochs import Sparsity


class Regularizer(Protocol):
    """Called by the loop; its state is part of the state that a run resumes from.

    ``state_dict`` holds what ``torch.load(weights_only=True)`` reads: tensors, numbers, texts, and lists and
    dicts of them.
    """

    def after_backward(self) -> None:
        """Add to the gradients in place: after backward (unscaled, clipped), before the optimizer's step."""

    def after_epoch(self, epoch: int) -> None:
        """``epoch`` counts the finished ones from 1."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class Ending(Protocol):
    """A regularizer that may end the training after an epoch."""

    @property
    def ended(self) -> bool: ...


class Sparsifier(Protocol):
    """A training in which units become small, from its set-up to its report. ``name`` is what the recipe
    calls it.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What must be the same for a run to be the same, by option."""

    def begin(self, network: nn.Module, steps: int) -> Regularizer:
        """What takes part in the ``steps`` in which ``network`` is trained."""

    @property
    def plan(self) -> Plan | None:
        """At the end: what is to be cut, if the training has picked it."""

    def told(self) -> tuple[Sparsity, Sequence[str]]:
        """At the end: the part of the report, and notes."""
