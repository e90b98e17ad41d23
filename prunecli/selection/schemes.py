"""Schemes: in which order the steps of all bundles are taken. A target is then a prefix of that order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prunecli.errors import unknown_name
from prunecli.selection.cost import Ints
from prunecli.selection.steps import Steps


@dataclass(frozen=True)
class Scheme:
    """``order`` gives the steps (``[S]`` positions in :class:`Steps`), first taken first.

    ``protects``: ``--protect`` holds. ``per_group``: ``--ratio`` means the fraction of every single group.
    """

    name: str
    summary: str
    source: str
    order: Callable[[Steps], Ints]
    protects: bool = False
    per_group: bool = False


def _by_fraction(steps: Steps) -> Ints:
    return np.lexsort((steps.bundle, steps.fraction))


def _by_score(steps: Steps) -> Ints:
    # Equal scores of different bundles are taken evenly; within a bundle by unit index.
    return np.lexsort((steps.bundle, steps.fraction, steps.score))


SCHEMES: dict[str, Scheme] = {}


def register_scheme(scheme: Scheme) -> Scheme:
    """Make ``scheme`` available by its name. Raises ``ValueError`` where the name is taken."""
    if scheme.name in SCHEMES:
        raise ValueError(f"scheme '{scheme.name}' is registered twice")
    SCHEMES[scheme.name] = scheme
    return scheme


def find_scheme(name: str) -> Scheme:
    """The scheme called ``name``. Raises ``UsageError`` with the nearest names."""
    if name not in SCHEMES:
        raise unknown_name("scheme", name, SCHEMES)
    return SCHEMES[name]


register_scheme(
    Scheme("local", "the same fraction of every group", "Li et al. 2017", _by_fraction, per_group=True)
)
register_scheme(Scheme("uniform", "the same as local", "Lubana & Dick 2021", _by_fraction, per_group=True))
register_scheme(Scheme("global", "one threshold for the whole network", "Liu et al. 2017", _by_score))
register_scheme(
    Scheme(
        "protected", "global, but every group keeps at least --protect of its units",
        "PruningBench 2024", _by_score, protects=True,
    )
)  # fmt: skip
