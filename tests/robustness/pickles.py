"""Malicious pickles through every way in, under an audit hook: ``python -m tests.robustness.pickles``.

Nothing in them runs: no process starts, no socket opens, nothing is written outside the places of the run,
and no module is imported that harmless files of the same forms do not import too. Each is refused with exit
3 and one line, which names the global that it wanted, and a hint how such a file is converted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bases, corpus
from .audit import sitecustomize
from .bases import CUT, NETWORK, OWN
from .corpus import Malice
from .opcodes import called, legacy, program, value, zipped
from .runs import Places, Run, command, faults, places, run, table, warm
from .shares import shared

ROOT = Path(__file__).resolve().parents[2]
FORM_ENDINGS = {"npy": ".npy", "npz": ".npz"}
LIBRARIES = ("prunecli", "torch", "numpy")
PROCESSES = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pty.spawn",
)


@dataclass(frozen=True)
class Event:
    pid: int
    event: str
    args: tuple[str, ...]
    by: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.event}({', '.join(self.args)[:100]})"

    @property
    def module(self) -> str:
        """Of an import."""
        return self.args[0].strip("'")


@dataclass
class Log:
    """What was written down since it was last looked at."""

    path: Path
    at: int = 0

    def new(self) -> list[Event]:
        with self.path.open("rb") as file:
            file.seek(self.at)
            content = file.read()
            self.at = file.tell()
        found = []
        for line in content.splitlines():
            entry = json.loads(line)
            found.append(Event(entry["pid"], entry["event"], tuple(entry["args"]), tuple(entry["by"])))
        return found


@dataclass
class Harmless:
    """What harmless files make the same commands do: in forks of a warm process, and, ``True``, in a Python
    that they start, which imports its libraries anew.
    """

    seen: dict[bool, set[str]]

    @staticmethod
    def of(events: Iterable[Event]) -> Harmless:
        found = Harmless({False: set(), True: set()})
        for new, event in _placed(events):
            found.seen[new].add(_kind(event))
        return found

    def refused(self, events: Iterable[Event], root: Path) -> list[Event]:
        return [event for new, event in _placed(events) if not self._allows(new, event, root)]

    def _allows(self, new: bool, event: Event, root: Path) -> bool:
        if event.event == "import":
            libraries = tuple(f"{name}." for name in LIBRARIES)
            return _kind(event) in self.seen[new] or event.module.startswith(libraries)
        if event.event in PROCESSES:
            return _is_helper(event)
        if event.event.startswith("socket."):
            return _is_ours(event) and "AF_INET" not in " ".join(event.args)
        if _paths(event):
            return all(path.startswith((str(root), "/dev/")) for path in _paths(event))
        return _kind(event) in self.seen[new]


def _placed(events: Iterable[Event]) -> Iterable[tuple[bool, Event]]:
    """With each event whether it was in a Python that was started, not forked; without those of this one."""
    started = set()
    for event in events:
        if event.event == "hook":
            started.add(event.pid)
        elif event.pid != os.getpid():
            yield event.pid in started, event


def _kind(event: Event) -> str:
    return f"import {event.module}" if event.event == "import" else event.event


def _is_ours(event: Event) -> bool:
    """Whether code of prunecli, or of this test, asked the standard library for it."""
    ours = (f"{ROOT}/prunecli/", f"{ROOT}/tests/robustness/runs.py")
    for file in event.by:
        if file.startswith(ours):
            return True
        if not file.startswith((f"{sys.base_prefix}/lib/python", "<frozen")) or "site-packages" in file:
            return False
    return False


def _is_helper(event: Event) -> bool:
    """A fork by prunecli, or ``python -m prunecli.*``."""
    if not _is_ours(event):
        return False
    return event.event == "os.fork" or (
        f"'{sys.executable}'" in event.args[0] and "'-m', 'prunecli" in event.args[1]
    )


def _paths(event: Event) -> list[str]:
    """Those that are written, made or removed."""
    if event.event != "open" and not event.event.startswith(("os.", "shutil.", "tempfile.")):
        return []
    texts = [
        arg[1:-1] if arg[:1] in "'\"" else arg[2:-1]
        for arg in event.args
        if arg[:1] in "'\"" or arg[:2] in ("b'", "Po")
    ]
    return [text.removeprefix("sixPath('").rstrip("')") for text in texts if "/" in text]


@dataclass(frozen=True)
class Case:
    name: str
    form: str
    way: str
    code: int | None
    named: bool | None
    faults: tuple[str, ...]
    events: int


WAYS: dict[str, Callable[[Path, Places], list[str]]] = {
    "inspect": lambda path, at: ["inspect", str(path), *NETWORK],
    "run": lambda path, at: ["run", str(path), *NETWORK, *CUT, "-o", str(at.out / "small.safetensors")],
    "load": lambda path, at: [],
    "plan": lambda path, at: [
        "run", str(at.given / "dense.safetensors"), *NETWORK, "--plan", str(path), "-o",
        str(at.out / "small.safetensors"),
    ],
    "data": lambda path, at: [
        "eval", str(at.given / "own.safetensors"), "--data", f"npz:{path}",
    ],
    "resume": lambda path, at: [
        "finetune", str(at.given / "own.safetensors"), "--data", "digits", "--epochs", "1", "--resume",
        "-o", str(at.given / "trained.safetensors"),
    ],
    "shard": lambda path, at: ["inspect", str(at.given / "model.safetensors.index.json"), *NETWORK],
    "index": lambda path, at: ["inspect", str(at.given / "model.safetensors.index.json"), *NETWORK],
    "directory": lambda path, at: ["inspect", str(at.given), *NETWORK],
}  # fmt: skip
NAMES = {
    "resume": "trained.state.pt", "shard": "model-1.safetensors", "index": "model.safetensors.index.json",
    "directory": "model.safetensors",
}  # fmt: skip
CHECKPOINT_WAYS = ("inspect", "run", "load")
"""Where a stranger's pickle belongs, and a global is named."""


