"""What repair did, in words and as tables for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prunecli.report.figures import OperationRow, RepairFacts
from prunecli.report.text import plural

_WORDS = {
    "lstsq": "least squares",
    "bn": "statistics of norms",
    "lstsq + bn": "least squares, then statistics of norms",
}


def repair(facts: RepairFacts) -> str:
    """One line: what was written, on which inputs, and how much nearer to the dense network it is."""
    on = f"on {facts.data.origin}, {plural(facts.data.samples, 'input')}"
    if facts.applied == "none":
        why = f": {_words(facts.asked)} brought it no nearer to the dense network ({on})"
        return "left as cut" + (why if facts.errors else "")
    parts = [f"{_words(facts.applied)} {on}: {_change(facts)}"]
    if "lstsq" in facts.applied:
        parts.append(_repaired(facts.operations))
    return ", ".join(parts)


def left(facts: RepairFacts) -> Counter[str]:
    """Why operations stay as they were cut, with how often; empty where least squares was not applied."""
    if "lstsq" not in facts.applied:
        return Counter()
    return Counter(row.reason or "no reason recorded" for row in facts.operations if not row.method)


def _words(method: str) -> str:
    return _WORDS.get(method, method)


def _change(facts: RepairFacts) -> str:
    before, after = facts.errors.get("none"), facts.errors.get(facts.applied)
    if before is None or after is None:
        return "not judged, since the outputs could not be compared"
    return f"output error {before:.3g} -> {after:.3g} (cut -> repaired)"


def _repaired(operations: Sequence[OperationRow]) -> str:
    done = [row.method for row in operations if row.method]
    mixed = sum(method.startswith("channel mixing") for method in done)
    by = f" ({mixed} by channel mixing)" if mixed else ""
    return f"{len(done)} of {plural(len(operations), 'operation')}{by}"
