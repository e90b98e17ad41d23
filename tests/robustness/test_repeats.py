"""``repeats.py`` in short: twice, on one thread and on eight; the long form is in docs/testing.md."""

from __future__ import annotations

from . import repeats
from .repeats import MANY, Once, good, once


def test_same_bytes_on_one_thread_and_on_eight() -> None:
    runs = [once("without data", threads, number) for number, threads in enumerate((1, MANY))]
    assert [run.code for run in runs] == [0, 0], runs
    assert good(runs), runs


def test_difference_is_seen() -> None:
    run = Once("x", 1, 0, "a", "r", 1.0, "")
    assert good([run, run])
    for other in (
        Once("x", 8, 0, "b", "r", 1.0, ""), Once("x", 8, 0, "a", "s", 1.0, ""),
        Once("x", 8, 3, "a", "r", 1.0, "")
    ):  # fmt: skip
        assert not good([run, other])
    assert not good([Once("x", 1, 0, "", "", 1.0, "")])


def test_timings_alone_are_left_out() -> None:
    assert repeats._untimed({"timings": 1, "a": [{"seconds": 2, "b": 3}]}) == {"a": [{"b": 3}]}
