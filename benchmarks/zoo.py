"""The zoo: every network it knows, each in a process of its own with a cap on time and memory.

    python benchmarks/zoo.py --results zoo.jsonl [--only 'timm:*'] [--resume] [--jobs 2]

At 50 % in every group (stage ``half``) each network is traced, cut, proved against the masked dense network
in float64 and counted; at ``--speedup 2`` (stage ``target``) it is pruned through the API, saved and reloaded
in a fresh process; stage ``peer`` is another library at 50 %. Weights are random; nothing is downloaded.

    python benchmarks/zoo_page.py zoo.jsonl docs/zoo.md

makes the page of the results.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from zoo_models import Entry, entries

STAGES = ("half", "target", "peer")
LIBRARIES = (
    "torch", "torchvision", "timm", "transformers", "fvcore.nn", "torch_pruning",
    "zoo_measure", "zoo_target", "zoo_peer",
)  # fmt: skip


@dataclass
class Child:
    """A measurement under way."""

    entry: Entry
    stage: str
    process: ForkProcess
    answer: Connection
    began: float

    def over(self, seconds: float, gigabytes: float) -> str | None:
        """What it has too much of, or None."""
        if time.monotonic() - self.began > seconds:
            return f"over {seconds:.0f} s"
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (FileNotFoundError, IndexError, ProcessLookupError):
            return None
        return f"over {gigabytes:g} GB" if pages * os.sysconf("SC_PAGE_SIZE") > gigabytes * 1e9 else None


def measure(entry: Entry, stage: str, answer: Connection, counting: bool) -> None:
    """In the forked process."""
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    if stage == "half":
        from zoo_measure import at_half

        row = at_half(entry, counting)
    elif stage == "target":
        from zoo_target import at_target

        row = at_target(entry)
    else:
        from zoo_peer import at_peer

        row = at_peer(entry)
    answer.send(row)
    answer.close()


def start(entry: Entry, stage: str, counting: bool) -> Child:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(entry, stage, theirs, counting))
    process.start()
    theirs.close()
    return Child(entry, stage, process, ours, time.monotonic())


def finished(child: Child, seconds: float, gigabytes: float) -> dict[str, Any] | None:
    """The row of a child that is done or had to be ended, None while it runs."""
    row: dict[str, Any] | None = None
    if child.answer.poll():
        try:
            row = child.answer.recv()
        except EOFError:
            child.process.join()
            row = {"error": f"killed by signal {-(child.process.exitcode or 0)}"}
    else:
        too_much = child.over(seconds, gigabytes)
        if too_much is None:
            return None
        child.process.kill()
        row = {"error": too_much}
    child.process.join()
    child.answer.close()
    head = {"name": child.entry.name, "group": child.entry.group, "kind": child.stage}
    return {**head, **row, "wall_s": round(time.monotonic() - child.began, 1)}


def run_all(
    work: Iterator[tuple[Entry, str]], jobs: int, seconds: float, gigabytes: float, counting: bool,
    done: Callable[[dict[str, Any]], None],
) -> None:  # fmt: skip
    running: list[Child] = []
    waiting = True
    while waiting or running:
        while waiting and len(running) < jobs:
            following = next(work, None)
            if following is None:
                waiting = False
            else:
                running.append(start(*following, counting))
        time.sleep(0.05)
        for child in list(running):
            row = finished(child, seconds, gigabytes)
            if row is not None:
                running.remove(child)
                done(row)


def known(results: Path) -> set[tuple[str, str]]:
    if not results.exists():
        return set()
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return {(row["name"], row["kind"]) for row in rows}


def import_libraries() -> None:
    """Once, before forking: so that a child starts with all of them and no measurement holds an import."""
    for name in LIBRARIES:
        importlib.import_module(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, one per measurement")
    parser.add_argument("--only", nargs="*", default=["*"], metavar="GLOB")
    parser.add_argument("--stages", nargs="*", default=STAGES, choices=STAGES)
    parser.add_argument("--resume", action="store_true", help="leave out what the results hold already")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--gigabytes", type=float, default=9)
    parser.add_argument("--no-count", action="store_true")
    given = parser.parse_args()
    import_libraries()
    there = known(given.results) if given.resume else set()
    if not given.resume:
        given.results.unlink(missing_ok=True)
    work = [
        (entry, stage)
        for stage in given.stages
        for entry in entries()
        if any(fnmatch(entry.name, glob) for glob in given.only) and (entry.name, stage) not in there
    ]

    def done(row: dict[str, Any]) -> None:
        with given.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        kept = ("trace_s", "reach", "oracle", "speedup", "reloaded", "exit", "peer_forward", "error")
        shown = ", ".join(f"{key} {row[key]}" for key in kept if key in row)
        print(f"{row['name']} {row['kind']}: {shown}", file=sys.stderr, flush=True)

    run_all(iter(work), given.jobs, given.seconds, given.gigabytes, not given.no_count, done)


if __name__ == "__main__":
    main()
