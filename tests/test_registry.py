from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from prunecli import registry
from prunecli.errors import InputError, UsageError
from prunecli.registry import Registry


@dataclass(frozen=True)
class Sort:
    name: str


OURS, THEIRS = Sort("ours"), Sort("theirs")


def sorts() -> Registry[Sort]:
    def check(sort: Sort) -> None:
        if not sort.name.islower():
            raise ValueError(f"'{sort.name}' shouts")

    made = Registry("sort", "nobody.sorts", Sort, check)
    made.add(OURS)
    return made


def entered(monkeypatch: pytest.MonkeyPatch, *values: str) -> list[str]:
    """The groups that were looked into, from here on."""
    asked: list[str] = []

    def entry_points(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint("theirs", value, group) for value in values]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return asked


def test_entry_points_are_loaded_once_and_only_where_a_name_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, known = entered(monkeypatch, "test_registry:THEIRS"), sorts()
    assert known.find("ours") is OURS
    assert asked == []
    assert known.find("theirs").name == "theirs"
    assert set(known.all()) == {"ours", "theirs"}
    assert asked == ["nobody.sorts"]


def test_a_module_registers_what_it_has_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    entered(monkeypatch, "test_registry")
    assert set(sorts().all()) == {"ours"}


def test_what_cannot_be_added() -> None:
    known = sorts()
    with pytest.raises(ValueError, match="sort 'ours' is registered twice"):
        known.add(Sort("ours"))
    with pytest.raises(ValueError, match="'LOUD' shouts"):
        known.add(Sort("LOUD"))
    assert set(known.values) == {"ours"}


def test_an_unknown_name_gets_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    entered(monkeypatch)
    with pytest.raises(UsageError, match="unknown sort 'our'"):
        sorts().find("our")


def test_one_that_does_not_load_is_named_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, known = entered(monkeypatch, "test_registry:absent"), sorts()
    for _ in range(2):
        with pytest.raises(InputError, match="the sort 'theirs' of 'test_registry:absent' does not load"):
            known.all()
    assert len(asked) == 2
