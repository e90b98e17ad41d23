"""Sizes that are tied by more than a proportion: an integer solver finds the ones that satisfy all at once.

``features == heads * head_size`` with all three free is no fixed proportion. For such equalities the joint
sizes on the way from whole to small are solved for, a *ladder*: each rung removes more than the one before,
and every rung satisfies every equality.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Bundle, Member

_RUNGS = 24
_EFFORT = 0.5
"""Deterministic seconds the solver may take for one rung."""


@dataclass(frozen=True)
class Equality:
    """``difference == 0``, for ``reason``."""

    difference: Polynomial
    reason: str


def join_by_ladders(
    bundles: Sequence[Bundle], equalities: Sequence[Equality], sizes: Mapping[str, int]
) -> tuple[tuple[Bundle, ...], dict[str, str]]:
    """Bundles that share an equality become one bundle with a ladder. Returns the bundles, and the groups
    that no smaller sizes satisfy, with the reason.
    """
    if not equalities:
        return tuple(bundles), {}
    result: list[Bundle] = []
    frozen: dict[str, str] = {}
    for family, stated in _families(bundles, equalities):
        if not stated:
            result.extend(family)
            continue
        rungs = _climb(family, stated, sizes)
        if rungs:
            members = tuple(Member(m.group, m.stride) for bundle in family for m in bundle.members)
            result.append(Bundle(members, stated[0].reason, rungs))
        else:
            frozen |= {m.group: stated[0].reason for bundle in family for m in bundle.members}
    return tuple(result), frozen


def _families(
    bundles: Sequence[Bundle], equalities: Sequence[Equality]
) -> Iterable[tuple[list[Bundle], list[Equality]]]:
    """Bundles connected by equalities, with those equalities, in the order of the bundles."""
    families: list[tuple[list[Bundle], list[Equality], set[str]]] = [
        ([bundle], [], {member.group for member in bundle.members}) for bundle in bundles
    ]
    for equality in equalities:
        touched = [family for family in families if family[2] & equality.difference.groups]
        if not touched:
            continue
        first = touched[0]
        first[1].append(equality)
        for other in touched[1:]:
            first[0].extend(other[0])
            first[1].extend(other[1])
            first[2].update(other[2])
            families.remove(other)
    return [(bundles, stated) for bundles, stated, _ in families]


def _climb(
    family: Sequence[Bundle], stated: Sequence[Equality], sizes: Mapping[str, int]
) -> tuple[tuple[int, ...], ...]:
    """Units removed from every member, rung by rung, each as close to the same share of every group as the
    equalities allow.
    """
    rungs: list[tuple[int, ...]] = []
    steps = [0] * len(family)
    most = [min((sizes[m.group] - 1) // m.stride for m in bundle.members) for bundle in family]
    for rung in range(1, _RUNGS):
        found = _solve(family, stated, sizes, steps, most, rung / _RUNGS)
        if found is None:
            break
        if found != steps:
            steps = found
            rungs.append(
                tuple(m.stride * k for bundle, k in zip(family, steps, strict=True) for m in bundle.members)
            )
    return tuple(rungs)


def _solve(
    family: Sequence[Bundle], stated: Sequence[Equality], sizes: Mapping[str, int],
    least: Sequence[int], most: Sequence[int], share: float,
) -> list[int] | None:  # fmt: skip
    """Strides removed from each bundle: at least ``least``, satisfying all equalities, nearest to ``share``
    of all.
    """
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    strides = [model.new_int_var(low, high, "") for low, high in zip(least, most, strict=True)]
    left: dict[str, Any] = {
        member.group: sizes[member.group] - member.stride * variable
        for bundle, variable in zip(family, strides, strict=True)
        for member in bundle.members
    }
    for equality in stated:
        model.add(_expression(model, equality.difference, left, sizes) == 0)
    model.minimize(sum(_distance(model, v, high, share) for v, high in zip(strides, most, strict=True)))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = _EFFORT
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return [solver.value(variable) for variable in strides]


def _expression(model: Any, polynomial: Polynomial, left: Mapping[str, Any], sizes: Mapping[str, int]) -> Any:
    total: Any = 0
    for monomial, coefficient in polynomial.terms.items():
        free = [name for name in monomial if name in left]
        for name in monomial:
            coefficient *= 1 if name in left else sizes[name]
        product: Any = 1
        bound = 1
        for name in free:
            bound *= sizes[name]
            if isinstance(product, int):
                product = left[name]
            else:
                merged = model.new_int_var(0, bound, "")
                model.add_multiplication_equality(merged, [product, left[name]])
                product = merged
        total = total + coefficient * product
    return total


def _distance(model: Any, variable: Any, most: int, share: float) -> Any:
    """Per cent of a bundle's strides that ``variable`` is away from ``share``."""
    away = model.new_int_var(0, 100 * max(1, most), "")
    scale = max(1, most)
    wanted = round(100 * share * scale)
    model.add(away >= 100 * variable - wanted)
    model.add(away >= wanted - 100 * variable)
    share_away = model.new_int_var(0, 100, "")
    model.add(share_away * scale >= away)
    return share_away
