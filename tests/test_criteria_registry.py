"""Registering criteria here and through entry points."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest
import torch
from spaces import chain
from torch import Tensor

from prunecli import registry as room
from prunecli.criteria import (
    CRITERIA,
    Criterion,
    GroupView,
    SlotView,
    criteria,
    register_criterion,
    registry,
    score,
)
from prunecli.errors import InputError


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = dict(CRITERIA)
    registry.REGISTRY.loaded = False
    yield
    CRITERIA.clear()
    CRITERIA.update(before)
    registry.REGISTRY.loaded = False


def fourth_power(slot: SlotView) -> Tensor | None:
    return slot.sum(slot.weight.double() ** 4) if slot.role == "out" else None


def longest_row(slot: SlotView) -> Tensor:
    return slot.rows().abs().amax(1)


def index(view: GroupView) -> Tensor:
    return torch.arange(view.group.size, dtype=torch.float64)


MINE = Criterion("mine", "fourth power of the filters", "here", fourth_power)


def test_a_criterion_of_the_users_own() -> None:
    register_criterion(MINE)
    sketch = chain(6, 5)
    tensors = sketch.tensors()
    values = score(sketch.space(), tensors, "mine", normalize="none").by_group["g1"]
    torch.testing.assert_close(values, (tensors["conv1.weight"].double() ** 4).sum((1, 2, 3)).float())


def test_rows_and_whole_groups() -> None:
    register_criterion(Criterion("rows", "largest weight", "here", longest_row))
    register_criterion(Criterion("index", "by position", "here", of_group=index))
    sketch = chain(6)
    tensors = sketch.tensors()
    values = score(sketch.space(), tensors, "rows", reduce="first", normalize="none").by_group["g0"]
    torch.testing.assert_close(values, tensors["conv0.weight"].abs().amax((1, 2, 3)))
    assert score(sketch.space(), tensors, "index", normalize="none").by_group["g0"].tolist() == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_a_name_is_taken_once() -> None:
    register_criterion(MINE)
    with pytest.raises(ValueError, match="'mine' is registered twice"):
        register_criterion(MINE)


def test_a_criterion_needs_one_way_to_score() -> None:
    with pytest.raises(ValueError, match="needs either a statistic or of_group"):
        register_criterion(Criterion("empty", "nothing", "here"))


def test_every_criterion_says_what_it_is_and_where_it_is_from() -> None:
    assert {"random", "magnitude-l1", "magnitude-l2", "bn-scale", "lamp", "fpgm"} <= set(criteria())
    assert all(criterion.summary and criterion.source for criterion in criteria().values())


def entry(value: str) -> EntryPoint:
    return EntryPoint("mine", value, registry.ENTRY_POINT_GROUP)


def test_entry_points_are_loaded_when_a_name_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "entry_points", lambda group: [entry("test_criteria_registry:MINE")])
    sketch = chain(6)
    assert set(score(sketch.space(), sketch.tensors(), "mine").by_group) == {"g0"}
    assert "mine" in criteria()


def test_an_entry_point_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "entry_points", lambda group: [entry("test_criteria_registry:absent")])
    with pytest.raises(InputError, match="criterion 'mine' of 'test_criteria_registry:absent' does not load"):
        criteria()
