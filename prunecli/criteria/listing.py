"""Criteria in words: what each needs, and the table of ``docs/criteria.md``, from the registry.

``python -m prunecli.criteria.listing --write docs/criteria.md`` renews the table in the page.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prunecli.criteria.registry import CRITERIA, Criterion

BEGIN, END = "<!-- table of criteria: begin -->", "<!-- table of criteria: end -->"


def needs_in_words(criterion: Criterion) -> str:
    """Weights alone, inputs (``data``), or inputs with their labels where there are any."""
    if not criterion.needs_data:
        return "weights"
    return "data, labels if any" if criterion.needs_loss else "data"


def table() -> str:
    """A row per registered criterion, those that need least first."""
    rows = [
        "| name | score of a unit | needs | `--reduce` | `--normalize` | source |",
        "|---|---|---|---|---|---|",
    ]
    order = ("weights", "data", "data, labels if any")
    for one in sorted(CRITERIA.values(), key=lambda c: (order.index(needs_in_words(c)), c.name)):
        rows.append(
            f"| `{one.name}` | {one.summary} | {needs_in_words(one)} | {one.reduce} "
            f"| {one.normalize} | {one.source} |"
        )
    return "\n".join(rows)


def renewed(page: str) -> str:
    """``page`` with the table between its two marks as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "--write":
        sys.exit("usage: python -m prunecli.criteria.listing --write FILE")
    path = Path(sys.argv[2])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
