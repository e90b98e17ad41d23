"""One checkpoint per network, pruned, written, reloaded in a fresh process and counted again.

Each row is one ``prune run`` in a process of its own on randomly initialised weights (structure needs no
training): ``python benchmarks/structures.py --write docs/structures.md``. MACs are counted by fvcore on the
network that ``prunecli.load`` returns in that fresh process, not taken from the report.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NETWORKS = (
    "torchvision:resnet50", "torchvision:densenet121", "torchvision:mobilenet_v3_large",
    "torchvision:efficientnet_b0", "torchvision:convnext_tiny", "torchvision:regnet_y_400mf",
    "torchvision:shufflenet_v2_x1_0", "torchvision:googlenet", "torchvision:vit_b_16", "torchvision:swin_t",
    "torchvision:deeplabv3_resnet50", "cifar:resnet56", "cifar:vgg19",
)  # fmt: skip

MAKE = """
import sys, torch, warnings
warnings.simplefilter("ignore")
spec, path = sys.argv[1:]
family, name = spec.split(":")
torch.manual_seed(0)
if family == "cifar":
    from prunecli.networks.cifar import REGISTRY
    network = REGISTRY[name]()
else:
    import torchvision
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    if "deeplab" in name or "fcn" in name or "lraspp" in name:
        options["weights_backbone"] = None
    network = torchvision.models.get_model(name, weights=None, **options)
for module in network.modules():
    if isinstance(module, torch.nn.modules.batchnorm._NormBase) and module.affine:
        torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        torch.nn.init.uniform_(module.bias, -0.5, 0.5)
        torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
for parameter in network.parameters():
    # Zero heads and tiny layer scales would hide everything before them from the oracle.
    if parameter.abs().max() < 1e-3:
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
torch.save(network.state_dict(), path)
"""

COUNT = """
import json, sys, torch, prunecli
from prunecli.checkpoint import read
from prunecli.counting import count
from prunecli.inputs import make
network = prunecli.load(sys.argv[1])
inputs = make(read(sys.argv[1]).recipe.inputs)
params = sum(p.numel() for p in network.parameters())
print(json.dumps({"macs": count(network, inputs).total, "params": params}))
"""


def row(spec: str, checkpoint: Path, target: tuple[str, float], scheme: str, folder: Path) -> list[str]:
    """One line of the table: run, reload elsewhere, compare."""
    out = folder / "small.safetensors"
    command = [sys.executable, "-m", "prunecli", "run", str(checkpoint), "-o", str(out), "--force", "--json"]
    command += [f"--{target[0]}", str(target[1]), "--scheme", scheme, "--repair", "none"]
    began = time.perf_counter()
    ran = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    head = [spec, scheme, f"{target[0]} {target[1]:g}"]
    if ran.returncode:
        reason = next(
            (line for line in ran.stderr.splitlines() if line.startswith("error:")), ran.stderr[-200:]
        )
        return [*head, f"exit {ran.returncode}", reason, "", "", f"{seconds:.0f}"]
    report = json.loads(ran.stdout)
    dense = folder / "hidden"
    checkpoint.rename(dense)
    try:
        counted = json.loads(
            subprocess.run(
                [sys.executable, "-c", COUNT, str(out)], capture_output=True, text=True, check=True
            ).stdout
        )
    finally:
        dense.rename(checkpoint)
    reached = {
        "speedup": report["before"]["macs"] / counted["macs"],
        "params": counted["params"] / report["before"]["params"],
        "flops": counted["macs"] / report["before"]["macs"],
        "ratio": removed_share(report["groups"]),
    }[target[0]]
    proof = next((p for p in report["proofs"] if p["name"] == "masked oracle"), None)
    error = "not applicable" if proof is None else f"{proof['error']:.1e} ({proof['detail']})"
    whole = sum(group["status"] == "whole" for group in report["groups"])
    return [*head, f"{reached:.4f}", error, str(len(report["groups"])), str(whole), f"{seconds:.0f}"]


def removed_share(groups: list[dict[str, Any]]) -> float:
    """Fraction of the units removed, over the groups that could be pruned."""
    free = [g for g in groups if g["status"] == "pruned" or g["reason"].startswith("none of its units")]
    return 1 - sum(g["kept"] for g in free) / max(1, sum(g["dense"] for g in free))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--targets", nargs="*", default=["speedup=2"])
    parser.add_argument("--schemes", nargs="*", default=["protected"])
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    columns = ["network", "scheme", "target", "reached, counted after reload", "oracle, relative error"]
    columns += ["groups", "left whole", "s"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for spec in options.networks:
            checkpoint = folder / "dense.pth"
            subprocess.run(
                [sys.executable, "-c", MAKE, spec, str(checkpoint)], check=True, capture_output=True
            )
            for target in options.targets:
                kind, _, value = target.partition("=")
                for scheme in options.schemes:
                    lines.append(
                        "| " + " | ".join(row(spec, checkpoint, (kind, float(value)), scheme, folder)) + " |"
                    )
                    print(lines[-1], flush=True)
    if options.write:
        title = f"# Structures\n\nWritten by `python {chr(32).join(sys.argv)}`.\n\n"
        options.write.write_text(title + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
