"""What ``prune COMMAND --help`` shows of each command at work. A test parses every line."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "inspect": (
        "prune inspect model.pth",
        "prune inspect model.pth --groups        # what can only be removed together",
    ),
    "explain": (
        "prune explain model.pth layer1.0.conv1",
        "prune explain model.pth 'layer1.*'",
    ),
    "score": (
        "prune score model.pth --criterion lamp,taylor --data noise --correlate",
        "prune score model.pth --report scores.csv",
    ),
    "run": (
        "prune run model.pth --speedup 2                   # half the multiply-adds",
        "prune run model.pth -o small.safetensors --params 0.5 --ignore 'layer1.*'",
        "prune run --config prune.toml --job all",
    ),
    "finetune": (
        "prune finetune small.safetensors --data imagefolder:photos --epochs 10",
        "prune finetune small.safetensors --data npz:x.npz --against model.pth",
    ),
    "sparsify": (
        "prune sparsify model.pth --sparsify group-lasso --data imagefolder:photos",
        "prune sparsify model.pth --sparsify greg-1 --speedup 2 --data npz:x.npz",
    ),
    "verify": (
        "prune verify small.safetensors",
        "prune verify small.safetensors --against model.pth",
    ),
    "eval": (
        "prune eval small.safetensors --data imagefolder:photos",
        "prune eval small.safetensors --data noise --against model.pth",
    ),
    "compact": (
        "prune compact model.pth -o compact.safetensors",
    ),
    "diff": (
        "prune diff model.pth small.safetensors",
    ),
    "ls": (
        "prune ls criteria",
        "prune ls networks --json",
    ),
    "demo": (
        "prune demo",
        "prune demo --speedup 6 -o demo6.safetensors",
    ),
}  # fmt: skip
