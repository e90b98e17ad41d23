"""From what training scripts save to a plain state_dict: what is found, what is said, what lay around."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from prunecli.checkpoint.unwrapping import unwrap
from prunecli.errors import InputError

WEIGHTS = OrderedDict((("a.weight", torch.arange(6.0).reshape(2, 3)), ("a.bias", torch.ones(2))))
OTHER = {name: tensor + 1 for name, tensor in WEIGHTS.items()}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in WEIGHTS.items()}


Layout = tuple[object, tuple[str, ...], tuple[str, ...]]
LAYOUTS: dict[str, Layout] = {
    "plain": (WEIGHTS, (), ()),
    "around": (
        {"state_dict": WEIGHTS, "epoch": 3, "optimizer": {"state": {}}},
        ("under 'state_dict'",),
        ("epoch", "optimizer"),
    ),
    "nested": ({"model": {"state_dict": WEIGHTS}, "n": 1}, ("under 'model.state_dict'",), ("n",)),
    "beside numbers": ({"net": WEIGHTS, "loss": torch.tensor(0.5)}, ("under 'net'",), ("loss",)),
    "parallel": (prefixed("module."), ("prefix 'module.' removed",), ()),
    "compiled": (prefixed("_orig_mod.module."), ("prefix '_orig_mod.module.' removed",), ()),
    "compiled inside": (
        {name.replace("a.", "a._orig_mod."): tensor for name, tensor in WEIGHTS.items()},
        ("'_orig_mod' removed from inside names",),
        (),
    ),
    "averaged": (
        {"n_averaged": torch.tensor(3)} | prefixed("module."), ("prefix 'module.' removed",), ("n_averaged",)
    ),
    "own word": ({"generator": WEIGHTS, "steps": 9}, ("under 'generator'",), ("steps",)),
    "parameters": (OrderedDict((n, nn.Parameter(t)) for n, t in WEIGHTS.items()), (), ()),
    "other keys": ({**WEIGHTS, 7: torch.ones(1), "args": argparse.Namespace(lr=1)}, (), ("args",)),
    "scores": (
        {"model": WEIGHTS, "acc": np.float64(0.7), "ema": OTHER},
        ("under 'model'", "the averaged weights beside 'model' are not used"),
        ("acc", "ema"),
    ),
    "average alone": ({"ema": WEIGHTS, "model": None}, ("under 'ema'",), ("model",)),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    saved, notes, dropped = LAYOUTS[layout]
    found = unwrap(saved)
    assert found.tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in WEIGHTS.items())
    assert not any(tensor.requires_grad for tensor in found.tensors.values())
    assert (found.notes, found.dropped) == (notes, dropped)


def test_names_that_would_meet_stay_apart() -> None:
    both = {"a._orig_mod.w": torch.ones(1), "a.w": torch.zeros(1)}
    assert unwrap(both).tensors.keys() == both.keys()
    some = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert unwrap(some).tensors.keys() == some.keys()


def test_what_holds_itself_is_not_followed_for_ever() -> None:
    saved: dict[str, object] = dict(WEIGHTS)
    saved["model"] = saved
    assert unwrap(saved).tensors.keys() == WEIGHTS.keys()


def wrapped(levels: int, inner: object) -> object:
    for _ in range(levels):
        inner = {"model": inner}
    return inner


def doubled(levels: int) -> Mapping[str, object]:
    """Small in memory, and 2^levels things for whoever walks it."""
    level: dict[str, object] = {"x": 1}
    for _ in range(levels):
        level = {"model": level, "state_dict": level, "net": level, "ema": level}
    return level


@pytest.mark.parametrize(
    ("saved", "reason"),
    [
        ([1, 2], "the file holds a list"),
        (torch.ones(2), "the file holds a Tensor"),
        ({}, "no weights found; the file holds nothing"),
        ({"epoch": 3}, "no weights found; the file holds 'epoch'"),
        ({"g": WEIGHTS, "d": OTHER}, r"several sets of weights found \(g, d\)"),
        (wrapped(40, WEIGHTS), "no weights found; the file holds 'model'"),
        (doubled(60), "no weights found"),
    ],
)
def test_refusals(saved: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        unwrap(saved)
