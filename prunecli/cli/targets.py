"""How much is removed, and by which rule: options that several commands have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from prunecli.cli.settings import Groups
from prunecli.errors import UsageError, require_range

TARGET = "Target (one)"
METHOD = "What is removed"

NOTHING = Groups()
TARGETS = ("speedup", "flops", "params", "ratio")
LIKE = ("--speedup 2", "--flops 0.5", "--params 0.5", "--ratio 0.5")

Speedup: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="X", rich_help_panel=TARGET, help="Dense MACs / pruned MACs, like 2."),
]
Flops: TypeAlias = Annotated[
    float | None, typer.Option(metavar="F", rich_help_panel=TARGET, help="Fraction of MACs to keep.")
]
Params: TypeAlias = Annotated[
    float | None, typer.Option(metavar="F", rich_help_panel=TARGET, help="Fraction of parameters to keep.")
]
Ratio: TypeAlias = Annotated[
    float | None, typer.Option(metavar="R", rich_help_panel=TARGET, help="Fraction of units to remove.")
]
Scheme: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME", rich_help_panel=METHOD, help="How scores become a choice; see prune ls schemes."
    ),
]
Protect: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="F", rich_help_panel=METHOD, help="Fraction every group keeps at least (scheme protected)."
    ),
]


def target(
    typed: Mapping[str, Any], plan: Path | None = None, groups: Groups | None = None
) -> dict[str, float]:
    """The one target of all that was ``typed`` as an argument for ``prunecli.prune``, none with a plan or
    where ``groups`` (None for a command without such options) is all that was asked. Raises ``UsageError``.
    """
    asked: dict[str, float] = {kind: typed[kind] for kind in TARGETS if typed.get(kind) is not None}
    if plan is not None and groups not in (None, NOTHING):
        raise UsageError(
            f"--plan and {_first_option(groups)} together: a plan says all there is to do",
            "give them when the plan is made, with --dry-run --json",
        )
    if not asked and plan is None and groups is not None and groups.is_target:
        return {}
    if len(asked) + (plan is not None) != 1:
        found = " and ".join(f"--{kind}" for kind in (*asked, *(["plan"] if plan else [])))
        *first, last = LIKE if groups is None else (*LIKE, "--heads 0.5")
        raise UsageError(
            f"{found} together: one target at a time" if found else "no target given",
            f"like {', '.join(first)} or {last}",
        )
    for kind, value in asked.items():
        if kind == "speedup":
            fits = 1 < value < math.inf
            require_range(
                fits, "--speedup", value, "dense MACs / pruned MACs, above 1: --speedup 2 halves them"
            )
        elif kind == "ratio":
            require_range(0 < value < 1, "--ratio", value, "the fraction of units to remove, between 0 and 1")
        else:
            require_range(0 < value < 1, f"--{kind}", value, "the fraction to keep, between 0 and 1")
    return asked


def _first_option(groups: Groups) -> str:
    return next(
        "--" + item.name.replace("_", "-")
        for item in fields(groups)
        if getattr(groups, item.name) not in (None, (), {})
    )
