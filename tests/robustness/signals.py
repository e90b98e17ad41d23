"""Ctrl-C, SIGTERM and SIGHUP at random instants of a whole command: it ends cleanly, and nothing is left.

    python -m tests.robustness.signals --runs 100 --seed 0

Some come to the process alone, some to its whole group, as from a terminal; some come twice. Each run must
end with exit code 130 and one line, or have been done (exit 0). No process and no file may be left, and the
output is the old or the new. Only before ``main`` begins does Python itself end the process.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prunecli.checkpoint import file_digest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "prunecli" / "demo" / "digits_resnet8.safetensors"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SPEEDUPS = (2, 1.5)
OTHERS = ("torchinductor_",)
"""How names begin of what torch makes for itself beside temporary files, and keeps."""
BEFORE = 0.15
"""Seconds in which Python starts, and no command is there yet to end cleanly."""


@dataclass(frozen=True)
class Plan:
    """``at``: after so many seconds; None: once the output is being written. ``again``: once more, so many
    seconds later. ``group``: to all processes of the command, as a terminal does.
    """

    number: int
    at: float | None
    again: float | None = None
    group: bool = False


@dataclass
class Bench:
    """A folder with an output that is there already, and a folder for temporary files."""

    folder: Path
    options: Sequence[str] = ("--repair-seconds", "1")
    found: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def __post_init__(self) -> None:
        self.out, self.scratch = self.folder / "out" / "x.safetensors", self.folder / "tmp"
        self.out.parent.mkdir()
        self.scratch.mkdir()
        self.out.write_bytes(b"old")
        self.seconds, self.digests, self.now = 0.0, [file_digest(self.out), "not known"], 0

    def measure(self) -> None:
        """How long the command takes, and what it writes."""
        self.digests = []
        for speedup in SPEEDUPS:
            began = time.perf_counter()
            running = self.started(speedup)
            _, said = running.communicate()
            if running.returncode:
                raise RuntimeError(said)
            self.seconds = time.perf_counter() - began
            self.digests.append(file_digest(self.out))
        self.now = 1

    def started(self, speedup: float) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "prunecli", "run", DEMO, "--speedup", str(speedup), "--no-latency",
             *self.options, "--force", "-q", "-o", self.out],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "TMPDIR": str(self.scratch)},
        )  # fmt: skip

    def stop(self, plan: Plan) -> None:
        running = self.started(SPEEDUPS[1 - self.now])
        if plan.at is None:
            while running.poll() is None and not any(self.out.parent.glob(".*.prune-tmp")):
                time.sleep(0.001)
        else:
            time.sleep(plan.at)
        sent = time.perf_counter()
        self._send(running, plan)
        if plan.again is not None:
            time.sleep(plan.again)
            self._send(running, plan)
        printed, said = running.communicate(timeout=60)
        self.slowest = max(self.slowest, (time.perf_counter() - sent, str(plan)))
        self._judge(plan, running, printed, said)

    def _send(self, running: subprocess.Popen[str], plan: Plan) -> None:
        if running.poll() is None:
            (os.killpg if plan.group else os.kill)(running.pid, plan.number)

    def _judge(self, plan: Plan, running: subprocess.Popen[str], printed: str, said: str) -> None:
        code, digest = running.returncode, file_digest(self.out)
        early = plan.at is not None and plan.at < BEFORE and code in (-plan.number, 130, 1)
        if code == 130 and said == "error: interrupted\n" and printed == "":
            self.found["exit 130"] += 1
        elif code == 0 and digest == self.digests[1 - self.now]:
            self.found["done before it came"] += 1
        elif code == -plan.number and digest == self.digests[1 - self.now] and not said:
            self.found["done, and ended while Python did"] += 1
        elif early:
            self.found["before main"] += 1
        else:
            self.wrong.append(f"{plan}: exit {code}, {printed!r}, {said!r}")
        left = [path.name for path in (*self.scratch.iterdir(), *self.out.parent.iterdir())]
        ours = (self.out.name, f"{self.out.stem}.json")
        left = [name for name in left if name not in ours and not name.startswith(OTHERS)]
        alive = processes_of(running.pid)
        if left or alive:
            self.wrong.append(f"{plan}: left {left}, alive {alive}")
        if digest not in self.digests:
            self.wrong.append(f"{plan}: the output is neither the old nor the new")
        else:
            self.now = self.digests.index(digest)


def processes_of(session: int) -> list[str]:
    """What still runs of a session; a moment is given to what was told to end."""
    for _ in range(20):
        listed = subprocess.run(
            ["ps", "-o", "stat=,pid=,args=", "-s", str(session)],
            capture_output=True, text=True, check=False,
        ).stdout.splitlines()  # fmt: skip
        # A zombie has ended; whoever inherited it has not looked yet.
        listed = [line for line in listed if not line.startswith("Z")]
        if not listed:
            return []
        time.sleep(0.05)
    return listed


def plans(runs: int, seconds: float, seed: int) -> list[Plan]:
    chance = random.Random(seed)
    return [
        Plan(
            chance.choice(SIGNALS),
            chance.uniform(0, seconds) if chance.random() < 0.7 else None,
            chance.uniform(0, 0.3) if chance.random() < 0.4 else None,
            chance.random() < 0.5,
        )
        for _ in range(runs)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        bench.measure()
        for plan in plans(given.runs, bench.seconds, given.seed):
            bench.stop(plan)
    for outcome, times in sorted(bench.found.items()):
        print(f"{outcome:<35}{times:>5}")
    print(f"{'wrong':<35}{len(bench.wrong):>5}")
    print(
        f"the command takes {bench.seconds:.1f} s; from a signal to the end at most {bench.slowest[0]:.1f} s"
    )
    print(f"({bench.slowest[1]})")
    print("\n".join(bench.wrong))
    return int(bool(bench.wrong))


if __name__ == "__main__":
    sys.exit(main())
