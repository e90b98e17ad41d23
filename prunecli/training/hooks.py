"""What may take part in training: the regularizers, and whoever watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


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
