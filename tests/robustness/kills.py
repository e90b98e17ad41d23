"""Kill -9 at random instants while an output is overwritten: what is there must be the old or the new, whole.

    python -m tests.robustness.kills --runs 1000 --megabytes 200 --seed 0

Most kills hit a process that holds tensors and writes them with ``prunecli.checkpoint.write``; one in twenty
hits the whole ``prune run --force``, and one in twenty a model directory that is replaced.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from traceback import print_exc

import torch
from torch import Tensor

from prunecli.checkpoint import InputSpec, Recipe, file_digest, write
from prunecli.checkpoint.directories import write_directory
from prunecli.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "prunecli" / "demo" / "digits_resnet8.safetensors"
LEFT = re.compile(r"\..*\.prune-(tmp|old)")
RECIPE = Recipe(
    arch="cifar:resnet20", arguments={}, inputs=(InputSpec(None, "float32", (1, 3, 32, 32)),), shapes={},
    patches=(), plan=Plan({}, {}), digests={}, cut_digests={}, changed_by=(), source_digest="", options={},
)  # fmt: skip
WHOLE = 20


@dataclass
class Tally:
    """What was found after the kills of one kind; ``left``: temporaries after a kill, and after the write
    that followed.
    """

    found: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    left: int = 0
    unswept: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return bool(self.found["neither"] or self.unswept)


def orphans(folder: Path) -> int:
    return sum(LEFT.fullmatch(name) is not None for name in os.listdir(folder))  # noqa: PTH208


def contents(megabytes: float) -> list[dict[str, Tensor]]:
    """Two checkpoints of the same size, all their bytes different."""
    made = torch.Generator().manual_seed(0)
    count, each = 20, max(1, int(megabytes * 1e6 / 20 / 4))
    first = {f"layer{n}.weight": torch.randn(each, generator=made) for n in range(count)}
    return [first, {name: -tensor - 1 for name, tensor in first.items()}]


def forked(work: Callable[[int], None]) -> tuple[int, int]:
    """A process that does ``work`` and ends; its number, and where it says how far it is."""
    told, tell = os.pipe()
    with warnings.catch_warnings():
        # Other threads of this process hold nothing that the child asks for.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(told)
            work(tell)
        except BaseException:
            print_exc()
            os._exit(1)
        os._exit(0)
    os.close(tell)
    return child, told


def ended(child: int, told: int) -> tuple[int, bytes]:
    said = b""
    while part := os.read(told, 100):
        said += part
    os.close(told)
    return os.waitpid(child, 0)[1], said


class Target:
    """One output that is overwritten by turns with one of two contents: ``put(which)`` writes it."""

    def __init__(self, path: Path, put: Callable[[int], object], digest: Callable[[], str]) -> None:
        self.path, self.put, self.digest = path, put, digest
        self.digests: list[str] = []
        for which in (1, 0):
            put(which)
            self.digests.insert(0, digest())
        assert self.digests[0] != self.digests[1]
        self.now = 0

    def kill(self, part: float, tally: Tally) -> None:
        """A write that ends well, which sweeps what the last kill left; then one that is killed after
        ``part`` of the time that the first took.
        """

        def work(tell: int) -> None:
            began = time.perf_counter()
            self.put(self.now)
            took = time.perf_counter() - began
            os.write(tell, f"{orphans(self.path.parent)} {took}".encode())
            self.put(1 - self.now)
            os.write(tell, b".")

        child, told = forked(work)
        left, _, took = os.read(told, 100).decode().partition(" ")
        if not took:
            raise RuntimeError("the process that writes failed")
        tally.unswept += left != "0"
        time.sleep(part * float(took))
        os.kill(child, signal.SIGKILL)
        status, said = ended(child, told)
        tally.phases["after its end" if said or not os.WIFSIGNALED(status) else "during the write"] += 1
        tally.left += orphans(self.path.parent)
        found = self.digest() if self.path.exists() else "nothing"
        if found not in self.digests or (said and found != self.digests[1 - self.now]):
            tally.found["neither"] += 1
            return
        tally.found["new" if found == self.digests[1 - self.now] else "old"] += 1
        self.now = self.digests.index(found)


def a_file(folder: Path, megabytes: float) -> Target:
    held, path = contents(megabytes), folder / "big.safetensors"
    return Target(
        path,
        lambda which: write(path, held[which], RECIPE, check=lambda _: None, force=True),
        lambda: file_digest(path),
    )


def a_directory(folder: Path, megabytes: float) -> Target:
    held, path, source = contents(megabytes), folder / "model", folder / "source"
    source.mkdir()
    (source / "tokenizer.json").write_text("{}")

    def put(which: int) -> None:
        write_directory(
            path, held[which], RECIPE, {"hidden_size": which}, source=source, check=lambda _: None, force=True
        )

    def digest() -> str:
        parts = sorted((each.name, file_digest(each)) for each in path.iterdir())
        return sha256(repr(parts).encode()).hexdigest()

    return Target(path, put, digest)


class Command:
    """``prune run --force`` on the demo's checkpoint, in turns to two targets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "small.safetensors"
        self.digests = []
        for speedup in (2, 1.5):
            before = time.perf_counter()
            assert self._started(speedup).wait() == 0
            self.seconds = time.perf_counter() - before
            self.digests.append(file_digest(self.path))
        self.now = 1

    def _started(self, speedup: float) -> subprocess.Popen[bytes]:
        given = ("--repair", "none", "--no-latency", "--force", "-q", "-o", self.path)
        return subprocess.Popen(
            [sys.executable, "-m", "prunecli", "run", DEMO, "--speedup", str(speedup), *given],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self, part: float, tally: Tally) -> None:
        """Half of the kills come when the temporary is there: the file is written and loaded again then."""
        folder, at = self.path.parent, part * self.seconds
        running = self._started((2, 1.5)[1 - self.now])
        before, late = orphans(folder), at > self.seconds / 2
        old = {name for name in os.listdir(folder) if LEFT.fullmatch(name)}  # noqa: PTH208
        if late:
            while running.poll() is None and not {
                name for name in os.listdir(folder) if LEFT.fullmatch(name)  # noqa: PTH208
            } - old:  # fmt: skip
                time.sleep(0.002)
            tally.unswept += running.poll() is None and orphans(folder) != 1
            at -= self.seconds / 2
        time.sleep(at)
        running.kill()
        running.wait()
        tally.phases["during the write" if late else "before the write"] += 1
        tally.left += orphans(folder) - (0 if late else before)
        found = file_digest(self.path)
        if found not in self.digests:
            tally.found["neither"] += 1
            return
        tally.found["new" if found == self.digests[1 - self.now] else "old"] += 1
        self.now = self.digests.index(found)


