"""What repair costs: seconds and memory on torchvision's resnet50 at 224 x 224, cut to half its MACs.

    python benchmarks/repair_cost.py --images 32 64 128 --write docs/repair-cost.md

Each row is a process of its own. Seconds do not depend on the weights, so they are random; the statistics of
the norms are those of the images, which are noise.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model

import prunecli
from prunecli.data import Samples
from prunecli.data.samples import Batch
from prunecli.inputs import Inputs

WANTED = 10.0
"""Times one forward pass of the same samples through the dense network, at most."""
FULL = 512
BATCH = 16


def network(images: Tensor) -> nn.Module:
    torch.manual_seed(0)
    net = get_model("resnet50", weights=None)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    net.train()
    with torch.no_grad():
        net(images)
    return net.eval()


def peak() -> float:
    """GiB this process has had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(count: int, memory: int) -> dict[str, Any]:
    torch.manual_seed(1)
    images = torch.randn(count, 3, 224, 224)
    net = network(images[:BATCH])
    example = images[:1]
    with torch.inference_mode():
        net(images[:BATCH])
        began = perf_counter()
        for batch in images.split(BATCH):
            net(batch)
        forward = perf_counter() - began
    cut = prunecli.prune(net, example_inputs=example, speedup=2, repair="none")
    before = peak()
    samples = Samples([Batch(Inputs((part,))) for part in images.split(BATCH)], "noise of the benchmark")
    result = prunecli.prune(
        net, example_inputs=example, plan=cut.plan, repair="lstsq", data=samples, memory=memory
    )
    facts = result.report.repair
    assert facts is not None
    solved = [row.method for row in facts.operations if row.method]
    return {
        "images": count,
        "used": facts.data.samples,
        "forward": forward,
        "repair": result.report.timings["repair"],
        "before": before,
        "peak": peak(),
        "solved": f"{len(solved)} of {len(facts.operations)}, {solved.count('channel mixing')} by mixing",
        "notes": [note for note in result.report.notes if "repair" in note],
    }


HEAD = """# What repair costs

torchvision's resnet50 at 224 x 224, `--speedup 2`, on {threads} shared cores without a GPU, with `--memory
{memory:g}GB`. The weights are random, on which seconds do not depend. Written by

    {command}

*Forward* is one pass of the images used through the dense network; *ratio* is repair / forward, wanted under
{wanted:g}. *Memory* is the peak of the process, in brackets that before the repair.

| images | used | forward, s | repair, s | ratio | memory, GiB | operations solved |
|---|---|---|---|---|---|---|"""


def page(rows: list[dict[str, Any]], memory: int) -> str:
    command = " ".join(["python", *sys.argv])
    lines = [
        HEAD.format(threads=torch.get_num_threads(), memory=memory / 2**30, command=command, wanted=WANTED)
    ]
    for row in rows:
        forward, repair = row["forward"] * row["used"] / row["images"], row["repair"]
        lines.append(
            f"| {row['images']} | {row['used']} | {forward:.1f} | {repair:.1f} | {repair / forward:.1f} "
            f"| {row['peak']:.1f} ({row['before']:.1f}) | {row['solved']} |"
        )
    first, last = rows[0], rows[-1]
    if last["used"] > first["used"]:
        slope = (last["repair"] - first["repair"]) / (last["used"] - first["used"])
        total = last["repair"] + slope * (FULL - last["used"])
        ratio = total / (last["forward"] / last["images"] * FULL)
        lines += [
            "",
            f"By the line through the first and the last row, {FULL} images (with memory for all) would "
            f"take {total:.0f} s, {ratio:.1f} forward passes (extrapolated, not measured).",
        ]
    for row in rows:
        lines += ["", *(f"{row['images']} images: {note}" for note in row["notes"])]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", nargs="*", type=int, default=[32, 64, 128])
    parser.add_argument("--memory", type=float, default=4.0, help="GiB")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    memory = int(given.memory * 2**30)
    if given.one:
        print(json.dumps(measure(given.one, memory)))
        return
    rows = []
    for count in given.images:
        command = [sys.executable, __file__, "--one", str(count), "--memory", str(given.memory)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(found.stdout.splitlines()[-1]))
        print(rows[-1], file=sys.stderr, flush=True)
    text = page(rows, memory)
    print(text)
    if given.write:
        given.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
