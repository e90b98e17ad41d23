"""Names the command line must know before torch is imported. Tests hold them against the registries."""

from __future__ import annotations

from prunecli.errors import unknown_name

CRITERIA = ("bn-scale", "fpgm", "lamp", "magnitude-l1", "magnitude-l2", "random")
SCHEMES = ("global", "local", "protected", "uniform")
REDUCE = ("sum", "mean", "max", "first")
NORMALIZE = ("none", "mean", "max", "sum", "standard", "gaussian", "lamp")
DEVICES = ("auto", "cpu", "cuda", "mps")
TRANSFORMS = ("imagenet", "inception", "cifar", "mnist", "fashion-mnist", "signed", "unit", "none")
DATA = ("digits", "imagefolder:", "torchvision:", "npz:", "safetensors:", "noise")
REPAIR = ("lstsq", "bn", "none")
LISTS = ("criteria", "schemes", "networks")
REPORT_ENDINGS = (".json",)
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
