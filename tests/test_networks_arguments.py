"""--arch-arg and --input, as typed."""

from __future__ import annotations

import pytest

from prunecli.checkpoint import InputSpec
from prunecli.errors import UsageError
from prunecli.networks import parse_arguments, parse_input


def test_arguments() -> None:
    typed = ["a=10", "b=0.5", "c=true", "d=False", "e=null", "f=relu", "g=", "h=x=y", "i=[1]"]
    assert parse_arguments(typed) == {
        "a": 10, "b": 0.5, "c": True, "d": False, "e": None, "f": "relu", "g": "", "h": "x=y", "i": "[1]",
    }  # fmt: skip


@pytest.mark.parametrize("pair", ["a", "=1", "a-b=1", ""])
def test_arguments_that_are_none(pair: str) -> None:
    with pytest.raises(UsageError):
        parse_arguments([pair])


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("3,224,224", InputSpec(None, "float32", (1, 3, 224, 224))),
        ("3x32x32", InputSpec(None, "float32", (1, 3, 32, 32))),
        ("ids:1,128", InputSpec("ids", "float32", (1, 128))),
        ("ids:int64:1,128", InputSpec("ids", "int64", (1, 128))),
        ("images.0:3,320,320", InputSpec("images.0", "float32", (3, 320, 320))),
        ("batch.mask:bool:1,9", InputSpec("batch.mask", "bool", (1, 9))),
    ],
)
def test_input(text: str, spec: InputSpec) -> None:
    assert parse_input(text) == spec


@pytest.mark.parametrize(
    "text",
    ["", "3,,4", "3,-1", "3,0", "a", "1-x:3", "a:b:c:3", "a:int65:3", "3,1.5", "a..b:3", "0.a:3", "a.:3"],
)
def test_input_that_is_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_input(text)


@pytest.mark.parametrize(("typed", "dtype"), [("long", "int64"), ("half", "float16"), ("double", "float64")])
def test_types_as_torch_calls_them(typed: str, dtype: str) -> None:
    assert parse_input(f"ids:{typed}:1,8") == InputSpec("ids", dtype, (1, 8))


def test_an_input_with_an_equals_sign() -> None:
    with pytest.raises(UsageError, match=r"--input 'x=2,8' is not \[name:\[dtype:\]\]shape"):
        parse_input("x=2,8")
