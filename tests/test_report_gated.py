from __future__ import annotations

import pytest

from prunecli.report.gated import Gate, amount, passed, rows

GATES = (
    Gate("max-params", 5_000_000, 5_000_000, "parameters", True),
    Gate("max-latency", 2.5, 2.75, "ms", False),
    Gate("min-accuracy", 0.92, None, "fraction", False),
)


def test_in_words() -> None:
    assert list(rows(GATES)) == [
        ("--max-params", "at most 5,000,000 parameters", "5,000,000 parameters", "passed"),
        ("--max-latency", "at most 2.5 ms", "2.75 ms", "FAILED"),
        ("--min-accuracy", "at least 92%", "-", "not judged"),
    ]


def test_all_must_hold() -> None:
    assert passed(()) and passed(GATES[:1])
    assert not passed(GATES[:2]) and not passed(GATES[2:])


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (12_700_100, "MACs", "12,700,100 MACs"),
        (1024, "bytes", "1,024 bytes"),
        (100, "ms", "100 ms"),
        (0.91944444, "fraction", "91.9444%"),
        (-0.01, "fraction", "-1%"),
        (1.0, "fraction", "100%"),
        (1, "parameters", "1 parameter"),
        (0, "MACs", "0 MACs"),
        (5e6, "parameters", "5,000,000 parameters"),
        (123_456.7, "ms", "123,457 ms"),
        (0.000001, "ms", "0.000001 ms"),
        (1e-9, "fraction", "0.0000001%"),
    ],
)
def test_figures_can_be_told_from_their_limit(value: float, unit: str, said: str) -> None:
    assert amount(value, unit) == said


@pytest.mark.parametrize(
    ("limit", "found", "unit", "said"),
    [
        (10.0, 10.0001, "ms", ("10 ms", "10.0001 ms")),
        (123_456.0, 123_456.25, "ms", ("123,456 ms", "123,456.2 ms")),
        (0.9194444, 0.91944441, "fraction", ("91.94444%", "91.944441%")),
        (2.5, 2.75, "ms", ("2.5 ms", "2.75 ms")),
        (10.0, 10.0, "ms", ("10 ms", "10 ms")),
    ],
)
def test_what_differs_is_told_apart(limit: float, found: float, unit: str, said: tuple[str, str]) -> None:
    assert (amount(limit, unit, found), amount(found, unit, limit)) == said
