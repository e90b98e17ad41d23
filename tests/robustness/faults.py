"""Every call to the system that a write makes fails once: what was there stays, or what is new is whole.

    python -m tests.robustness.faults

For each kind of output, with an old one in its place and without: the first call fails, then the second, and
so on until a write meets no fault. A write that fails must say so (``OutputError``, exit code 5, one line),
leave the old bytes and nothing else. One that succeeds all the same must be whole, and only what can be done
without may have failed in it.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from prunecli.checkpoint import InputSpec, Recipe, renaming, write
from prunecli.checkpoint.directories import write_directory
from prunecli.errors import OutputError
from prunecli.plan import Plan
from prunecli.report.files import write_plan
from prunecli.report.trained import EpochRow
from prunecli.training.journal import write_metrics
from prunecli.training.state import write_state

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "prunecli" / "demo" / "digits_resnet8.safetensors"
RECIPE = Recipe(
    arch="cifar:resnet20", arguments={}, inputs=(InputSpec(None, "float32", (1, 3, 32, 32)),), shapes={},
    patches=(), plan=Plan({}, {}), digests={}, cut_digests={}, changed_by=(), source_digest="", options={},
)  # fmt: skip

BY_NAME = ("open", "stat", "lstat", "readlink", "replace", "rename", "mkdir", "unlink", "rmdir", "listdir",
           "scandir")  # fmt: skip
BY_HANDLE = ("write", "fsync", "close", "dup", "fstat", "fchmod")
ALL = (errno.EIO, errno.ENOSPC)
EXCHANGE, LOCK = "renameat2", "flock"
DISPENSABLE = frozenset(
    {LOCK, "listdir", "fsync", "close", "unlink", "rmdir", "scandir", "open", "stat", "lstat", "fstat"}
)
"""What may fail in a write that succeeds: locks, sweeping, clearing up, the directory after the rename."""


class Fault:
    """Call number ``at`` (from 1) of all that are watched fails with ``number``; ``hit``: which it was."""

    def __init__(self, at: int, number: int) -> None:
        self.at, self.number = at, number
        self.calls, self.hit = 0, ""

    @contextmanager
    def injected(self, exchanges: bool) -> Iterator[None]:
        with ExitStack() as stack:
            for name in (*BY_NAME, *BY_HANDLE):
                stack.enter_context(patch.object(os, name, self._failing(name, getattr(os, name))))
            stack.enter_context(patch.object(fcntl, LOCK, self._failing(LOCK, fcntl.flock)))
            real = renaming.renameat2()
            swap = None if real is None or not exchanges else self._exchanging(real)
            stack.enter_context(patch.object(renaming, "renameat2", lambda: swap))
            yield

    def _due(self, name: str) -> bool:
        self.calls += 1
        # A permission is asked for where there is a name.
        if self.calls != self.at or (self.number == errno.EACCES and name not in (*BY_NAME, EXCHANGE)):
            return False
        self.hit = name
        return True

    def _failing(self, name: str, right: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if self._due(name):
                if name == "close":
                    right(*given)
                raise OSError(self.number, os.strerror(self.number))
            return right(*given, **named)

        return call

    def _exchanging(self, right: Callable[..., int]) -> Callable[..., int]:
        def call(*given: Any) -> int:
            if self._due(EXCHANGE):
                renaming.ctypes.set_errno(self.number)
                return -1
            return right(*given)

        return call


@dataclass(frozen=True)
class Kind:
    """An output, how it is written with one of two contents, and its name."""

    name: str
    put: Callable[[Path, int], object]
    file: str
    exchanges: bool = True
    linked: bool = False


def tensors(which: int) -> dict[str, torch.Tensor]:
    return {"a": torch.full((50, 3), float(which)), "b": torch.arange(6).reshape(2, 3).t()}


def checkpoint(path: Path, which: int) -> None:
    write(path, tensors(which), RECIPE, check=lambda _: None, force=True)


def model(path: Path, which: int) -> None:
    source = path.parent / "source"
    config = {"hidden_size": which}
    write_directory(path, tensors(which), RECIPE, config, source=source, check=lambda _: None, force=True)


def metrics(path: Path, which: int) -> None:
    write_metrics(path, [EpochRow(1, 0.5, 0.5, 0.1, 2.0, which, None)])


KINDS = (
    Kind("checkpoint", checkpoint, "x.safetensors"),
    Kind("checkpoint by a link", checkpoint, "link.safetensors", linked=True),
    Kind("model directory", model, "model"),
    Kind("model directory, in two steps", model, "model", exchanges=False),
    Kind("plan", lambda path, which: write_plan(Plan({"g": (0, which)}, {"g": 4}), path), "plan.json"),
    Kind("training state", lambda path, which: write_state(path, {"step": which}), "x.state.pt"),
    Kind("metrics", metrics, "x.metrics.jsonl"),
)


def content(path: Path) -> str:
    """A digest of ``path``, whatever it is, and of all that is in it."""
    if not path.exists():
        return "nothing"
    files = [path] if path.is_file() else sorted(path.iterdir())
    return sha256(repr([(each.name, each.read_bytes()) for each in files]).encode()).hexdigest()


@dataclass
class Found:
    """Of one kind: faults by what became of the write, and what should not have been."""

    failed: Counter[str] = field(default_factory=Counter)
    tolerated: Counter[str] = field(default_factory=Counter)
    left: int = 0
    wrong: list[str] = field(default_factory=list)


def tried(kind: Kind, folder: Path, there: bool, numbers: tuple[int, ...]) -> Found:
    """All faults of ``kind``, in ``folder``, with an old output in its place or without."""
    found = Found()
    path = folder / kind.file
    (folder / "source").mkdir(exist_ok=True)
    (folder / "source" / "tokenizer.json").write_text("{}")
    target = folder / "far" / kind.file if kind.linked else path
    target.parent.mkdir(exist_ok=True)
    if kind.linked:
        path.symlink_to(target)
    digests = []
    for which in (0, 1):
        kind.put(target, which)
        digests.append(content(target))
    beside = names(folder) | names(target.parent)
    for number in numbers:
        for at in count(1):
            restored(kind, target, there)
            fault = Fault(at, number)
            error = faulty(kind, path, fault)
            judged(found, fault, error, content(target), digests[0] if there else "nothing", digests[1])
            left = (names(folder) | names(target.parent)) - beside
            if left and error is not None:
                found.wrong.append(f"{fault.hit}: {', '.join(left)} was left by a write that failed")
            found.left += len(left)
            kind.put(path if target.exists() else target, 0)
            if not beside >= names(folder) | names(target.parent):
                found.wrong.append(f"{fault.hit}: what was left was not swept")
            if fault.calls < at:
                break
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def restored(kind: Kind, target: Path, there: bool) -> None:
    if there or kind.linked:
        kind.put(target, 0)
    elif target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()


def faulty(kind: Kind, path: Path, fault: Fault) -> BaseException | None:
    try:
        with fault.injected(kind.exchanges):
            kind.put(path, 1)
    except Exception as error:
        return error
    return None


def judged(found: Found, fault: Fault, error: BaseException | None, now: str, old: str, new: str) -> None:
    if not fault.hit:
        if error is not None or now != new:
            found.wrong.append(f"without a fault: {error!r}")
    elif error is None:
        found.tolerated[fault.hit] += 1
        if now != new or fault.hit not in DISPENSABLE:
            found.wrong.append(f"{fault.hit} failed and nobody said so")
    else:
        found.failed[fault.hit] += 1
        if not isinstance(error, OutputError) or error.exit_code != 5 or "\n" in error.message:
            found.wrong.append(f"{fault.hit}: {error!r}")
        if now != old:
            found.wrong.append(f"{fault.hit}: the write failed, and what was there is gone")


def campaign(folder: Path, numbers: tuple[int, ...] = (*ALL, errno.EACCES)) -> Mapping[str, Found]:
    made = {}
    for kind in KINDS:
        for there in (True, False):
            if kind.linked and not there:
                continue
            name = f"{kind.name}, {'over an old one' if there else 'new'}"
            at = folder / name.replace(" ", "-")
            at.mkdir()
            made[name] = tried(kind, at, there, numbers)
    return made


def table(made: Mapping[str, Found]) -> str:
    titles = ("output", "faults", "exit 5, old", "new whole", "left, swept", "wrong", "done without")
    rows = [titles]
    for name, found in made.items():
        failed, tolerated = found.failed.total(), found.tolerated.total()
        said = ", ".join(f"{each} {times}" for each, times in sorted(found.tolerated.items()))
        rows.append(
            (name, *map(str, (failed + tolerated, failed, tolerated, found.left, len(found.wrong))), said)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def limited(out: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """``prune run --force`` where no file may become larger than ``limit`` bytes: the kernel's own fault."""
    return subprocess.run(
        [sys.executable, "-m", "prunecli", "run", DEMO, "--speedup", "1.5", "--repair", "none",
         "--no-latency", "--force", "-q", "-o", out],
        cwd=ROOT, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--in", dest="at", type=Path, help="where on the disk; default: temporary files")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().at) as name:
        made = campaign(Path(name))
        out = Path(name) / "out"
        out.mkdir()
        (out / "x.safetensors").write_bytes(b"old")
        done = limited(out / "x.safetensors", 20_000)
        kept = (out / "x.safetensors").read_bytes() == b"old" and names(out) == {"x.safetensors"}
        said = done.stderr.replace(name, "DIR")
    print(table(made))
    print(f"\nprune run --force under RLIMIT_FSIZE: exit {done.returncode}, old file "
          f"{'intact, nothing beside it' if kept else 'GONE'}\n{said}")  # fmt: skip
    wrong = [f"{kind}: {each}" for kind, found in made.items() for each in found.wrong]
    print("\n".join(wrong))
    return int(bool(wrong) or not kept or done.returncode != 5)


if __name__ == "__main__":
    sys.exit(main())
