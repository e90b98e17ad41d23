"""Trace, group, score, select and cut, beside torch-pruning's build and step for the same ratio.

    python benchmarks/coupling.py [--repetitions 5] [--networks A,B] [--write docs/benchmarks.md]

Every measurement has a process of its own, and the two tools take turns. The clock starts after the imports
and the construction of the network (random weights, real tensors, CPU), so it holds the work alone, with
whatever a tool does at its first call. Memory is the peak of the resident set during the work, less what was
resident before it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import exp, log
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

NETWORKS = (
    "resnet50", "efficientnet_b7", "densenet201", "vit_b_16", "mobilenet_v2", "convnext_tiny", "resnet152",
)  # fmt: skip
TOOLS = ("prune", "torch-pruning")
RATIO = 0.5
IMAGE = (1, 3, 224, 224)
CAP_SECONDS = 60.0
SECOND_CALL_BELOW = 5.0
BEGIN, END = "<!-- coupling: begin -->", "<!-- coupling: end -->"


@dataclass(frozen=True)
class Run:
    """One measurement. Memory in MiB: ``before`` resident, ``added`` at the peak of the work.

    ``second`` are the seconds of the same work on a new network in the same process, where the first took
    under five. ``kept`` is the fraction of parameters left; ``failure`` names what went wrong, if anything
    did.
    """

    wall: float = 0.0
    second: float | None = None
    before: float = 0.0
    added: float = 0.0
    kept: float = 1.0
    failure: str | None = None


def prepare_ours() -> Callable[[nn.Module, Tensor], nn.Module]:
    from prunecli.assembly import all_tensors
    from prunecli.coupling import trace
    from prunecli.proofs import pruned
    from prunecli.selection import Target, choose

    def work(model: nn.Module, image: Tensor) -> nn.Module:
        space = trace(model, (image,))
        tensors = {name: tensor.detach() for name, tensor in all_tensors(model).items()}
        choice = choose(
            space, tensors, criterion="magnitude-l2", scheme="local", target=Target("ratio", RATIO)
        )
        return pruned(model, space, choice.tensors, choice.plan.keep)

    return work


def prepare_peer() -> Callable[[nn.Module, Tensor], nn.Module]:
    import torch
    import torch_pruning

    def work(model: nn.Module, image: Tensor) -> nn.Module:
        last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
        pruner = torch_pruning.pruner.MetaPruner(
            model,
            image,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=RATIO,
            global_pruning=False,
            ignored_layers=[last],
        )
        pruner.step()
        return model

    return work


def resident() -> float:
    """MiB in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def forget_peak() -> None:
    """Hand free memory back and start the peak anew; else the construction of the network would hide it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """MiB at the highest since ``forget_peak``."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(found[1]) / 1024


