"""Training before and after the cut, on real data: a ResNet-20 and a small VGG on Fashion-MNIST at 14 x 14.

    export FASHION_MNIST=DIR
    python benchmarks/training.py train NETWORKS
    python benchmarks/training.py measure NETWORKS --results training.jsonl
    python benchmarks/training.py page training.jsonl docs/training-accuracy.md

DIR holds Fashion-MNIST's four idx.gz files, as Debian's package dataset-fashion-mnist installs them; without
the variable they are looked for where that package puts them. The folder NETWORKS gets the dense networks and
what is made of them. ``measure`` goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from fashion import FOLDER, SIDE, Recipe, pictures, resnet20, small_vgg, train
from torch import nn
from training_page import METHODS, NETWORKS, ROUNDED, SEEDED, SEEDS, SPEEDUPS, Cell, Key, cells, page

import prunecli
from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples, open_data
from prunecli.plan import Plan

SMALL = SIDE // 2
FASHION = Path(__file__).with_name("fashion.py")
FACTORIES: dict[str, Callable[[], nn.Module]] = {"resnet20": resnet20, "vgg": small_vgg}
DENSE = {"resnet20": Recipe(10, side=SMALL), "vgg": Recipe(10, side=SMALL)}
SAMPLES = 20_000
SPARSIFYING: dict[str, Any] = {"epochs": 10, "batch_size": 128}
FINETUNING: dict[str, Any] = {"epochs": 4, "batch_size": 128, "lr": 0.01, "distill": 0.0}
GREG_FAST = {"delta": 1e-2, "every": 10.0}
"""1,000 steps until lambda is 1; ten epochs of 20,000 samples in batches of 128 are 1,570."""

TUNED: dict[tuple[str, str], tuple[dict[str, float], float]] = {
    ("resnet20", "bn-scale"): ({"strength": 1e-4}, 0.01),
    ("resnet20", "group-lasso"): ({"strength": 5e-4}, 0.005),
    ("resnet20", "group-norm"): ({"strength": 1e-4}, 0.005),
    ("resnet20", "growing-reg"): ({"strength": 5e-4, "delta": 1e-4}, 0.01),
    ("vgg", "bn-scale"): ({"strength": 5e-4}, 0.005),
    ("vgg", "group-lasso"): ({"strength": 1e-5}, 0.001),
    ("vgg", "group-norm"): ({"strength": 1e-5}, 0.005),
    ("vgg", "growing-reg"): ({"strength": 1e-4, "delta": 1e-5}, 0.001),
}
"""PruningBench's Table 7, strength, delta and learning rate: of ResNet18 and of VGG19 on CIFAR-100."""


@dataclass(frozen=True)
class Trained:
    """Where the network before the cut is, the plan to cut it by, and what the regularizer says of itself."""

    path: Path
    plan: Plan | None = None
    told: dict[str, Any] | None = None


@cache
def samples(part: str) -> Samples:
    specs = (InputSpec(None, "float32", (1, 1, SMALL, SMALL)),)
    count = SAMPLES if part == "small_train" else None
    return open_data(f"{FASHION}:{part}", specs, samples=count, seed=0)


def keys() -> Iterator[Key]:
    for network in NETWORKS:
        for method in METHODS:
            for seed in range(SEEDS if method in SEEDED else 1):
                for speedup in SPEEDUPS:
                    yield Key(network, method, speedup, seed)


def named(network: str) -> dict[str, Any]:
    return {"arch": f"{FASHION}:{FACTORIES[network].__name__}", "inputs": (f"1,{SMALL},{SMALL}",)}


def top1(subject: Any, network: str) -> float:
    naming = {} if isinstance(subject, Path) else {"example_inputs": torch.zeros(1, 1, SMALL, SMALL)}
    given = named(network) if isinstance(subject, Path) else naming
    quality = prunecli.evaluate(subject, data=samples("small_test"), **given).quality
    assert quality.top1 is not None
    return quality.top1


def before_cut(key: Key, folder: Path) -> Trained:
    """What is cut. A regularizer that picks nothing trains once for all speedups."""
    dense = folder / f"{key.network}.pth"
    if key.method in ("one-shot", "repaired"):
        return Trained(dense)
    picks = key.method in ("greg-1", "greg-2")
    name = f"{key.network}-{key.method}-{key.seed}" + (f"-{key.speedup:g}" if picks else "")
    place, said = folder / f"{name}.safetensors", folder / f"{name}.json"
    if not said.exists():
        values, rate = (GREG_FAST, 0.01) if picks else TUNED[key.network, key.method]
        if key.method == "greg-2":
            values = {**values, "delta-all": 1e-3}
        target = {"speedup": key.speedup, "scheme": "local"} if picks else {}
        found = prunecli.sparsify(
            dense, regularizer=key.method, regularizer_args=values, data=samples("small_train"), lr=rate,
            seed=key.seed, threads=1, **SPARSIFYING, **target, **named(key.network),
        )  # fmt: skip
        found.save(place, force=True)
        facts = found.report.sparsity
        assert facts is not None
        plan = None if found.plan is None else found.plan.to_json()
        said.write_text(json.dumps({"plan": plan, "told": dict(facts.told)}), encoding="utf-8")
    known = json.loads(said.read_text(encoding="utf-8"))
    plan = None if known["plan"] is None else Plan.from_json(known["plan"])
    return Trained(place, plan, known["told"])


