from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from prunecli import registry
from prunecli.errors import InputError, UsageError
from prunecli.regularizers import REGULARIZERS, find_regularizer, register_regularizer, regularizers
from prunecli.regularizers.registry import ENTRY_POINT_GROUP, REGISTRY

NAMES = ("bn-scale", "group-lasso", "group-norm", "growing-reg", "greg-1", "greg-2")


def test_every_name_of_the_documentation_is_there() -> None:
    assert set(NAMES) <= set(regularizers())


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_regularizer("group-laso")
    assert caught.value.hint is not None
    assert "group-lasso" in caught.value.hint


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        register_regularizer(REGULARIZERS["group-lasso"])


def test_numbers_are_those_it_has() -> None:
    method = find_regularizer("group-norm")
    assert method.values({"alpha": 2.0}) == {"strength": 1e-4, "alpha": 2.0}
    with pytest.raises(UsageError, match="no number 'beta'"):
        method.values({"beta": 1.0})
    with pytest.raises(UsageError, match="out of range"):
        method.values({"strength": -1.0})
    with pytest.raises(UsageError, match="out of range"):
        method.values({"strength": float("nan")})


def test_an_entry_point_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "nothing_like_it:MINE", ENTRY_POINT_GROUP)
    monkeypatch.setattr(REGISTRY, "loaded", False)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(InputError, match="regularizer 'mine' of 'nothing_like_it:MINE' does not load"):
        regularizers()
