"""The zoo's results as a page.

python benchmarks/zoo_page.py zoo.jsonl docs/zoo.md --commit $(git rev-parse --short HEAD)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Row = dict[str, Any]
"""All that is known of one network, the fields of its stages under their stage."""

WANTED_REACH, WANTED_SECONDS, WANTED_MEMORY, TOLERANCE = 0.99, 10, 1.5, 0.005
COLUMNS = (
    "traced", "groups", "reach", "sizes", "forward", "oracle", "formula", "memory", "twice", "reloaded",
    "torch-pruning",
)  # fmt: skip
HEAD = """# The zoo

Every torchvision classification, segmentation, video and detection network except the two largest, and timm,
YOLO and Hugging Face networks of as many kinds as could be found; each in a process of its own, with random
weights, on two shared cores without a GPU. Made by

    python benchmarks/zoo.py --results zoo.jsonl --jobs 2
    python benchmarks/zoo_page.py zoo.jsonl docs/zoo.md

at commit {commit}. {remark}

**Half**: half of every group's units are removed (as far as sizes tied to each other allow). *Traced* in
seconds, on one thread beside another measurement; *reach* is the share of parameter elements in a dimension
whose size can change; *sizes* says whether all size constraints hold; *forward* whether the cut network runs;
*oracle* is the relative error against the masked dense network in float64 ("-": every group is
value-changing); *formula* whether the cost formula equals the counter, dense and cut; *memory* is the peak
while tracing and choosing, as a multiple of the process with the network loaded.

A detector with regions chosen by value may choose another number of them once it is cut, which only the
counter sees: its formula then differs, and a target may be missed for that reason alone.

**Twice**: `--speedup 2 --repair none` through the API, saved and reloaded. *Twice* is what the counter says
was reached. A network with a name is reloaded in a fresh process, others in a copy of the module.

**torch-pruning** 1.6 at 50 % with its own hints (`benchmarks/zoo_peer.py`): whether the result runs.
"""


def rows_of(path: Path) -> list[Row]:
    found: dict[str, Row] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["name"], {"name": row["name"], "group": row["group"]})[row["kind"]] = row
    return list(found.values())


def yes(value: object) -> str:
    return "yes" if value else "no"


def is_equal(half: Row) -> bool | None:
    """Whether formula and counter agree, None where it was not counted."""
    if "dense_macs" not in half:
        return None
    return half["dense_macs"] == half["dense_formula"] and half["pruned_macs"] == half["pruned_formula"]


def cells(row: Row) -> list[str]:
    half, target, peer = (row.get(kind, {}) for kind in ("half", "target", "peer"))
    oracle = half.get("oracle")
    equal = is_equal(half)
    return [
        f"`{row['name']}`",
        f"{half['trace_s']:.2f}" if "trace_s" in half else "no",
        str(half.get("groups", "")),
        f"{half['reach']:.3f}" if "reach" in half else "",
        yes(half.get("solved")) if "solved" in half else "",
        yes(half["forward"]) if "forward" in half else "",
        ("-" if oracle is None else f"{oracle:.0e}") if "proved" in half else "",
        "" if equal is None else yes(equal),
        f"{half['memory']:.2f}" if "memory" in half else "",
        reached(target),
        yes(target["reloaded"]) if "reloaded" in target else "",
        peer_verdict(peer) if peer else "",
    ]  # fmt: skip


def reached(target: Row) -> str:
    if "speedup" in target:
        return f"{target['speedup']:.4f}"
    return f"exit {target['exit']}" if "exit" in target else ""


def is_pruned(peer: Row) -> bool:
    """Whether the peer's network runs and lost a twentieth of its parameters at least."""
    return bool(peer.get("peer_forward")) and peer.get("peer_removed", 0) >= 0.05


def peer_verdict(peer: Row) -> str:
    if peer.get("peer_forward"):
        return f"{'runs' if is_pruned(peer) else 'runs, but'}, {peer['peer_removed']:.0%} removed"
    return f"no: {(peer.get('error') or 'forward fails')[:60]}".replace("|", "/")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def share(rows: Sequence[Row], holds: Callable[[Row], bool]) -> str:
    return f"{sum(map(holds, rows))} of {len(rows)}"