def campaign(
    runs: int, megabytes: float, seed: int, whole: bool, at: Path | None = None, only: str | None = None
) -> dict[str, Tally]:
    """``runs`` kills, of which one in twenty is of the command (where ``whole``) and one of a directory."""
    chance, tallies = random.Random(seed), {}
    share = max(1, runs // WHOLE)
    with tempfile.TemporaryDirectory(dir=at) as name:
        for kind, count in (
            ("file", runs - share - whole * share),
            ("directory", share),
            ("prune run", share * whole),
        ):
            if not count or only not in (None, kind):
                continue
            folder = Path(name) / kind
            folder.mkdir()
            target: Target | Command = (
                Command(folder)
                if kind == "prune run"
                else (a_file if kind == "file" else a_directory)(folder, megabytes)
            )
            tallies[kind] = tally = Tally()
            began = time.perf_counter()
            for done in range(count):
                target.kill(chance.uniform(0, 1.02), tally)
                if (done + 1) % 50 == 0:
                    print(f"{kind}: {done + 1} of {count}", file=sys.stderr, flush=True)
            tally.seconds = time.perf_counter() - began
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    titles = ("target", "kills", "old", "new", "neither", "left", "unswept", "seconds", "instants")
    rows = [titles]
    for kind, tally in tallies.items():
        found = tally.found
        when = ", ".join(f"{count} {phase}" for phase, count in sorted(tally.phases.items()))
        rows.append(
            (kind, *map(str, (found.total(), found["old"], found["new"], found["neither"], tally.left,
                              tally.unswept, round(tally.seconds))), when)
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in", dest="at", type=Path, help="where on the disk; default: temporary files")
    parser.add_argument("--only", choices=("file", "directory", "prune run"))
    given = parser.parse_args()
    tallies = campaign(given.runs, given.megabytes, given.seed, True, given.at, given.only)
    print(table(tallies))
    return int(any(tally.failed for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
