"""``--data SPEC`` in its parts, and what can be said of it before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from prunecli.errors import UsageError, did_you_mean, unknown_name

KINDS = ("digits", "imagefolder", "torchvision", "npz", "safetensors", "noise")
FUNCTION = "function"

Arguments: TypeAlias = Mapping[str, str | bool]

_TRAIN: tuple[Arguments, Arguments] = ({"train": True}, {"train": False})
_SPLIT: tuple[Arguments, Arguments] = ({"split": "train"}, {"split": "test"})
_TRAINVAL: tuple[Arguments, Arguments] = ({"split": "trainval"}, {"split": "test"})
_WITH_VAL: tuple[Arguments, Arguments] = ({"split": "train"}, {"split": "val"})
_ONE: tuple[Arguments, Arguments] = ({}, {})

IDX_SETS = ("FashionMNIST", "KMNIST", "MNIST")
"""Stored as four idx files, which are read as they are."""

SETS: Mapping[str, tuple[Arguments, Arguments]] = {
    **dict.fromkeys(IDX_SETS, _TRAIN),
    **dict.fromkeys(("CIFAR10", "CIFAR100", "QMNIST", "USPS"), _TRAIN),
    **dict.fromkeys(
        ("Country211", "DTD", "Flowers102", "Food101", "GTSRB", "RenderedSST2", "STL10", "SVHN"), _SPLIT
    ),
    "StanfordCars": _SPLIT,
    **dict.fromkeys(("FGVCAircraft", "OxfordIIITPet"), _TRAINVAL),
    "Imagenette": _WITH_VAL,
    **dict.fromkeys(("Caltech101", "Caltech256", "EuroSAT", "SEMEION", "SUN397"), _ONE),
}
"""torchvision's classification sets by their arguments for the training and the test part."""


@dataclass(frozen=True)
class DataSpec:
    """``kind`` is one of ``KINDS`` or ``FUNCTION``, ``text`` as typed. ``place`` is a path; ``name`` a set of
    torchvision or a function.
    """

    kind: str
    text: str
    place: str = ""
    name: str = ""

    @property
    def shown(self) -> str:
        """As typed, with names for paths, so that a report can be passed on."""
        if not self.place:
            return self.text
        file = Path(self.place).name or Path(self.place).resolve().name
        if self.kind == FUNCTION:
            return f"{file}:{self.name}"
        return ":".join(part for part in (self.kind, self.name, file) if part)


def is_divided(text: str) -> bool:
    """Whether the source comes in a training and a test part. Raises ``UsageError`` for what is none."""
    spec = parse(text)
    return spec.kind == "digits" or (spec.kind == "torchvision" and SETS[spec.name] is not _ONE)


def parse(text: str) -> DataSpec:
    """``text`` in its parts. Raises ``UsageError`` with what may have been meant."""
    kind, colon, rest = text.partition(":")
    where, _, function = text.rpartition(":")
    if where.endswith(".py") and function.isidentifier():
        return DataSpec(FUNCTION, text, where, function)
    if kind in ("digits", "noise"):
        if colon:
            raise UsageError(f"--data {text}: nothing follows {kind}", f"--data {kind}")
        return DataSpec(kind, text)
    if kind not in KINDS:
        raise _unknown(text, kind)
    if kind != "torchvision":
        if not rest:
            what = "DIR" if kind == "imagefolder" else "FILE"
            raise UsageError(f"--data {text} names no {what}", f"--data {kind}:{what}")
        return DataSpec(kind, text, rest)
    name, _, place = rest.partition(":")
    if name not in SETS:
        raise unknown_name("set of torchvision", name, SETS)
    if not place:
        raise UsageError(f"--data {text} names no folder", f"--data torchvision:{name}:DIR")
    return DataSpec(kind, text, place, name)


def _unknown(text: str, kind: str) -> UsageError:
    path = Path(text)
    if path.suffix in (".npz", ".safetensors"):
        return UsageError(f"--data {text} does not say what it is", f"--data {path.suffix[1:]}:{text}")
    if path.suffix == ".py":
        return UsageError(f"--data {text} names no function", f"--data {text}:FUNCTION")
    if path.is_dir():
        return UsageError(f"--data {text} does not say what it is", f"--data imagefolder:{text}")
    known = ", ".join((*KINDS, "FILE.py:function"))
    return UsageError(f"unknown data source '{kind}'", did_you_mean(kind, KINDS) or f"known: {known}")


def shown(origin: str) -> str:
    """``origin`` (a source as typed, or any words) with the names of files for their paths."""
    try:
        return parse(origin).shown
    except UsageError:
        return origin
