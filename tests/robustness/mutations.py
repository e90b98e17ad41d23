"""Seeded mutations of checkpoints through the whole command: ``python -m tests.robustness.mutations``.

Each run ends in exit 0 with an output that loads and whose digests hold, or in exit 3 or 4 with exactly one
error line, no output and no temporary file. With ``--begin`` a series goes on where another was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bases
from .bases import CUT, NAMES, NETWORK, OWN, Base
from .mutators import mutated
from .runs import MB, Places, Run, command, faults, places, run, table, warm
from .shares import shared

OUT = "small.safetensors"
SECONDS, MEMORY = 30.0, 1 << 30
CHECKSUMMED = ("zip", "wrapped", OWN)
"""The forms in which a damaged tensor can be told."""


@dataclass(frozen=True)
class Case:
    """One mutation and how its run ended. ``silent``: exit 0 with other tensors than before."""

    index: int
    base: str
    kind: str
    forged: bool
    command: str
    code: int | None
    error: str
    seconds: float
    grown: int
    silent: bool
    faults: tuple[str, ...]


@dataclass
class Making:
    """The bases, made once per process."""

    bases: dict[str, Base]

    @staticmethod
    def of(names: Iterable[str]) -> Making:
        found = {}
        for name in names:
            with places() as at:
                found[name] = bases.make(name, at.out)
        return Making(found)

    @property
    def contents(self) -> list[bytes]:
        return [content for base in self.bases.values() for content in base.files.values()]


def case(making: Making, seed: int, index: int, keep: Path | None = None) -> Case:
    names = list(making.bases)
    base = making.bases[names[index % len(names)]]
    kind, forged, changed = mutated(base, making.contents, f"{seed}:{base.name}:{index}")
    with places() as at:
        given = base.write(at.given, changed)
        before = digests(at.given)
        arguments, outputs = _command(base, index // len(names), given, at)
        found = run(
            command(*arguments), at, seconds=SECONDS, memory=MEMORY, after=_after(base, given, at, outputs)
        )
        wrong = judged(found, outputs, base, forged)
        if digests(at.given) != before:
            wrong.append("the input was changed")
        if wrong and keep is not None:
            _keep(keep / f"{base.name}-{seed}-{index}", at, arguments, wrong, found)
    return Case(
        index, base.name, kind, forged, arguments[0], found.code, error_class(found), found.seconds,
        found.grown, _silent(found), tuple(wrong),
    )  # fmt: skip


def _command(base: Base, turn: int, given: Path, at: Places) -> tuple[list[str], tuple[str, ...]]:
    """What is typed, in turns, and the files that it writes where it succeeds."""
    if base.name == OWN:
        choices = (["verify", str(given)], ["verify", str(given)], ["inspect", str(given)])
        more = (["eval", str(given), "--data", "digits"], ["verify", "-q", str(given)])
        return [*choices, *more][turn % 5], ()
    if turn % 5 == 4:
        return ["inspect", str(given), *NETWORK], ()
    out = ["-o", str(at.out / OUT), "--report", str(at.out / "report.json")]
    return ["run", str(given), *NETWORK, *CUT, *out], (OUT, "report.json")


def _after(base: Base, given: Path, at: Places, outputs: tuple[str, ...]) -> Callable[[int], Any]:
    """In the process of the run: is what was written good, and was what was read as it should be?"""

    def look(code: int) -> Any:
        if code:
            return None
        return {"output": _output_fault(at) if outputs else "", "same": _same(base, given)}

    return look


def _output_fault(at: Places) -> str:
    import prunecli

    written = json.loads((at.out / "report.json").read_text())["output"]
    if hashlib.sha256((at.out / OUT).read_bytes()).hexdigest() != written["digest"]:
        return "the report has another digest of the output"
    try:
        prunecli.load(at.out / OUT)
    except prunecli.PruneError as error:
        return f"output: {error.message}"
    return ""


def _same(base: Base, given: Path) -> bool:
    import torch

    from prunecli.checkpoint import read

    tensors = read(given).tensors
    return tensors.keys() == base.tensors.keys() and all(
        tensors[name].dtype == tensor.dtype
        and tensors[name].shape == tensor.shape
        and torch.equal(_bits(tensors[name]), _bits(tensor))
        for name, tensor in base.tensors.items()
    )


def _bits(tensor: Any) -> Any:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _silent(found: Run) -> bool:
    return bool(found.code == 0 and found.extra and not found.extra["same"])


def judged(found: Run, outputs: tuple[str, ...], base: Base, forged: bool) -> list[str]:
    wrong = faults(found, outputs)
    if found.code == 0 and found.extra is None:
        wrong.append("the output could not be looked at")
    elif found.code == 0 and found.extra["output"]:
        wrong.append(found.extra["output"])
    if _silent(found) and base.name in CHECKSUMMED and (base.name == OWN or not forged):
        wrong.append("loads with other tensors")
    return wrong


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def error_class(found: Run) -> str:
    """The error line without what differs from file to file."""
    text = (found.errors or [""])[0].removeprefix("error: ")
    # No quote is found in a text that stands between two; so an apostrophe within a word is none.
    text = re.sub(r"(?<!\w)'.*?'(?!\w)", "'...'", text)
    text = re.sub(r"/\S+", "PATH", text)
    return re.sub(r"-?\d[\d.e+]*", "N", text)[:100]


def _keep(folder: Path, at: Places, arguments: list[str], wrong: list[str], found: Run) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in at.given.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    typed = " ".join(arguments).replace(str(at.given), ".").replace(str(at.out), "/tmp")
    told = "\n".join((f"prune {typed}", *wrong, f"exit {found.code}", found.err))
    (folder / "why.txt").write_text(told)


def work(names: tuple[str, ...], seed: int, begin: int, runs: int, keep: Path | None, no_reload: bool) -> Any:
    def mine(share: int, shares: int, end: float) -> Iterable[Case]:
        warm()
        if no_reload:
            spare_reload()
        making = Making.of(names)
        for index in range(begin + share, begin + runs, shares):
            if time.monotonic() > end:
                return
            yield case(making, seed, index, keep)

    return mine


def spare_reload() -> None:
    """For a quick look: what is written is not loaded again by another process."""
    from prunecli import checking, saving
    from prunecli.report.model import Proof

    for module in (checking, saving):
        module.reload_proof = lambda *_, **__: Proof("reload", True)  # type: ignore[assignment]


@dataclass
class Totals:
    """What the cases came to."""

    cases: list[Case]

    def show(self) -> str:
        return "\n\n".join((self.short(), self._silent(), self._lines()))

    def short(self) -> str:
        return "\n\n".join((self._outcomes(), self._faults()))

    def _outcomes(self) -> str:
        rows = []
        for name in (*NAMES, "all"):
            of = [case for case in self.cases if name in (case.base, "all")]
            if of:
                rows.append(
                    (
                        name, len(of), *(sum(c.code == code for c in of) for code in (0, 3, 4)),
                        sum(c.code not in (0, 3, 4) for c in of), sum(bool(c.faults) for c in of),
                        f"{sum(c.seconds for c in of) / len(of):.2f}", f"{max(c.seconds for c in of):.1f}",
                        max(c.grown for c in of) // MB,
                    )
                )  # fmt: skip
        header = (
            "base",
            "runs",
            "exit 0",
            "exit 3",
            "exit 4",
            "other",
            "at fault",
            "s",
            "s at most",
            "MB more",
        )
        return table(header, rows)

    def _silent(self) -> str:
        rows = []
        for name in NAMES:
            of = [case for case in self.cases if case.base == name]
            if of:
                by = [[c for c in of if c.forged == forged] for forged in (False, True)]
                rows.append(
                    (name, *(n for cases in by for n in (len(cases), sum(c.silent for c in cases))))
                )  # fmt: skip
        header = ("exit 0 with other tensors", "damaged", "of them", "rewritten", "of them")
        return table(header, rows)

    def _lines(self) -> str:
        counted = Counter((case.code, case.error) for case in self.cases if case.error)
        rows = [(count, code, text) for (code, text), count in counted.most_common(40)]
        return table(("runs", "exit", "error line"), rows)

    def _faults(self) -> str:
        counted = Counter((case.base, case.command, fault) for case in self.cases for fault in case.faults)
        first = {
            key: next(c for c in self.cases if c.base == key[0] and key[2] in c.faults) for key in counted
        }
        rows = [
            (count, *key, f"{first[key].index} ({first[key].kind})") for key, count in counted.most_common()
        ]
        return table(("runs", "base", "command", "fault", "first seen"), rows) if rows else "no faults"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=int, default=0, help="the number of the first run")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--base", action="append", choices=NAMES)
    parser.add_argument("--keep", type=Path, help="where to put files whose run was at fault")
    parser.add_argument("--no-reload", action="store_true", help="spare the proof in a fresh process")
    given = parser.parse_args()
    totals = Totals([])
    begun = shown = time.monotonic()
    series = work(
        tuple(given.base or NAMES), given.seed, given.begin, given.runs, given.keep, given.no_reload
    )
    for done in shared(series, given.jobs, given.seconds):
        totals.cases.append(done)
        for fault in done.faults:
            print(f"! {done.base} {done.index} ({done.kind}, {done.command}): {fault}", flush=True)
        if time.monotonic() > shown + 60:
            shown = time.monotonic()
            print(f"\n{len(totals.cases)} runs in {shown - begun:.0f} s\n{totals.short()}\n", flush=True)
    totals.cases.sort(key=lambda c: c.index)
    told = f"{len(totals.cases)} runs from {given.begin}, {time.monotonic() - begun:.0f} s"
    print(f"\nseed {given.seed}, {told}\n")
    print(totals.show(), flush=True)
    return int(any(done.faults for done in totals.cases))


if __name__ == "__main__":
    sys.exit(main())
