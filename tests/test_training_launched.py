from __future__ import annotations

import pytest

from prunecli.errors import UsageError
from prunecli.training.launched import Launched, ToldElsewhereError, launched, said_once


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, Launched()),
        ({"RANK": "3"}, Launched()),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, Launched()),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"},
            Launched(5, 8, 1, 4),
        ),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Launched(1, 2, 1, 2)),
    ],
)
def test_what_torchrun_says(environment: dict[str, str], wanted: Launched) -> None:
    assert launched(environment) == wanted
    assert wanted.leads == (wanted.rank == 0)


@pytest.mark.parametrize("rank", ["2", "-1", "one"])
def test_an_environment_that_cannot_be(rank: str) -> None:
    with pytest.raises(
        UsageError, match=f"the environment is that of no torchrun: RANK={rank}, WORLD_SIZE=2"
    ):
        launched({"RANK": rank, "WORLD_SIZE": "2"})


def test_what_all_find_is_said_by_the_first_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    error = UsageError("no data given")
    assert said_once(error) is error
    for name, value in (("RANK", "2"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert said_once(error) is error
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert isinstance(said_once(error), ToldElsewhereError)
