"""Single bits of a file that prune wrote, turned over: ``python -m tests.robustness.flips``.

``prune verify`` tells every one of them. Most are put to the proof of the digests alone, as the command takes
it; some to the whole command. Every byte of the header is changed once too, one bit in each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from . import bases
from .bases import OWN
from .runs import Run, command, faults, places, run, table, warm
from .shares import shared

MISSED = "not found"


@dataclass(frozen=True)
class Flip:
    """``where``: in a tensor or in the header; ``how``: what was asked; ``found``: what it was told by."""

    where: str
    how: str
    byte: int
    bit: int
    found: str

    @property
    def fault(self) -> bool:
        return not self.found.startswith("exit ")


def header_end(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def flipped(content: bytes, byte: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[byte] ^= 1 << bit
    return bytes(changed)


def places_of(content: bytes, number: int, seed: int) -> list[tuple[int, int]]:
    """Seeded places in the bytes of the tensors, each once: (byte, bit)."""
    begin = header_end(content)
    drawn = Random(seed).sample(range(8 * begin, 8 * len(content)), number)
    return [divmod(place, 8) for place in drawn]


def by_proof(path: Path) -> str:
    """What the command does before it reloads the file, in this process."""
    from prunecli.checking import verify
    from prunecli.errors import PruneError

    try:
        found = verify(path)
    except PruneError as error:
        return f"exit {error.exit_code}" if error.exit_code in (3, 4) else f"{type(error).__name__}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "exit 4" if any(not proof.passed for proof in found.proofs) else MISSED


def by_command(path: Path, at: Any) -> str:
    found = run(command("verify", path), at)
    return told(found)


def told(found: Run) -> str:
    wrong = faults(found)
    if wrong:
        return "; ".join(wrong)
    return MISSED if found.code == 0 else f"exit {found.code}"


def asked(content: bytes, flips: list[tuple[str, str, int, int]]) -> Iterable[Flip]:
    """Each flip in ``flips``: (where, how, byte, bit)."""
    with places() as at:
        path = at.given / "net.safetensors"
        for where, how, byte, bit in flips:
            path.write_bytes(flipped(content, byte, bit))
            if how == "whole command":
                yield Flip(where, how, byte, bit, by_command(path, at))
            else:
                yield Flip(where, how, byte, bit, by_proof(path))


def spared_reload() -> Callable[[], None]:
    """Take the proof of the digests without the reload, which would find the same; returns what undoes it."""
    from prunecli import checking
    from prunecli.report.model import Proof

    real = checking.reload_proof
    checking.reload_proof = lambda *_, **__: Proof("reload", True)

    def undo() -> None:
        checking.reload_proof = real

    return undo


def planned(content: bytes, runs: int, whole: int, seed: int, header: int) -> list[tuple[str, str, int, int]]:
    """``header``: every so-manieth byte of it."""
    random = Random(seed)
    drawn = places_of(content, runs + whole, seed)
    flips = [("tensors", "digests", *place) for place in drawn[:runs]]
    flips += [
        ("header", "digests", byte, random.randrange(8)) for byte in range(0, header_end(content), header)
    ]
    return flips + [("tensors", "whole command", *place) for place in drawn[runs:]]


def work(runs: int, whole: int, seed: int, header: int) -> Any:
    def mine(share: int, shares: int, end: float) -> Iterable[Flip]:
        warm()
        with places() as at:
            content = bases.make(OWN, at.out).files["net.safetensors"]
        flips = planned(content, runs, whole, seed, header)[share::shares]
        undo = spared_reload()
        for flip in asked(content, [f for f in flips if f[1] == "digests"]):
            yield flip
            if time.monotonic() > end:
                return
        undo()
        for flip in asked(content, [f for f in flips if f[1] != "digests"]):
            yield flip
            if time.monotonic() > end:
                return

    return mine


def show(flips: list[Flip]) -> str:
    counted = Counter((flip.where, flip.how, flip.found) for flip in flips)
    summary = table(
        ("flips", "in", "asked of", "answer"), [(count, *key) for key, count in sorted(counted.items())]
    )
    missed = [f"! {f.where}, byte {f.byte}, bit {f.bit}, {f.how}: {f.found}" for f in flips if f.fault]
    return "\n".join((summary, *missed[:20], f"{len(flips) - len(missed)} of {len(flips)} found"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000, help="flips in tensors, for the digests")
    parser.add_argument("--whole", type=int, default=200, help="more of them, for the whole command")
    parser.add_argument("--header", type=int, default=1, help="every so-manieth byte of the header")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    flips: list[Flip] = []
    begun = shown = time.monotonic()
    series = work(given.runs, given.whole, given.seed, given.header)
    for flip in shared(series, given.jobs, given.seconds):
        flips.append(flip)
        if time.monotonic() > shown + 30:
            shown = time.monotonic()
            print(f"\n{shown - begun:.0f} s\n{show(flips)}", flush=True)
    print(f"\nseed {given.seed}, {time.monotonic() - begun:.0f} s\n{show(flips)}", flush=True)
    return int(any(flip.fault for flip in flips))


if __name__ == "__main__":
    sys.exit(main())
