"""Settings of the papers under one name: ``--preset``. No torch, so that the command line can look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prunecli.errors import UsageError, unknown_name

Options = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What of a run a preset may depend on; None where it is left to the preset."""

    sparsify: str | None = None
    criterion: str | None = None
    rounds: int | None = None
    speedup: float | None = None


@dataclass(frozen=True)
class Preset:
    """``options`` gives arguments of :func:`prunecli.prune`. ``source``: paper."""

    name: str
    summary: str
    source: str
    options: Callable[[Asked], Options]


def preset(
    name: str,
    *,
    sparsify: str | None = None,
    criterion: str | None = None,
    rounds: int | None = None,
    speedup: float | None = None,
) -> Options:
    """The arguments of :func:`prunecli.prune` that the preset ``name`` stands for; what is given here is what
    the run asks for besides. Raises ``UsageError`` with the nearest names.

        prunecli.prune("dense.pth", speedup=4, data=..., **prunecli.preset("greg:cifar"))
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name].options(Asked(sparsify, criterion, rounds, speedup))


def _greg(asked: Asked, before: Options, epochs: Mapping[str, int | None], after: Options) -> Options:
    """Uniform ratios, as in section 4.1; ``before`` and ``after`` are settings of the two trainings."""
    name = asked.sparsify or "greg-1"
    if name not in ("greg-1", "greg-2"):
        raise UsageError(f"a preset of greg is for greg-1 and greg-2, not for {name}", "--sparsify greg-1")
    growing = {"greg-1": ("delta", "every"), "greg-2": ("delta", "delta-all", "every")}[name]
    settings = {key: value for key, value in before.items() if key in growing or "-" not in key}
    length = epochs[name]
    return {
        "sparsify": name, "scheme": "local", "repair": "none", "sparsify_args": settings, **after,
        **({} if length is None else {"sparsify_epochs": length}),
    }  # fmt: skip


def _after(epochs: int, milestones: tuple[int, ...], **settings: Any) -> Options:
    """Finetuning on labels alone."""
    down = {"milestones": milestones} if milestones else {}
    return {"finetune_epochs": epochs, "finetune_args": {"distill": 0.0, **down, **settings}}


def _greg_cifar(asked: Asked) -> Options:
    """Batches of 256 are 196 steps of CIFAR's epoch: lambda is 1 after 100,000 steps (greg-1), and 5,000 more
    let the network settle.
    """
    before = {"delta": 1e-4, "delta-all": 1e-5, "every": 10.0, "lr": 1e-3, "batch_size": 256}
    after = _after(120, (60, 90), lr=0.01, batch_size=256)
    return _greg(asked, before, {"greg-1": 536, "greg-2": 582}, after)


def _greg_imagenet(asked: Asked) -> Options:
    """Batches of 64 are 20,019 steps of ImageNet's epoch: lambda is 1 after 50,000, and 40,000 settle."""
    before = {
        "delta": 1e-4, "delta-all": 1e-5, "every": 5.0, "lr": 1e-3, "batch_size": 64, "weight_decay": 1e-4,
    }  # fmt: skip
    after = _after(90, (30, 60, 75), lr=0.01, batch_size=256, weight_decay=1e-4)
    return _greg(asked, before, {"greg-1": 5, "greg-2": 5}, after)


def _greg_fast(asked: Asked) -> Options:
    """1,000 steps until lambda is 1 and 500 to settle, whatever epochs that is; minutes on a CPU."""
    before = {"delta": 1e-2, "delta-all": 1e-3, "every": 10.0, "lr": 0.01, "batch_size": 128}
    return _greg(asked, before, {"greg-1": None, "greg-2": None}, {})


def _lubana(asked: Asked) -> Options:
    """The rounds are taken off the epochs at the highest learning rate."""
    rounds = asked.rounds or 5
    if rounds >= 80:
        raise UsageError(f"--rounds {rounds} leaves nothing of the preset's 80 epochs", "--rounds 25")
    training = {"batch_size": 128, "lr": 0.1, "weight_decay": 1e-4, "augment": "crop"}
    return {
        "rounds": rounds, "scheme": "global", "repair": "none", "sparsify_args": training,
        **_after(160 - rounds, (80 - rounds, 120 - rounds), **training),
    }  # fmt: skip


_CIFAR_BATCHES: Options = {"batch_size": 128, "weight_decay": 5e-4}
_IMAGENET_BATCHES: Options = {"batch_size": 128, "weight_decay": 1e-4}

_LASSO, _LASSO_BN = ("group-lasso", "magnitude-l2"), ("group-lasso", "bn-scale")
_NORM, _SCALE = ("group-norm", "magnitude-l2"), ("bn-scale", "bn-scale")
_GROWING = ("growing-reg", "magnitude-l2")

Tuned = Mapping[tuple[str, str], tuple[float, ...]]
"""By regularizer and criterion: strength, learning rate, and delta where it grows (PruningBench, Table 7)."""