def action(way: str, path: Path, at: Places) -> Callable[[], int]:
    return _loading(path) if way == "load" else command(*WAYS[way](path, at))


def _loading(path: Path) -> Callable[[], int]:
    """``prunecli.load``, with what the command would make of its errors."""

    def act() -> int:
        import prunecli
        from prunecli.cli import output

        try:
            prunecli.load(path)
        except prunecli.PruneError as error:
            output.error(error.message, error.hint)
            return error.exit_code
        return 0

    return act


@dataclass
class Bench:
    """One process with the hook in it, and what goes with a malicious file."""

    log: Log
    canary: Path
    victim: Path
    dense: bytes
    own: bytes
    harmless: Harmless

    @staticmethod
    def open(folder: Path, few: bool) -> Bench:
        canary, victim = folder / "canary", folder / "victims" / "victim"
        victim.parent.mkdir()
        victim.touch()
        log = Log(folder / "audit.jsonl")
        audit = Path(sitecustomize.__file__).parent
        os.environ |= {
            "ROBUST_AUDIT": str(log.path), "ROBUST_CANARY": str(canary), "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join((str(audit), str(ROOT))),
        }  # fmt: skip
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(audit))
        sitecustomize.install(str(log.path))
        warm()
        with places() as at:
            own = bases.make(OWN, at.out).files["net.safetensors"]
        dense = bases.make("safetensors", folder).files["net.safetensors"]
        bench = Bench(log, canary, victim, dense, own, Harmless({}))
        bench.measure(few)
        return bench

    def measure(self, short: bool) -> None:
        """What harmless, damaged and unknown files of every form make the commands do."""
        weights = bases.dense()
        unknown = called("acme.widgets", "Widget", (1,))
        files = [bases.make(name, self.canary.parent).files["net.pth"] for name in ("zip", "legacy")]
        files += [
            corpus.beside(weights, value(1)),
            corpus.beside(weights, unknown),
            corpus.scripted(),
            files[0][:9000],
        ]
        for wrap in (*corpus.FORMS.values(), corpus.npy, corpus.npz):
            files += [wrap(program(body)) for body in (value({"x": 1}), unknown, b"(ll\n")]
        few = [
            zipped(program(unknown)),
            legacy(program(unknown)),
            b"text",
            b"{}",
            corpus.npz(program(unknown)),
        ]
        if not short:
            few += [files[0], self.dense]
            files += [*few, self.own]
        self.log.new()
        for way in WAYS:
            for content in files if way in ("inspect", "load") and not short else few:
                with places() as at:
                    run(action(way, self._lay(content, way, at, ".pth"), at), at, seconds=60)
        self.harmless = Harmless.of(self.log.new())

    def _lay(self, content: bytes, way: str, at: Places, ending: str) -> Path:
        if way in ("plan", "data", "resume"):
            (at.given / "dense.safetensors").write_bytes(self.dense)
            (at.given / "own.safetensors").write_bytes(self.own)
        if way == "shard":
            index = json.dumps({"weight_map": {"conv1.weight": NAMES["shard"]}})
            (at.given / "model.safetensors.index.json").write_text(index)
        path = at.given / NAMES.get(way, f"evil{ending}")
        path.write_bytes(content)
        return path

    def put(self, malice: Malice, way: str) -> Case:
        self.log.new()
        with places() as at:
            path = self._lay(malice.content, way, at, FORM_ENDINGS.get(malice.form, ".pth"))
            before = sorted(p.name for p in at.given.iterdir())
            found = run(action(way, path, at), at, watch=False)
            events = self.log.new()
            wrong = judged(found, malice, way)
            if sorted(p.name for p in at.given.iterdir()) != before:
                wrong.append("leaves a file beside its input")
            wrong += sorted({str(event) for event in self.harmless.refused(events, at.root)})
        for sign, present in ((self.canary, False), (self.victim, True)):
            if sign.exists() != present:
                wrong.append(f"it ran: {sign.name} {'is gone' if present else 'is there'}")
                self._restore()
        named = is_named(found, malice) if malice.wanted and way in CHECKPOINT_WAYS else None
        return Case(malice.name, malice.form, way, found.code, named, tuple(wrong), len(events))

    def _restore(self) -> None:
        self.canary.unlink(missing_ok=True)
        self.victim.parent.mkdir(exist_ok=True)
        self.victim.touch()


