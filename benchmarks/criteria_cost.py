"""What criteria cost: seconds and memory on torchvision's resnet50 at 224 x 224, with random weights.

    python benchmarks/criteria_cost.py measure --samples 32 --results criteria_cost.jsonl
    python benchmarks/criteria_cost.py page criteria_cost.jsonl docs/criteria-cost.md

Every row is a process of its own with one thread, and seconds are those of the processor, so that other work
on the machine counts little. Where the work needs samples, the floor is timed before and after it: one
forward and backward pass over the same samples in the same batches. ``measure`` goes on where it stopped.
Seconds do not depend on the weights; the statistics of the norms are those of the samples, which are noise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import process_time

import criteria_naive
import criteria_peer
import torch
from criteria_cost_page import Row, page, rows
from criteria_naive import BATCH
from repair_cost import network, peak
from torch import Tensor, nn
from torch.nn import functional

from prunecli.coupling import Space, trace
from prunecli.criteria import CRITERIA, gather, score
from prunecli.data import Samples
from prunecli.data.samples import Batch
from prunecli.inputs import Inputs

KINDS = ("prune", "torch-pruning", "naive")
CLASSES = 1000


def names(kind: str) -> list[str]:
    known = {"prune": CRITERIA, "torch-pruning": criteria_peer.PEERS, "naive": criteria_naive.NAIVE}
    return list(known[kind])


def ours(name: str, net: nn.Module, space: Space, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Evidence and scores; the trace is made before, since every command makes it anyway."""
    parts = zip(images.split(BATCH), labels.split(BATCH), strict=True)
    samples = Samples([Batch(Inputs((part,)), wanted) for part, wanted in parts], "noise of the benchmark")
    tensors = {key: tensor.detach() for key, tensor in net.state_dict().items()}

    def work() -> None:
        if CRITERIA[name].needs:
            score(space, tensors, name, evidence=gather(net, space, samples, criteria=(name,)))
        else:
            score(space, tensors, name)

    return work


def child(kind: str, name: str, count: int) -> Row:
    """Measure in this process, which must be a fresh one."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    images, labels = torch.randn(count, 3, 224, 224), torch.randint(CLASSES, (count,))
    net = network(images[:BATCH])
    space = trace(net, (images[:1],))
    passes(net, images[:BATCH], labels[:BATCH])
    floor = [passes(net, images, labels)] if needs_samples(kind, name) else []
    net.zero_grad()
    before, how = peak(), ""
    if kind == "naive":
        found = criteria_naive.NAIVE[name](net, space, images, labels)
        seconds, how = found.full, found.how
    else:
        work = (ours if kind == "prune" else criteria_peer.work)(name, net, space, images, labels)
        began = process_time()
        work()
        seconds = process_time() - began
    highest = peak()
    if floor:
        floor.append(passes(net, images, labels))
    return Row(kind, name, count, tuple(floor), seconds, before, highest, how)


def needs_samples(kind: str, name: str) -> bool:
    return kind != "naive" and name in CRITERIA and bool(CRITERIA[name].needs)


def passes(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Seconds of one forward and backward pass of all."""
    net.requires_grad_(True)
    began = process_time()
    for part, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        net.zero_grad()
        functional.cross_entropy(net(part), wanted).backward()
    return process_time() - began


def measure(results: Path, count: int, kinds: list[str], chosen: list[str]) -> None:
    known = {(row.kind, row.name, row.samples) for row in rows(results)}
    for kind in kinds:
        for name in names(kind):
            if (kind, name, count) in known or (chosen and name not in chosen):
                continue
            command = [sys.executable, "-W", "ignore", __file__, "child", kind, name, str(count)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
            if done.returncode:
                print(f"{kind} {name}: failed", file=sys.stderr, flush=True)
                continue
            with results.open("a") as file:
                file.write(done.stdout.splitlines()[-1] + "\n")
            print(done.stdout.splitlines()[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--results", type=Path, required=True)
    measuring.add_argument("--samples", type=int, default=32)
    measuring.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    measuring.add_argument("--names", nargs="*", default=[], help="only these")
    writing = commands.add_parser("page")
    writing.add_argument("results", type=Path)
    writing.add_argument("page", type=Path)
    one = commands.add_parser("child")
    one.add_argument("kind")
    one.add_argument("name")
    one.add_argument("samples", type=int)
    given = parser.parse_args()
    if given.command == "measure":
        measure(given.results, given.samples, given.kinds, given.names)
    elif given.command == "page":
        given.page.write_text(page(given.results), encoding="utf-8")
    else:
        print(json.dumps(asdict(child(given.kind, given.name, given.samples))))


if __name__ == "__main__":
    main()