class TooLong(BaseException):
    """Not an ``Exception``, so that no tool takes it for its own."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise ``TooLong`` when the time is over."""

    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def child(tool: str, network: str) -> Run:
    """Measure in this process, which must be a fresh one."""
    import torch
    from torchvision import models

    work = prepare_ours() if tool == TOOLS[0] else prepare_peer()

    def dense() -> nn.Module:
        torch.manual_seed(0)
        return models.get_model(network, weights=None).eval()

    def params(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    model, image = dense(), torch.randn(IMAGE)
    total = params(model)
    forget_peak()
    before, began = resident(), perf_counter()
    try:
        with at_most(CAP_SECONDS):
            pruned = work(model, image)
    except TooLong:
        return Run(failure=f"over {CAP_SECONDS:.0f} s")
    except Exception as error:
        return Run(failure=type(error).__name__)
    wall = perf_counter() - began
    added = peak() - before
    kept = params(pruned) / total
    failure = None
    try:
        with torch.no_grad():
            pruned.eval()(image)
    except Exception as error:
        failure = f"{type(error).__name__} in forward"
    second = None
    if wall < SECOND_CALL_BELOW:
        del model, pruned
        model = dense()
        began = perf_counter()
        work(model, image)
        second = perf_counter() - began
    return Run(wall, second, before, added, kept, failure)


def measure(tool: str, network: str) -> Run:
    """One measurement in a process of its own."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--child", tool, network]
    cap = CAP_SECONDS + 120  # imports, construction and the second call have no cap of their own
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=cap)
    except subprocess.TimeoutExpired:
        return Run(failure=f"over {CAP_SECONDS:.0f} s")
    if done.returncode < 0:
        return Run(failure=f"killed by signal {-done.returncode}")
    if done.returncode:
        return Run(failure=(done.stderr.strip().splitlines() or ["no output"])[-1][:80])
    return Run(**json.loads(done.stdout.splitlines()[-1]))


@dataclass(frozen=True)
class Row:
    """Medians of one network. A tool that failed in any repetition has no figures."""

    network: str
    ours: Run
    peer: Run
    range_ours: tuple[float, float]
    range_peer: tuple[float, float]

    @property
    def faster(self) -> float | None:
        return self.peer.wall / self.ours.wall if self.peer.wall and self.ours.wall else None


def middle(runs: Sequence[Run]) -> Run:
    done = [run for run in runs if run.wall]
    if len(done) < len(runs):
        return next(run for run in runs if not run.wall)
    seconds = [run.second for run in runs if run.second is not None]
    return Run(
        median(run.wall for run in runs),
        median(seconds) if seconds else None,
        median(run.before for run in runs),
        median(run.added for run in runs),
        runs[0].kept,
        next((run.failure for run in runs if run.failure), None),
    )


def measure_all(networks: Sequence[str], repetitions: int) -> list[Row]:
    taken: dict[tuple[str, str], list[Run]] = {}
    for repetition in range(repetitions):
        for network in networks:
            for tool in TOOLS:
                run = measure(tool, network)
                taken.setdefault((tool, network), []).append(run)
                shown = f"{run.wall:.2f} s, +{run.added:.0f} MiB" if run.wall else run.failure
                print(f"{repetition + 1}/{repetitions} {network} {tool}: {shown}", file=sys.stderr)
    rows = []
    for network in networks:
        ours, peer = (taken[tool, network] for tool in TOOLS)
        ranges = [(min(r.wall for r in runs), max(r.wall for r in runs)) for runs in (ours, peer)]
        rows.append(Row(network, middle(ours), middle(peer), *ranges))
    return rows


def wall_cell(run: Run, span: tuple[float, float]) -> str:
    if not run.wall:
        return run.failure or "failed"
    note = f" ({run.failure})" if run.failure else ""
    return f"{run.wall:.2f} ({span[0]:.2f}-{span[1]:.2f}){note}"


def number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown: wall, ratio, second call, memory, what is left."""
    lines = [
        "| network | prune, s | torch-pruning, s | times faster | second call, s | peak memory added, MiB "
        "| at the peak, MiB | parameters left |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        a, b = row.ours, row.peer

        def pair(of: Callable[[Run], float | None], digits: int, a: Run = a, b: Run = b) -> str:
            return " / ".join(number(of(run) if run.wall else None, digits) for run in (a, b))

        cells = [
            row.network,
            wall_cell(a, row.range_ours),
            wall_cell(b, row.range_peer),
            number(row.faster),
            pair(lambda run: run.second, 2),
            pair(lambda run: run.added, 0),
            pair(lambda run: run.before + run.added, 0),
            pair(lambda run: run.kept, 3),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def summary(rows: Sequence[Row]) -> str:
    ratios = [row.faster for row in rows if row.faster is not None]
    both = [row for row in rows if row.ours.wall and row.peer.wall]
    if not ratios:
        return "No network was finished by both."
    mean = exp(sum(map(log, ratios)) / len(ratios))
    capped = [row.network for row in rows if row.ours.wall and (row.peer.failure or "").startswith("over")]
    rest = (
        f" Where torch-pruning ran into the cap ({', '.join(capped)}) no ratio is counted." if capped else ""
    )
    less = sum(row.ours.added < row.peer.added for row in both)
    return (
        f"Geometric mean over the {len(ratios)} networks that both finish: {mean:.2f} times faster. "
        f"Faster on {sum(ratio > 1 for ratio in ratios)} of {len(ratios)}, "
        f"less memory on {less} of {len(both)}.{rest}"
    )


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.machine()


def section(rows: Sequence[Row], repetitions: int) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "torch-pruning"))
    return "\n".join(
        [
            "## Coupling: trace, group, score, select, cut",
            "",
            "`python benchmarks/coupling.py --write docs/benchmarks.md`, beside torch-pruning's build and "
            "step (`MetaPruner`, `GroupMagnitudeImportance(p=2)`, local, last layer ignored).",
            f"Both remove half of every group; image {'x'.join(map(str, IMAGE))}, CPU, random weights. "
            f"Medians of {repetitions} (range in brackets), each in a fresh process, taking turns. Pairs are "
            "prune / torch-pruning. The first call is what a user waits for; the second call is the same "
            "work on a new network in the same process.",
            "",
            *table(rows),
            "",
            summary(rows),
            "",
            f"Measured on {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}, "
            f"Python {platform.python_version()}, {versions}.",
        ]
    )


def write(page: Path, text: str) -> None:
    """Put ``text`` where the last measurement stood, and leave the rest of the page alone."""
    old = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    block = f"{BEGIN}\n{text}\n{END}"
    if BEGIN in old and END in old:
        head, _, rest = old.partition(BEGIN)
        new = f"{head}{block}{rest.partition(END)[2]}"
    else:
        new = f"{old.rstrip()}\n\n{block}\n"
    page.write_text(new, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="prune's coupling beside torch-pruning's")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this Markdown page")
    parser.add_argument("--child", nargs=2, metavar=("TOOL", "NETWORK"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(asdict(child(*given.child))))
        return
    rows = measure_all(given.networks.split(","), given.repetitions)
    text = section(rows, given.repetitions)
    print(text)
    if given.write:
        write(given.write, text)


if __name__ == "__main__":
    main()
