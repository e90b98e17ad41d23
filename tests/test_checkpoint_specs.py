"""Inputs as a recipe records them: there and back, and none that a forward could not have."""

from __future__ import annotations

from typing import Any

import pytest

from prunecli.checkpoint.specs import InputSpec, checked_inputs
from prunecli.errors import InputError

SPECS = (
    InputSpec(None, "float32", (1, 3, 8, 8)),
    InputSpec("batch.images.0", "int64", (1, 5), (0, 99)),
    InputSpec("batch.mask", "bool", (1, 5)),
)


def row(**changed: Any) -> dict[str, Any]:
    return {"name": None, "dtype": "float32", "shape": [1, 3], "bounds": None, **changed}


def test_there_and_back() -> None:
    assert checked_inputs([spec.to_json() for spec in SPECS], "inputs") == SPECS


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row(dtype="complex64")], r"inputs\[0\]\.dtype is 'complex64'"),
        ([row(name="")], "no argument of a forward"),
        ([row(name="a b")], "no argument of a forward"),
        ([row(name="__class__")], "no argument of a forward"),
        ([row(name="a..b")], "no argument of a forward"),
        ([row(name=".".join("abcdefghijkl"))], "no argument of a forward"),
        ([row(name=1)], "a short text"),
        ([row(name="x"), row(name="x")], "gives one argument twice"),
        ([row(name="x"), row(name="x.0")], "gives one argument twice"),
        ([row(shape=[2**20, 2**20])], "elements, more than"),
        ([row(shape=[2**27]), row(shape=[2**28])], "elements, more than"),
        ([row()] * 1000, "entries, more than"),
        ([row(extra=1)], "unknown field 'extra'"),
    ],
)
def test_refusals(rows: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        checked_inputs(rows, "inputs")
