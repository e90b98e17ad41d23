"""Small files that ask for much, through the command: ``python -m tests.robustness.bombs``.

Each is refused with exit 3 within five seconds, and within twice the size of the file and 500 MB of memory
(what the process and its descendants have for themselves beyond what they began with).
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bases import CUT, NETWORK
from .explosives import MAKERS
from .runs import MB, Places, command, faults, places, run, table, warm
from .shares import shared

SECONDS = 5.0
MEMORY = 500 * 1000 * 1000
CEILING = 6 << 30
"""Where a run is stopped, so that the machine of the test goes on."""


@dataclass(frozen=True)
class Bomb:
    name: str
    way: str
    size: int
    code: int | None
    seconds: float
    own: int
    error: str
    faults: tuple[str, ...]


def arguments(name: str, way: str, path: Path, at: Places) -> list[str]:
    if way == "verify":
        return ["verify", str(path)]
    if "recipe" in name:
        # It names its network itself.
        return ["inspect", str(path)]
    if way == "run":
        return ["run", str(path), *NETWORK, *CUT, "-o", str(at.out / "small.safetensors")]
    return ["inspect", str(path), *NETWORK]


def explode(name: str, way: str, seconds: float = SECONDS) -> Bomb:
    with places() as at:
        path = MAKERS[name](at.given)
        size = min(path.stat().st_size, path.stat().st_blocks * 512) if path.is_file() else 0
        found = run(
            command(*arguments(name, way, path, at)), at, seconds=4 * SECONDS, memory=CEILING, watch=True
        )
        wrong = faults(found)
        # A proof that fails is not a refusal, but verify is there for that.
        if found.code == 0 or (found.code == 4 and way != "verify"):
            wrong.append(f"exit {found.code}, not refused")
        if found.seconds > seconds:
            wrong.append("slow")
        if found.own > 2 * size + MEMORY:
            wrong.append("large")
        longest = max((len(line) for line in found.err.splitlines()), default=0)
        if longest > 2000:
            wrong.append(f"a line of {longest} characters")
    error = (found.errors or [found.err.strip().rpartition("\n")[2]])[0]
    error = re.sub(r"/tmp/robust\.\w+/given/", "", error.removeprefix("error: "))
    return Bomb(name, way, size, found.code, found.seconds, found.own, error[:90], tuple(wrong))


def work(names: list[str], ways: tuple[str, ...]) -> Any:
    def mine(share: int, shares: int, end: float) -> Iterable[Bomb]:
        warm()
        for name in names[share::shares]:
            for way in ways if "recipe" not in name else (*ways, "verify"):
                yield explode(name, way)
            if time.monotonic() > end:
                return

    return mine


def show(bombs: list[Bomb]) -> str:
    rows = [
        (b.name, b.way, b.size, "-" if b.code is None else b.code, f"{b.seconds:.2f}", b.own // MB,
         "; ".join(b.faults) or "ok", b.error)
        for b in bombs
    ]  # fmt: skip
    header = ("bomb", "command", "bytes", "exit", "s", "MB more", "verdict", "error line")
    bad = sum(bool(b.faults) for b in bombs)
    most = f"at most {max(b.seconds for b in bombs):.1f} s and {max(b.own for b in bombs) // MB} MB"
    return f"{table(header, rows)}\n\n{len(bombs)} runs, {bad} at fault; {most}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a part of the name")
    parser.add_argument("--way", action="append", choices=("inspect", "run", "verify"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    names = [name for name in MAKERS if given.only in name]
    bombs: list[Bomb] = []
    for bomb in shared(work(names, tuple(given.way or ("inspect",))), given.jobs, given.seconds):
        bombs.append(bomb)
        print(f"{'; '.join(bomb.faults) or 'ok':12} {bomb.seconds:5.2f} s  {bomb.name}", flush=True)
    bombs.sort(key=lambda b: list(MAKERS).index(b.name))
    print(f"\n{show(bombs)}", flush=True)
    return int(any(bomb.faults for bomb in bombs))


if __name__ == "__main__":
    sys.exit(main())
