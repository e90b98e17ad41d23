"""The names of the Python API, each from its module on first use."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch

import prunecli


@pytest.mark.parametrize("name", [name for name in prunecli.__all__ if name != "__version__"])
def test_every_name_is_there(name: str) -> None:
    value = getattr(prunecli, name)
    assert callable(value)
    assert value.__name__ == name
    assert name in dir(prunecli)


def test_the_module_verify_does_not_hide_the_function() -> None:
    assert isinstance(importlib.import_module("prunecli.proofs"), ModuleType)
    assert not isinstance(prunecli.verify, ModuleType)


@pytest.mark.parametrize(
    ("register", "taken"), [("register_operator", "aten.mm"), ("register_adapter", torch.chunk)]
)
def test_what_is_there_already_is_found_taken(register: str, taken: object) -> None:
    with pytest.raises(ValueError, match="already has"):
        getattr(prunecli, register)(taken)(lambda *_: None)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'prnue'"):
        prunecli.prnue  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert prunecli.__version__ == version("prunecli")


def test_no_module_of_the_data_room_hides_a_name_of_it() -> None:
    """Importing a submodule sets its name on the package, so the two must not share one."""
    from pkgutil import iter_modules

    from prunecli import data

    for found in iter_modules(data.__path__):
        importlib.import_module(f"prunecli.data.{found.name}")
    for name in data.__all__:
        assert not isinstance(getattr(data, name), ModuleType)
        assert name in dir(data)
