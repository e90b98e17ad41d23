"""Names the command line must know before torch is imported. Tests hold them against the registries."""

from __future__ import annotations

from collections.abc import Iterable

from prunecli.errors import UsageError, needs_data, unknown_name

CRITERIA = (
    "activation", "bn-scale", "cp", "fisher", "fpgm", "grasp", "grasp-abs", "hrank", "lamp", "loss-magnitude",
    "loss-preservation", "magnitude-l1", "magnitude-l2", "obd-c", "obd-hessian", "random", "taylor", "thinet",
    "wanda",
)  # fmt: skip
WITH_LOSS = (
    "fisher", "grasp", "grasp-abs", "loss-magnitude", "loss-preservation", "obd-c", "obd-hessian", "taylor",
)  # fmt: skip
WITH_DATA = (*WITH_LOSS, "activation", "cp", "hrank", "thinet", "wanda")
LOSSES = ("cross-entropy", "mse", "kd")
REGULARIZERS = ("bn-scale", "greg-1", "greg-2", "group-lasso", "group-norm", "growing-reg")
PICKING = ("greg-1", "greg-2")
SCHEMES = ("global", "local", "protected", "uniform")
REDUCE = ("sum", "mean", "max", "first")
NORMALIZE = ("none", "mean", "max", "sum", "standard", "gaussian", "lamp")
DEVICES = ("auto", "cpu", "cuda", "mps")
TRANSFORMS = ("imagenet", "inception", "cifar", "mnist", "fashion-mnist", "signed", "unit", "none")
DATA = ("digits", "imagefolder:", "torchvision:", "npz:", "safetensors:", "noise")
REPAIR = ("lstsq", "bn", "none")
INIT = ("random",)
LISTS = ("criteria", "schemes", "regularizers", "presets", "networks")
REPORT_ENDINGS = (".json", ".md", ".csv", ".html")
DIFF_ENDINGS = (".json", ".md", ".csv", ".html")
SCORE_ENDINGS = (".json", ".csv")
SHELLS = ("bash", "zsh", "fish")


def require_known(kind: str, name: str, known: tuple[str, ...], entry_point_group: str | None = None) -> None:
    """Raise ``UsageError`` with the nearest names unless ``name`` is here or in an installed package."""
    if name in known:
        return
    # Slow to import, and not needed for a name that is known.
    from importlib.metadata import entry_points

    others = entry_points(group=entry_point_group).names if entry_point_group else set()
    if name not in others:
        raise unknown_name(kind, name, (*known, *others))


def require_loss_for(criteria: Iterable[str], loss: str | None, temperature: float) -> None:
    """Raise ``UsageError`` for a loss or a temperature that no criterion would look at. What a criterion of
    another package needs is not known here.
    """
    if all(name in CRITERIA and name not in WITH_LOSS for name in criteria):
        given = f"--loss {loss}" if loss is not None else f"--temperature {temperature:g}"
        if loss is not None or temperature != 1:
            raise UsageError(
                f"{given} is given, and no criterion here has a loss", "--criterion taylor has one"
            )


def require_data_for(criteria: Iterable[str], data: str | None) -> None:
    """Raise ``UsageError`` for a criterion that looks at data where there is none."""
    looking = next((name for name in criteria if name in WITH_DATA), None)
    if looking is not None and data is None:
        raise needs_data(looking)
