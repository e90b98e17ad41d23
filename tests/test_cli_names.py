"""Names known without torch are those of the registries."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from prunecli.cli import names
from prunecli.criteria import CRITERIA
from prunecli.criteria.normalize import NORMALIZE, REDUCE
from prunecli.errors import UsageError
from prunecli.losses import LOSSES
from prunecli.selection import SCHEMES


def test_static_names_are_those_of_the_registries() -> None:
    built_in = {name for name, criterion in CRITERIA.items() if _is_ours(criterion)}
    assert set(names.CRITERIA) == built_in
    assert list(names.CRITERIA) == sorted(built_in)
    assert set(names.WITH_DATA) == {name for name in built_in if CRITERIA[name].needs_data}
    assert set(names.WITH_LOSS) == {name for name in built_in if CRITERIA[name].needs_loss}
    assert names.LOSSES == LOSSES
    assert set(names.SCHEMES) == set(SCHEMES)
    assert set(names.NORMALIZE) == set(NORMALIZE)
    assert set(names.REDUCE) == set(REDUCE)


def _is_ours(criterion: Any) -> bool:
    return (criterion.statistic or criterion.of_group).__module__.startswith("prunecli.")


def test_installed_criteria_are_known_too(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "package:function", "prunecli.criteria")
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: EntryPoints([entry]).select(group=group)
    )
    names.require_known("criterion", "mine", names.CRITERIA, "prunecli.criteria")
    with pytest.raises(UsageError) as caught:
        names.require_known("criterion", "mines", names.CRITERIA, "prunecli.criteria")
    assert caught.value.hint == "did you mean mine?"


def test_a_criterion_that_looks_at_data_needs_some() -> None:
    names.require_data_for(["lamp", "taylor"], "noise")
    names.require_data_for(["lamp", "of-a-third-party"], None)
    with pytest.raises(UsageError, match="criterion 'taylor' needs data") as caught:
        names.require_data_for(["lamp", "taylor"], None)
    assert caught.value.hint == "--data SPEC, like --data imagefolder:DIR; --data noise works too"


def test_a_loss_that_no_criterion_has_is_refused_and_others_may_have_one() -> None:
    names.require_loss_for(["lamp"], None, 1.0)
    names.require_loss_for(["lamp", "taylor"], "mse", 5.0)
    names.require_loss_for(["of-a-third-party"], "mse", 5.0)
    with pytest.raises(UsageError, match="--loss mse is given"):
        names.require_loss_for(["lamp", "cp"], "mse", 5.0)
    with pytest.raises(UsageError, match="--temperature 5 is given"):
        names.require_loss_for(["lamp", "cp"], None, 5.0)
