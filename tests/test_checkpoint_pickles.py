"""Pickles, opened here: what they may hold, and one line for each that holds anything else."""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from prunecli.checkpoint.pickles import NeedsCodeError, kind, load
from prunecli.errors import InputError


class Custom:
    """Needs code to unpickle."""


@pytest.mark.parametrize("as_zip", [True, False])
def test_containers_numbers_texts_and_tensors(as_zip: bool, tmp_path: Path) -> None:
    saved = {"w": torch.arange(3.0), "n": [1, 2.5, "x", None, True], "lr": np.float64(0.1), "i": np.int64(3)}
    torch.save(
        saved | {"args": argparse.Namespace(a=1)}, tmp_path / "x", _use_new_zipfile_serialization=as_zip
    )
    found = load(tmp_path / "x")
    assert isinstance(found, dict)
    assert torch.equal(found["w"], saved["w"])
    assert [found[name] for name in ("n", "lr", "i")] == [saved["n"], 0.1, 3]
    assert found["args"].a == 1


def test_the_kind_is_told_by_the_first_bytes() -> None:
    assert (kind(b"PK\x03\x04"), kind(b"\x80\x02")) == ("zip pickle", "pickle")


def script(path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(path))


def cut(path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-2000])


def huge(path: Path) -> None:
    """More elements than any memory has, in a storage that is yet to be read."""
    torch.save({"a": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes().replace(b"cpuq\x06K\x04", b"cpuq\x06\x8a\x07\x00\x00\x00\x00\x00\x00\x01")
    path.write_bytes(content)


REFUSED: dict[str, tuple[Callable[[Path], object], type[InputError], str]] = {
    "class": (lambda p: torch.save(Custom(), p), NeedsCodeError, r"asks for .*Custom"),
    "module": (
        lambda p: torch.save(nn.Linear(1, 1), p),
        NeedsCodeError,
        r"torch\.nn\.modules\.linear\.Linear",
    ),
    "function": (
        lambda p: p.write_bytes(pickle.dumps(os.system, 5)),
        NeedsCodeError,
        r"asks for \w+\.system",
    ),
    "script": (script, InputError, "is a TorchScript program"),
    "protocol": (
        lambda p: p.write_bytes(pickle.dumps({"a": 1}, 5)),
        InputError,
        "not one that torch.save makes",
    ),
    "cut": (cut, InputError, "is a damaged checkpoint"),
    "huge": (huge, InputError, "needs more memory than a file of its size may have"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, tmp_path: Path) -> None:
    make, error, reason = REFUSED[case]
    make(tmp_path / "x")
    with pytest.raises(error, match=reason) as raised:
        load(tmp_path / "x")
    assert "\n" not in raised.value.message
    assert raised.value.hint