def summary(rows: Sequence[Row]) -> str:
    halves = [row["half"] for row in rows if "half" in row]
    traced = [half for half in halves if "trace_s" in half]
    asked = [half for half in halves if half.get("oracle") is not None]
    counted = [half for half in halves if is_equal(half) is not None]
    targets = [row["target"] for row in rows if "target" in row]
    written = [target for target in targets if target.get("exit") == 0]
    peers = [row["peer"] for row in rows if "peer" in row]
    worst = max((half["oracle"] for half in asked), default=0)
    seconds = [half["trace_s"] for half in traced]
    slow = sum(second > WANTED_SECONDS for second in seconds)
    memories = [half["memory"] for half in traced if "memory" in half]
    lines = [
        f"traced: {share(halves, lambda half: 'trace_s' in half)}",
        f"median trace {median(seconds):.2f} s, longest {max(seconds):.1f} s, {slow} over {WANTED_SECONDS} s",
        f"cut network runs: {share(halves, lambda half: bool(half.get('forward')))}",
        f"equals the masked dense network, where that can be asked: "
        f"{share(asked, lambda half: half['oracle'] <= 1e-9)} (largest error {worst:.0e})",
        f"cost formula equals the counter: {share(counted, lambda half: bool(is_equal(half)))}",
        f"size constraints hold: {share(halves, lambda half: bool(half.get('solved')))}",
        f"reach at least {WANTED_REACH}: {share(traced, lambda half: half.get('reach', 0) >= WANTED_REACH)}",
        f"peak memory: median {median(memories):.2f}x, at most {max(memories):.2f}x of the loaded process, "
        f"{sum(memory >= WANTED_MEMORY for memory in memories)} at {WANTED_MEMORY}x or more",
    ]
    if targets:
        near = [t for t in written if t["speedup"] >= 2 * (1 - TOLERANCE)]
        lines += [
            f"`--speedup 2`: {len(written)} of {len(targets)} written, {len(near)} of them within 0.5 % of "
            f"the target or beyond, {sum(bool(t['reloaded']) for t in written)} reloaded with equal output",
        ]
    if peers:
        lines.append(f"torch-pruning at 50 %: {share(peers, is_pruned)} run afterwards and lost parameters")
    return "\n".join(f"- {line}" for line in lines)


def reasons(rows: Sequence[Row]) -> str:
    parts = []
    for row in rows:
        half = row.get("half", {})
        if "reach" in half and half["reach"] < WANTED_REACH:
            why = "; ".join(f"{part:.1%} {reason}" for reason, part in half["lost"][:3])
            parts.append([f"`{row['name']}`", f"{half['reach']:.3f}", why.replace("|", "/")])
    return table(["network", "reach", "not reached, by share of parameters, and why"], parts)


def failures(rows: Sequence[Row]) -> str:
    parts = []
    for row in rows:
        for kind in ("half", "target"):
            entry = row.get(kind, {})
            if entry.get("error"):
                parts.append([f"`{row['name']}`", kind, entry["error"].replace("|", "/").replace("\n", " ")])
            elif kind == "half" and entry and not entry.get("proved", True):
                detail = "; ".join(entry.get("proof_details", ()))[:200]
                parts.append([f"`{row['name']}`", kind, f"proof: {detail}".replace("|", "/")])
            elif entry.get("frozen_by_proof"):
                names = ", ".join(entry["frozen_by_proof"][:3])
                parts.append([f"`{row['name']}`", kind, f"left whole after a failed proof: {names}"])
    return table(["network", "stage", "what happened"], parts) if parts else "None."


def page(rows: Sequence[Row], commit: str, remark: str) -> str:
    header = ["network", *COLUMNS]
    parts = [HEAD.format(commit=commit, remark=remark), "## In short", summary(rows)]
    parts += ["## What failed, was refused or was left whole after a failed proof", failures(rows)]
    parts += [f"## Reach under {WANTED_REACH}", reasons(rows)]
    for group in dict.fromkeys(row["group"] for row in rows):
        parts += [f"## {group}", table(header, (cells(row) for row in rows if row["group"] == group))]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--remark", default="")
    given = parser.parse_args()
    given.page.write_text(page(rows_of(given.results), given.commit, given.remark), encoding="utf-8")


if __name__ == "__main__":
    main()