def is_named(found: Run, malice: Malice) -> bool:
    return any(name in line for name in malice.wanted for line in found.errors)


def judged(found: Run, malice: Malice, way: str) -> list[str]:
    wrong = faults(found)
    if found.code in (0, 4):
        wrong.append(f"exit {found.code}, not refused")
    hint = [line for line in found.err.splitlines() if line.startswith("hint: ")]
    if malice.wanted and way in CHECKPOINT_WAYS:
        if not is_named(found, malice):
            wrong.append(f"the global is not named ({malice.name.rpartition(', ')[2]})")
        elif not any("state_dict" in x or "--unsafe-load" in x for x in hint):
            wrong.append("no hint how to convert it")
    if found.out:
        wrong.append("prints a result")
    return wrong


def work(every: int, ways: tuple[str, ...] | None, few: bool) -> Any:
    def mine(share: int, shares: int, end: float) -> Iterable[Case]:
        with tempfile.TemporaryDirectory(prefix="robust-pickles.") as folder:
            bench = Bench.open(Path(folder), few)
            for way, malice in chosen(bench, every, share, shares, few):
                if ways is None or way in ways:
                    yield bench.put(malice, way)
                if time.monotonic() > end:
                    return

    return mine


def chosen(bench: Bench, every: int, share: int, shares: int, few: bool) -> Iterable[tuple[str, Malice]]:
    """The main ways in for every file, the others in turns; with ``few`` one of all in turns."""
    others = [way for way in WAYS if way not in ("inspect", "run", "load")]
    everything = corpus.corpus(bench.canary, bench.victim, bases.dense(), every)
    for index, malice in enumerate(everything):
        if few:
            yield list(WAYS)[index % len(WAYS)], malice
        elif index % shares == share:
            yield from ((way, malice) for way in ("inspect", "run", "load"))
            yield others[index // shares % len(others)], malice
        if malice.form in ("npz", "npy") and share == 0:
            yield "data", malice


def show(cases: list[Case]) -> str:
    keys = list(dict.fromkeys((case.form, case.way) for case in cases))
    rows = []
    for form, way in sorted(keys):
        of = [case for case in cases if (case.form, case.way) == (form, way)]
        asked = [case for case in of if case.named is not None]
        rows.append(
            (form, way, len(of), sum(c.code == 3 for c in of), sum(bool(c.named) for c in asked), len(asked),
             sum(c.events for c in of), sum(bool(c.faults) for c in of))
        )  # fmt: skip
    header = ("form", "way in", "files", "exit 3", "named", "of", "events", "at fault")
    rows.append(
        ("all", "", len(cases), sum(c.code == 3 for c in cases), sum(bool(c.named) for c in cases),
         sum(c.named is not None for c in cases), sum(c.events for c in cases),
         sum(bool(c.faults) for c in cases))
    )  # fmt: skip
    return f"{table(header, rows)}\n\n{_faults(cases)}"


def _faults(cases: list[Case]) -> str:
    counted = Counter(fault for case in cases for fault in case.faults)
    first = {fault: next(c for c in cases if fault in c.faults) for fault in counted}
    rows = [
        (count, fault, f"{first[fault].name} ({first[fault].form}, {first[fault].way})")
        for fault, count in counted.most_common(60)
    ]
    return table(("runs", "fault", "first seen"), rows) if rows else "no faults"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="only every so-manieth file")
    parser.add_argument("--few", action="store_true", help="one way in for each file, in turns")
    parser.add_argument("--way", action="append", choices=tuple(WAYS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    cases: list[Case] = []
    begun = shown = time.monotonic()
    series = work(given.every, tuple(given.way) if given.way else None, given.few)
    for case in shared(series, given.jobs, given.seconds):
        cases.append(case)
        if time.monotonic() > shown + 60:
            shown = time.monotonic()
            print(f"\n{shown - begun:.0f} s\n{show(cases)}", flush=True)
    print(f"\n{time.monotonic() - begun:.0f} s, every {given.every}\n{show(cases)}", flush=True)
    return int(any(case.faults for case in cases))


if __name__ == "__main__":
    sys.exit(main())