def in_rounds(key: Key, folder: Path) -> Cell:
    """Five epochs, each followed by a cut (Lubana and Dick 2021), then finetuned like the rest."""
    criterion, temperature = ROUNDED[key.method]
    result = prunecli.prune(
        folder / f"{key.network}.pth", speedup=key.speedup, criterion=criterion, temperature=temperature,
        scheme="global", rounds=5, repair="none", data=f"{FASHION}:small_train", samples=512,
        eval_data=samples("small_test"), seed=key.seed, threads=1,
        sparsify_args={"samples": SAMPLES, "batch_size": 128, "lr": 0.01},
        finetune_epochs=FINETUNING["epochs"],
        finetune_args={"samples": SAMPLES, **{k: v for k, v in FINETUNING.items() if k != "epochs"}},
        **named(key.network),
    )  # fmt: skip
    before, after, quality = result.report.before, result.report.after, result.report.quality
    figures = [quality[name].top1 for name in ("trained", "cut", "finetuned")]
    return Cell(key, before.macs / after.macs, *(figure or 0.0 for figure in figures))


def one(key: Key, folder: Path) -> Cell:
    """Cut as trained, or one shot; then finetuned, all alike."""
    if key.method in ROUNDED:
        return in_rounds(key, folder)
    trained = before_cut(key, folder)
    how: dict[str, Any] = {"plan": trained.plan}
    if trained.plan is None:
        criterion = {"one-shot": "magnitude-l1", "repaired": "magnitude-l1", "bn-scale": "bn-scale"}
        how = {"criterion": criterion.get(key.method, "magnitude-l2"), "speedup": key.speedup}
        how |= {"scheme": "local"}
        if how["criterion"] == "magnitude-l1":
            how |= {"reduce": "first"}
    repair: dict[str, Any] = {"repair": "none"}
    if key.method == "repaired":
        repair = {"repair": "lstsq", "data": samples("small_train"), "samples": 512}
    cut = prunecli.prune(trained.path, threads=1, **how, **repair, **named(key.network))
    tuned = prunecli.finetune(
        cut.model, data=samples("small_train"), seed=key.seed, threads=1,
        example_inputs=torch.zeros(1, 1, SMALL, SMALL), **FINETUNING,
    )  # fmt: skip
    before, after = cut.report.before, cut.report.after
    return Cell(
        key, before.macs / after.macs, top1(trained.path, key.network), top1(cut.model, key.network),
        top1(tuned.model, key.network), trained.told,
    )  # fmt: skip


def measure(folder: Path, results: Path, jobs: int) -> None:
    """In processes of one thread each; what shares a training comes after it."""
    known = {cell.key for cell in cells(results)}
    todo = [key for key in keys() if key not in known]
    first = {replace(key, speedup=SPEEDUPS[0]) for key in todo}
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for chosen in ([k for k in todo if k in first], [k for k in todo if k not in first]):
            for future in as_completed([pool.submit(one, key, folder) for key in chosen]):
                if future.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                row = future.result()
                with results.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
                print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("train", "measure"):
        command = commands.add_parser(name)
        command.add_argument("networks", type=Path)
        if name == "measure":
            command.add_argument("--results", type=Path, required=True)
            command.add_argument("--jobs", type=int, default=2)
    writing = commands.add_parser("page")
    writing.add_argument("results", type=Path)
    writing.add_argument("page", type=Path)
    given = parser.parse_args()
    if given.command == "train":
        given.networks.mkdir(exist_ok=True)
        data = Path(os.environ.get("FASHION_MNIST", FOLDER))
        for name, recipe in DENSE.items():
            train(data, given.networks / f"{name}.pth", recipe, FACTORIES[name])
    elif given.command == "measure":
        measure(given.networks, given.results, given.jobs)
    else:
        samples_seen = (
            len(pictures(Path(os.environ.get("FASHION_MNIST", FOLDER)), "t10k", SMALL)[1]),
            SAMPLES,
        )
        given.page.write_text(page(given.results, *samples_seen), encoding="utf-8")


if __name__ == "__main__":
    main()
