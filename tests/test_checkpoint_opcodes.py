"""Names are read off opcodes of every protocol and form, without building anything."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import urllib.request
import zipfile
from collections import OrderedDict, UserDict
from pathlib import Path

import numpy as np
import pytest
import torch

from prunecli.checkpoint.opcodes import names, wanted


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return shutil.rmtree, ("/nowhere",)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pickle.dumps({"a": 1, "b": [Hostile()]}, protocol))
    assert wanted(tmp_path / "x") == "shutil.rmtree"


class Old:
    """Its name was another in Python 2, as a pickler writes it up to protocol 2."""

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def __reduce__(self) -> tuple[object, ...]:
        return self.thing, ("/nowhere",)


@pytest.mark.parametrize("protocol", range(6))
def test_names_are_those_of_today(protocol: int, tmp_path: Path) -> None:
    for thing, name in (
        (subprocess.Popen, "subprocess.Popen"), (eval, "builtins.eval"),
        (urllib.request.urlopen, "urllib.request.urlopen"), (UserDict, "collections.UserDict"),
    ):  # fmt: skip
        (tmp_path / "x").write_bytes(pickle.dumps(Old(thing), protocol))
        assert names(tmp_path / "x") == [name]


def test_a_name_of_old_is_left_where_a_new_protocol_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x80\x04c__builtin__\neval\n.")
    assert names(tmp_path / "x") == ["__builtin__.eval"]


@pytest.mark.parametrize("as_zip", [True, False])
def test_every_form_of_torch(as_zip: bool, tmp_path: Path) -> None:
    """In the old form it is the fourth pickle of five."""
    torch.save({"a": torch.ones(2), "b": Hostile()}, tmp_path / "x", _use_new_zipfile_serialization=as_zip)
    assert wanted(tmp_path / "x") == "shutil.rmtree"


@pytest.mark.parametrize("as_zip", [True, False])
def test_weights_want_nothing(as_zip: bool, tmp_path: Path) -> None:
    saved = OrderedDict(a=torch.ones(2), b=torch.nn.Parameter(torch.ones(3)), c=np.float64(1))
    torch.save(saved, tmp_path / "x", _use_new_zipfile_serialization=as_zip)
    assert wanted(tmp_path / "x") is None


def test_opcodes_that_build_otherwise(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"(S'true'\nios\nsystem\n.")
    assert wanted(tmp_path / "x") == "os.system"


def test_what_comes_before_the_damage_is_named(tmp_path: Path) -> None:
    content = pickle.dumps([os.system, 1], 2)
    (tmp_path / "x").write_bytes(content[:-1] + b"\xff\xff")
    assert wanted(tmp_path / "x") == f"{os.system.__module__}.system"
    (tmp_path / "y").write_bytes(b"\xff")
    assert wanted(tmp_path / "y") is None


def test_not_every_pickle_of_a_long_row_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pickle.dumps(1, 2) * 1000 + pickle.dumps(os.system, 2))
    assert wanted(tmp_path / "x") is None


def test_files_that_are_no_pickle(tmp_path: Path) -> None:
    assert wanted(tmp_path / "missing") is None
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("y", b"z")
    assert wanted(tmp_path / "x") is None
