"""Measured speedups beside MACs ratios: what torchvision's networks gain in milliseconds on this machine.

    python benchmarks/latency.py measure --results latency.jsonl
    python benchmarks/latency.py page latency.jsonl docs/latency.md

Each network has random weights, on which its time does not depend, and is cut as ``prune run --repair none``
cuts it, at every target and every ``--round-to``. Then the dense and the cut network run in turns, as for
every report, at every batch size and number of threads. Rows that the results have already are not measured
again, so a stopped run goes on where it was. Nothing else should run on the machine meanwhile. A quick trial:

    python benchmarks/latency.py measure --networks mobilenet_v2 --seconds 1 --results trial.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch
from latency_page import Key, Row, page, rows
from torchvision.models import get_model

import prunecli
from prunecli import Result
from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import ImpossibleError
from prunecli.latency import measured
from prunecli.racing import Effort
from prunecli.threads import limited

IMAGE = (3, 224, 224)
CPU = torch.device("cpu")


def processor() -> str:
    """What the machine calls its processor, and how many cores this process may use."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else platform.machine()}, {cores} cores"


def missing(given: argparse.Namespace) -> Iterator[tuple[str, float, int, list[Key]]]:
    """Per cut: what has not been measured of it."""
    done = {row.key for row in rows(given.results)}
    for network, speedup, round_to in product(given.networks, given.speedups, given.round_to):
        keys = [
            Key(network, speedup, round_to, batch, threads)
            for batch, threads in product(given.batches, given.threads)
        ]
        if left := [key for key in keys if key not in done]:
            yield network, speedup, round_to, left


def cut(network: str, speedup: float, round_to: int) -> tuple[torch.nn.Module, Result]:
    torch.manual_seed(0)
    dense = get_model(network, weights=None).eval()
    example = torch.zeros(1, *IMAGE)
    result = prunecli.prune(dense, example_inputs=example, speedup=speedup, round_to=round_to, repair="none")
    return dense, result


def measure(key: Key, dense: torch.nn.Module, result: Result, seconds: float) -> Row:
    report = result.report
    specs = [InputSpec(None, "float32", (key.batch, *IMAGE))]
    effort = Effort(seconds=seconds, enough=200, longest=20 * seconds)
    with limited(key.threads):
        found = measured(
            dense, result.model, specs, report.layers, device=CPU,
            macs=(report.before.macs, report.after.macs), round_to=key.round_to, effort=effort,
        ).latency  # fmt: skip
    assert found is not None
    return Row(
        key,
        found.macs_ratio or 0.0,
        replace(found, layers=()),
        processor(),
        torch.__version__.partition("+")[0],
    )


def run(given: argparse.Namespace) -> None:
    for network, speedup, round_to, keys in missing(given):
        try:
            dense, result = cut(network, speedup, round_to)
        except ImpossibleError as error:
            print(f"{network} {speedup:g}x --round-to {round_to}: {error}", file=sys.stderr, flush=True)
            continue
        for key in keys:
            row = measure(key, dense, result, given.seconds)
            with given.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            print(row.told, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("--networks", nargs="+", default=["resnet50", "mobilenet_v2", "vit_b_16"])
    one.add_argument("--speedups", nargs="+", type=float, default=[2.0, 4.0])
    one.add_argument("--round-to", nargs="+", type=int, default=[1, 8, 16])
    one.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    one.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    one.add_argument("--seconds", type=float, default=10.0, help="of every row, but at least five runs")
    one.add_argument("--results", type=Path, default=Path("latency.jsonl"))
    two = commands.add_parser("page")
    two.add_argument("--remark", default="", help="what else is to be said of the machine")
    two.add_argument("results", type=Path)
    two.add_argument("page", type=Path)
    given = parser.parse_args()
    if given.command == "measure":
        run(given)
    else:
        given.page.write_text(page(rows(given.results), given.remark), encoding="utf-8")


if __name__ == "__main__":
    main()
