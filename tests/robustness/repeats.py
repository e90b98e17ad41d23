"""The same bytes each time, on one thread and on eight: ``python -m tests.robustness.repeats``.

Every run is a fresh process with a hash seed of its own. The report is the same too, but for its timings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bases
from .bases import NETWORK
from .runs import places, table

ROOT = Path(__file__).resolve().parents[2]
MANY = 8
TIMED = ("timings", "steps", "seconds", "threads", "command")
SPEEDUP = ("--speedup", "1.5", "--no-latency")


@dataclass(frozen=True)
class Kind:
    """``arguments`` of ``prune``, in a folder where ``made`` has put the files; it writes ``out``."""

    arguments: tuple[str, ...]
    out: str
    made: Callable[[Path], None]


def _net(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(bases.dense(), folder / "net.safetensors")


def _sparse(folder: Path) -> None:
    """Weights with channels of nothing, which compact removes."""
    from safetensors.torch import save_file

    tensors = bases.dense()
    for name in ("layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias"):
        tensors[name][: len(tensors[name]) // 2] = 0
    save_file(tensors, folder / "net.safetensors")


def _directory(folder: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=90, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    transformers.BertModel(config).save_pretrained(folder / "net")


RUN = ("run", "net.safetensors", *NETWORK, *SPEEDUP, "-o", "out.safetensors")
KINDS: dict[str, Kind] = {
    "without data": Kind((*RUN, "--repair", "none"), "out.safetensors", _net),
    "repair on noise": Kind((*RUN, "--repair", "lstsq"), "out.safetensors", _net),
    "repair on data": Kind((*RUN, "--data", "digits", "--repair", "lstsq"), "out.safetensors", _net),
    "scores of gradients": Kind(
        (*RUN, "--data", "digits", "--criterion", "taylor", "--repair", "bn"), "out.safetensors", _net
    ),
    "compact": Kind(("compact", "net.safetensors", *NETWORK, "-o", "out.safetensors"), "out.safetensors",
        _sparse),
    "model directory": Kind(
        ("run", "net", "--input", "input_ids:int64:1,8", *SPEEDUP, "--repair", "none", "-o", "out"), "out",
        _directory
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Once:
    """``written``: a digest over every file of the output; ``report``: of the report without its timings."""

    kind: str
    threads: int
    code: int
    written: str
    report: str
    seconds: float
    said: str


def once(name: str, threads: int, number: int) -> Once:
    kind = KINDS[name]
    with places() as at:
        kind.made(at.out)
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(number),
            "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "prunecli", *kind.arguments, "--threads", str(threads)],
            cwd=at.out, env=environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        seconds = time.monotonic() - begun
        written = at.out / kind.out
        report = at.out / ("out.json" if written.suffix else f"{kind.out}.json")
        return Once(
            name, threads, done.returncode, _digest(written), _report(report), seconds,
            (done.stderr.strip().splitlines() or [""])[0][:100],
        )  # fmt: skip


def _digest(path: Path) -> str:
    if not path.exists():
        return ""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        whole.update(
            f"{file.relative_to(path.parent)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return whole.hexdigest()


def _report(path: Path) -> str:
    if not path.exists():
        return ""
    document = _untimed(json.loads(path.read_text()))
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _untimed(value: Any) -> Any:
    """Without timings (``steps`` are those of the rounds) and what was typed, the threads among it."""
    if isinstance(value, dict):
        return {k: _untimed(v) for k, v in value.items() if k not in TIMED}
    return [_untimed(item) for item in value] if isinstance(value, list) else value


def show(runs: list[Once]) -> str:
    rows = []
    for name in dict.fromkeys(run.kind for run in runs):
        of = [run for run in runs if run.kind == name]
        by = [sum(run.threads == threads for run in of) for threads in (1, MANY)]
        rows.append(
            (name, len(of), *by, sum(run.code == 0 for run in of), len({run.written for run in of}),
             len({run.report for run in of}), f"{sum(run.seconds for run in of) / len(of):.1f}",
             "" if good(of) else next((r.said for r in of if r.code), "differs"))
        )  # fmt: skip
    header = (
        "kind",
        "runs",
        "1 thread",
        f"{MANY} threads",
        "exit 0",
        "outputs",
        "reports",
        "s each",
        "fault",
    )
    return table(header, rows)


def good(runs: list[Once]) -> bool:
    same = len({run.written for run in runs}) == len({run.report for run in runs}) == 1
    return same and all(run.code == 0 and run.written and run.report for run in runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20, help="half of them on one thread")
    parser.add_argument("--kind", action="append", choices=tuple(KINDS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    runs: list[Once] = []
    begun = time.monotonic()
    for name in given.kind or KINDS:
        for number in range(given.times):
            if time.monotonic() - begun > given.seconds:
                break
            runs.append(once(name, (1, MANY)[number % 2], number))
        print(f"{time.monotonic() - begun:.0f} s\n{show(runs)}\n", flush=True)
    names = dict.fromkeys(run.kind for run in runs)
    return int(not all(good([run for run in runs if run.kind == name]) for name in names))


if __name__ == "__main__":
    sys.exit(main())
