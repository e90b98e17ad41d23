"""What a run measured besides sizes and accuracy, in a few words for renderers: time, and zeros."""

from __future__ import annotations

from collections.abc import Sequence

from prunecli.report.sparse import LayerSparsity
from prunecli.report.text import milliseconds, plural
from prunecli.report.timed import Latency


def latency(found: Latency | None) -> list[tuple[str, str]]:
    """Both medians, how they compare with the MACs, and what keeps them there; nothing if not measured."""
    if found is None:
        return []
    medians = " -> ".join(
        milliseconds(spread.median) for spread in (found.before, found.after) if spread is not None
    )
    conditions = (
        f"batch {found.batch}, {found.dtype}, {found.device}, {plural(found.threads, 'thread')}, "
        f"{plural(found.runs, 'run')}"
    )
    facts = [("latency", f"{medians}{_faster(found)} ({conditions})")]
    if found.slow:
        facts.append(("slow layers", ", ".join(name or "(root)" for name in found.slow)))
    return [*facts, *([("advice", found.advice)] if found.advice else [])]


def _faster(found: Latency) -> str:
    if found.speedup is None:
        return ""
    fewer = "" if found.macs_ratio is None else f", where the MACs are {found.macs_ratio:.2f}x fewer"
    return f", {found.speedup:.2f}x faster{fewer}"


def without_target(kind: str) -> str:
    """What was done where no number was asked for."""
    known = {"plan": "plan applied", "compact": "dead units removed"}
    return known.get(kind, "the groups that were named")


def zeros(rows: Sequence[LayerSparsity]) -> list[tuple[str, str]]:
    """What is left in the weights that does nothing; nothing if nobody looked."""
    if not rows:
        return []
    weights = sum(row.params for row in rows)
    there = sum(row.zeros for row in rows)
    parts = [f"{there:,} of {weights:,} parameters ({there / max(1, weights):.1%})"]
    dead = sum(row.dead for row in rows)
    # A unit that several layers make is dead only if it is in all of them: there are fewer of those.
    parts += [f"{plural(dead, 'channel')} dead in {'its' if dead == 1 else 'their'} layer"] if dead else []
    for words, number in (
        ("duplicate", sum(row.duplicates for row in rows)),
        ("inactive channel", sum(row.inactive or 0 for row in rows)),
    ):
        parts += [plural(number, words)] if number else []
    return [("zeros", ", ".join(parts))]


def idle(row: LayerSparsity) -> bool:
    """Whether there is anything to tell of a layer."""
    return bool(row.zeros or row.near_zeros or row.dead or row.duplicates or row.inactive)
