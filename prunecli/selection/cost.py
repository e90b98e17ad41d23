"""A cost polynomial compiled to arrays: a value, or the change under every possible step, in microseconds.

Letters in shapes: ``G`` groups, ``B`` bundles, ``T`` terms, ``D`` the largest degree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prunecli.coupling.cost import Polynomial

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

# Products beyond int64 are computed in float64, whose relative error is far below any tolerance.
_EXACT = 1 << 62


class CompiledCost:
    """``polynomial`` over the groups ``names``; ``sizes`` arrays below follow their order."""

    def __init__(
        self, polynomial: Polynomial, names: Sequence[str], dense: Mapping[str, int], bundle_of: Ints
    ) -> None:
        position = {name: index for index, name in enumerate(names)}
        degree = max((len(monomial) for monomial in polynomial.terms), default=0)
        one = len(names)  # the place of a constant factor 1, appended to every sizes array
        rows = [
            [position[name] for name in monomial] + [one] * (degree - len(monomial))
            for monomial in polynomial.terms
        ]
        bound = sum(abs(c) * prod(dense[n] for n in monomial) for monomial, c in polynomial.terms.items())
        kind: Any = np.int64 if bound < _EXACT else np.float64
        self.kind = kind
        self.factors: Ints = np.array(rows, dtype=np.int64).reshape(len(rows), degree)
        self.coefficients = np.array(list(polynomial.terms.values()), dtype=kind)
        self.bundles = np.append(bundle_of, -1)[self.factors]
        self.pair_term, self.pair_bundle = self._pairs()
        self.bundle_count = int(bundle_of.max(initial=-1)) + 1

    def _pairs(self) -> tuple[Ints, Ints]:
        """Each (term, bundle) such that the bundle occurs in the term, once."""
        terms, bundles = [], []
        for column in range(self.bundles.shape[1]):
            here = self.bundles[:, column]
            seen = (self.bundles[:, :column] == here[:, None]).any(1)
            rows = np.flatnonzero((here >= 0) & ~seen)
            terms.append(rows)
            bundles.append(here[rows])
        empty = np.zeros(0, dtype=np.int64)
        return np.concatenate([empty, *terms]), np.concatenate([empty, *bundles])

    def _products(self, values: NDArray[Any]) -> NDArray[Any]:
        products: NDArray[Any] = np.multiply.reduce(values, axis=1, dtype=self.kind)
        return products

    def value(self, sizes: Ints) -> int:
        """The cost at ``sizes`` (``[G]``)."""
        factors = np.append(sizes, 1).astype(self.kind)[self.factors]
        return int((self.coefficients * self._products(factors)).sum())

    def changes(self, sizes: Ints, change: Ints) -> Floats:
        """Per bundle, how the cost changes when its groups alone change by ``change`` (``[G]``)."""
        values = np.append(sizes, 1).astype(self.kind)[self.factors]
        before = self._products(values)[self.pair_term]
        touched = self.bundles[self.pair_term] == self.pair_bundle[:, None]
        moved = np.append(change, 0).astype(self.kind)[self.factors[self.pair_term]]
        after = self._products(values[self.pair_term] + np.where(touched, moved, 0))
        weights = (self.coefficients[self.pair_term] * (after - before)).astype(np.float64)
        changes: Floats = np.bincount(self.pair_bundle, weights, self.bundle_count).astype(np.float64)
        return changes
