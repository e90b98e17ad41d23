"""What data says about the parameters of a network: all that criteria may ask for.

Letters in shapes: ``c`` samples of one chunk, ``n`` units of a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

NEEDS = {
    "gradient": "the gradient of the loss",
    "curvature": "the Hessian of the loss times its gradient",
    "squared-gradient": "the squares of the gradients of single samples",
    "products": "weight times gradient of single samples, summed per unit",
    "inputs": "how large the inputs of operations are",
    "grams": "what units contribute to the outputs of operations",
    "ranks": "the ranks of feature maps",
}
"""What a criterion may need, and what that is."""

LOSS_NEEDS = frozenset({"gradient", "curvature", "squared-gradient", "products"})
INPUT_NEEDS = frozenset({"inputs", "grams", "ranks"})


@dataclass(frozen=True)
class IndexInputs:
    """Sums over all that an operation was given, per index of its parameter's dimension of inputs (float64
    ``[size]``): of ``|x|`` and of ``x^2``, over ``count`` numbers each.
    """

    count: int
    magnitude: Tensor
    squares: Tensor

    def __add__(self, other: IndexInputs) -> IndexInputs:
        return IndexInputs(
            self.count + other.count, self.magnitude + other.magnitude, self.squares + other.squares
        )


@dataclass(frozen=True)
class Evidence:
    """By the name of a parameter: ``gradient``, ``curvature``, ``squared_gradient`` (float64, of its shape),
    and ``products [c, *shape]`` of the chunk that is being looked at. By parameter and dimension: ``inputs``,
    and ``ranks`` (float64 ``[size]``, mean over maps). By group, parameter and dimension: ``grams [n, n]``.

    ``scores`` are the means over samples of criteria that have ``each``, by criterion and group, taken with
    ``reduce`` (None: each criterion's own). ``loss`` is the name of the one that was taken, where there was
    one. ``notes`` are what the user should know.
    """

    gradient: Mapping[str, Tensor] = field(default_factory=dict)
    curvature: Mapping[str, Tensor] = field(default_factory=dict)
    squared_gradient: Mapping[str, Tensor] = field(default_factory=dict)
    products: Mapping[str, Tensor] = field(default_factory=dict)
    inputs: Mapping[tuple[str, int], IndexInputs] = field(default_factory=dict)
    ranks: Mapping[tuple[str, int], Tensor] = field(default_factory=dict)
    grams: Mapping[tuple[str, str, int], Tensor] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    reduce: str | None = None
    samples: int = 0
    loss: str | None = None
    notes: tuple[str, ...] = ()


NOTHING = Evidence()
