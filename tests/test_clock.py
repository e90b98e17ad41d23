"""Seconds per stage, on a clock of the test's own."""

from __future__ import annotations

import pytest

from prunecli.clock import Clock


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock on the wall shows: the only element."""
    now = [100.0]
    monkeypatch.setattr("prunecli.clock.perf_counter", lambda: now[0])
    return now


def test_a_stage_entered_twice_has_the_sum(time: list[float]) -> None:
    clock = Clock()
    for name, seconds in (("trace", 2.0), ("count", 0.5), ("trace", 3.0)):
        with clock.stage(name):
            time[0] += seconds
        time[0] += 10
    assert clock.seconds == {"trace": 5.0, "count": 0.5}


def test_whoever_watches_is_told_before_the_stage_begins(time: list[float]) -> None:
    told: list[str] = []
    clock = Clock(told.append)
    with clock.stage("trace"):
        assert told == ["trace"]
        assert clock.seconds == {}
    with clock.stage("count"):
        pass
    assert told == ["trace", "count"]


def test_a_stage_that_fails_has_no_seconds(time: list[float]) -> None:
    clock = Clock()
    with pytest.raises(KeyError), clock.stage("trace"):
        raise KeyError
    assert clock.seconds == {}
