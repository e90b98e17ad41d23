"""``prune compact`` on networks of which a random 30 % of the units were zeroed, into docs/compact.md.

``python benchmarks/compact.py --write docs/compact.md`` replaces the table of the page. Weights are random,
norms have random statistics and biases. ``weights``: only the rows that make a unit are zero, so that it
still gives what its bias and norm make of that; ``all``: its biases and norms are zero too.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prunecli
from prunecli.coupling import Space
from prunecli.coupling.axes import owners
from prunecli.inputs import make
from prunecli.measuring import traced
from prunecli.proofs import relative_error, run
from prunecli.subjects import open_random

NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "densenet121": {},
    "mobilenet_v2": {},
    "shufflenet_v2_x1_0": {},
    "vit_b_16": {"image_size": 64},
    "convnext_tiny": {},
}
SHARE = 0.3
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
KINDS = {
    "padded convolution": "border",
    "no bias and no norm": "no place",
    "its size is tied": "tied",
    "always stays": "last",
}


def enliven(module: nn.Module, generator: torch.Generator) -> None:
    """Norms as after training, biases that are not zero, and no scale or head that hides the rest."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.data = drawn / max(2, parameter[0].numel()) ** 0.5
    for child in module.modules():
        mean = getattr(child, "running_mean", None)
        if isinstance(mean, torch.Tensor):
            mean.copy_(torch.randn(mean.shape, generator=generator))
            child.running_var.copy_(torch.rand(mean.shape, generator=generator) + 0.5)
            child.weight.data = torch.rand(mean.shape, generator=generator) + 0.5
        bias = getattr(child, "bias", None)
        if isinstance(bias, torch.Tensor):
            bias.data = torch.randn(bias.shape, generator=generator) / 2


def zeroed(module: nn.Module, space: Space, roles: set[str], generator: torch.Generator) -> int:
    """How many units lost everything in slots of those roles."""
    parameters, count = dict(module.named_parameters()), 0
    for group in space.groups:
        if group.frozen is not None or group.value_changing is not None:
            continue
        dead = torch.rand(group.size, generator=generator) < SHARE
        count += int(dead.sum())
        for slot in group.slots:
            if slot.role in roles:
                owner = owners(space.axes[slot.parameter][slot.dim], space.sizes, group.name)
                index = ((owner >= 0) & dead[owner.clamp(min=0)]).nonzero().flatten()
                parameters[slot.parameter].data.index_fill_(slot.dim, index, 0)
    return count


def measured(name: str, arguments: dict[str, Any], what: str) -> str:
    """One row of the table."""
    generator = torch.Generator().manual_seed(0)
    dense = open_random(f"torchvision:{name}", arguments, ["3,64,64"], None, 0)
    enliven(dense.module, generator)
    roles = {"out"} if what == "weights" else {"out", "norm", "bias", "other"}
    count = zeroed(dense.module, traced(dense), roles, generator)
    arch = f"torchvision:{name}"
    result = prunecli.compact(dense.module, arch=arch, arch_args=arguments, inputs=["3,64,64"])
    gone = sum(result.space.sizes[group] - len(kept) for group, kept in result.plan.keep.items())
    left: Counter[str] = Counter()
    for note in result.report.notes:
        number, _, rest = note.partition(" dead unit")
        if rest and number.isdigit():
            left[next((kind for words, kind in KINDS.items() if words in rest), rest)] += int(number)
    unseen = make(dense.specs, seed=17)
    error = relative_error(run(dense.module, unseen), run(result.model, unseen))
    before, after = result.report.before, result.report.after
    why = ", ".join(f"{number} {kind}" for kind, number in left.most_common()) or "-"
    sizes = f"{before.params / 1e6:.1f} M -> {after.params / 1e6:.1f} M"
    return f"| {name} | {what} | {count} | {gone} | {why} | {sizes} | {error:.1e} |"


def main() -> None:
    columns = (
        "network",
        "zeroed",
        "units zeroed",
        "units gone",
        "dead units left",
        "parameters",
        "error",
    )
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, arguments in NETWORKS.items():
        for what in ("weights", "all"):
            rows.append(measured(name, arguments, what))
            print(rows[-1], flush=True)
    if sys.argv[1:2] == ["--write"]:
        page = Path(sys.argv[2])
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n{chr(10).join(rows)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