TUNED: Mapping[str, Tuned] = {
    "vgg19-cifar100": {
        _LASSO: (1e-5, 1e-3), _LASSO_BN: (5e-4, 5e-3), _NORM: (1e-5, 5e-3), _SCALE: (5e-4, 5e-3),
        _GROWING: (1e-4, 1e-3, 1e-5),
    },
    "resnet18-cifar100": {
        _LASSO: (5e-4, 5e-3), _LASSO_BN: (5e-5, 1e-2), _NORM: (1e-4, 5e-3), _SCALE: (1e-4, 1e-2),
        _GROWING: (5e-4, 1e-2, 1e-4),
    },
    "resnet50-cifar100": {
        _LASSO: (1e-4, 5e-3), _LASSO_BN: (5e-5, 1e-2), _NORM: (1e-4, 5e-3), _SCALE: (1e-5, 1e-2),
        _GROWING: (1e-4, 1e-3, 1e-5),
    },
    "resnet18-imagenet": {
        _LASSO: (5e-5, 5e-3), _LASSO_BN: (5e-4, 5e-3), _NORM: (5e-5, 1e-2), _SCALE: (1e-4, 1e-2),
        _GROWING: (1e-4, 5e-3, 5e-5),
    },
    "resnet50-imagenet": {
        _LASSO: (5e-4, 1e-2), _LASSO_BN: (5e-4, 1e-2), _NORM: (5e-4, 5e-3), _SCALE: (5e-5, 1e-2),
        _GROWING: (5e-5, 1e-2, 1e-5),
    },
    "vit-small-imagenet": {
        _LASSO: (1e-4,), _LASSO_BN: (1e-4,), _NORM: (5e-4,), _GROWING: (5e-4, 0.0, 1e-4),
    },
}  # fmt: skip
"""A learning rate of 0, or none, is that of finetuning."""


def _pruningbench(task: str, asked: Asked) -> Options:
    """Finetuning, and with ``sparsify`` as many epochs of it before the cut."""
    after = _benched(task, asked.speedup)
    found: Options = {"repair": "none", **after}
    if asked.sparsify is None:
        return found
    known = TUNED[task]
    criteria = [criterion for name, criterion in known if name == asked.sparsify]
    if not criteria:
        names = ", ".join(dict.fromkeys(name for name, _ in known))
        raise UsageError(
            f"pruningbench:{task} has no numbers for {asked.sparsify}", f"it has them for {names}"
        )
    criterion = asked.criterion or criteria[0]
    if criterion not in criteria:
        raise UsageError(
            f"pruningbench:{task} has no numbers for {asked.sparsify} and {criterion}",
            f"--criterion {' or '.join(criteria)}",
        )
    strength, *more = known[asked.sparsify, criterion]
    numbers: Options = {"strength": strength}
    rate = more[0] if more and more[0] else after["finetune_args"]["lr"]
    if len(more) == 2:
        numbers["delta"] = more[1]
    kept = {
        key: value for key, value in after["finetune_args"].items() if key not in ("milestones", "distill")
    }
    return {
        **found, "criterion": criterion, "sparsify_epochs": after["finetune_epochs"],
        "sparsify_args": {**kept, **numbers, "lr": rate},
    }  # fmt: skip


def _benched(task: str, speedup: float | None) -> Options:
    """Appendix A.2.3."""
    if task.endswith("cifar100"):
        return _after(100, (60, 80), lr=0.01, **_CIFAR_BATCHES)
    if task.startswith("vit"):
        rate = 1.5e-5 if speedup is not None and speedup <= 2 else 1.5e-4
        return _after(
            90, (), lr=rate, optimizer="adamw", weight_decay=0.3, batch_size=128, schedule="cosine",
            augment="imagenet",
        )  # fmt: skip
    return _after(90, (30, 60), lr=0.1, augment="imagenet", **_IMAGENET_BATCHES)


def _bench(task: str) -> Preset:
    model, data = task.rsplit("-", 1)
    return Preset(
        f"pruningbench:{task}", f"finetuning of {model} on {data}, and --sparsify as tuned for it",
        "PruningBench, Table 7 and appendix A.2", lambda asked: _pruningbench(task, asked),
    )  # fmt: skip


_GREG = "Wang et al. 2021 (GReg)"
PRESETS: Mapping[str, Preset] = {
    each.name: each
    for each in (
        Preset(
            "greg:cifar", "greg-1 or greg-2 for 105,000 steps and more, then 120 epochs", f"{_GREG}, Table 5",
            _greg_cifar,
        ),
        Preset(
            "greg:imagenet", "greg-1 or greg-2 for 90,000 steps, then 90 epochs", f"{_GREG}, Table 5",
            _greg_imagenet,
        ),
        Preset("greg:fast", "greg-1 or greg-2 in 1,500 steps: minutes on a CPU", _GREG, _greg_fast),
        Preset(
            "gradient-flow:cifar", "rounds of one epoch, 160 epochs in all",
            "Lubana and Dick 2021, appendices C and D", _lubana,
        ),
        *map(_bench, TUNED),
    )
}  # fmt: skip
