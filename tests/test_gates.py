from __future__ import annotations

from math import inf, nan

import pytest

from prunecli.errors import GateError, ImpossibleError, UsageError
from prunecli.gates import Figures, Gates, failure, require_passed
from prunecli.report.figures import Quality
from prunecli.report.gated import Gate
from prunecli.report.model import Totals

FIGURES = Figures(5000, 10**9, 20_000, 2.5, 0.92, 0.01, 0.95)
AT_THE_LIMIT = [
    ("max_params", 5000, "parameters"), ("max_macs", 10**9, "MACs"), ("max_bytes", 20_000, "bytes"),
    ("max_latency", 2.5, "ms"), ("min_accuracy", 0.92, "fraction"), ("max_drop", 0.01, "fraction"),
    ("min_agreement", 0.95, "fraction"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "limit", "unit"), AT_THE_LIMIT)
def test_a_figure_at_the_limit_keeps_it_and_one_beyond_does_not(name: str, limit: float, unit: str) -> None:
    step = 1 if unit in ("parameters", "MACs", "bytes") else 1e-9
    inward = limit + step if name.startswith("min") else limit - step
    (gate,) = Gates.of({name: limit}).judged(FIGURES)
    assert gate == Gate(name.replace("_", "-"), limit, limit, unit, True)
    (gate,) = Gates.of({name: inward}).judged(FIGURES)
    assert (gate.limit, gate.found, gate.passed) == (inward, limit, False)


@pytest.mark.parametrize("name", [name for name, _, _ in AT_THE_LIMIT])
@pytest.mark.parametrize("found", [None, nan, inf])
def test_without_a_figure_no_gate_holds(name: str, found: float | None) -> None:
    figures = Figures(**{name.partition("_")[2]: found})  # type: ignore[arg-type]
    limit = 0.5 if name in ("min_accuracy", "max_drop", "min_agreement") else 10
    (gate,) = Gates.of({name: limit}).judged(figures)
    assert (gate.found, gate.passed) == (None, False)


@pytest.mark.parametrize(("dense", "right", "passes"), [(99, 98, True), (990, 980, True), (99, 97, False)])
def test_a_drop_of_one_point_is_within_one_point(dense: int, right: int, passes: bool) -> None:
    """As floating numbers 0.99 - 0.98 is above 0.01."""
    count = 10 ** len(str(dense))
    figures = Figures.of(None, Quality(count, right / count), Quality(count, dense / count))
    (gate,) = Gates.of({"max_drop": 0.01}).judged(figures)
    assert gate.passed is passes


def test_figures_are_taken_from_what_there_is() -> None:
    assert Figures.of(Totals(1, 2, 3)) == Figures(1, 2, 3)
    found = Figures.of(None, Quality(9, 0.5, agreement=0.25), Quality(9, 0.75), 1.5)
    assert found == Figures(None, None, None, 1.5, 0.5, 0.25, 0.25)
    assert Figures.of(None, Quality(9, error=0.1)) == Figures()
    assert Figures.of(None, Quality(9, 0.8), Quality(9, 0.7)).drop == -0.1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_param": 5}, "unknown gate 'max_param'"),
        ({"max_params": 0}, "--max-params 0 is out of range"),
        ({"max_macs": nan}, "--max-macs nan is out of range"),
        ({"max_bytes": inf}, "--max-bytes inf is out of range"),
        ({"max_latency": 0}, "--max-latency 0 is out of range"),
        ({"min_accuracy": 92}, "--min-accuracy 92 is out of range"),
        ({"max_drop": 1}, "--max-drop 1 is out of range"),
        ({"max_drop": -0.01}, "--max-drop -0.01 is out of range"),
        ({"min_agreement": nan}, "--min-agreement nan is out of range"),
    ],
)
def test_limits_that_are_none_are_wrong_usage(given: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Gates.of(given)
    assert caught.value.message == message
    assert caught.value.hint


def test_none_are_set_unless_given() -> None:
    assert Gates.of(None) == Gates.of({}) == Gates()
    assert (Gates().set, Gates().for_api, Gates().judged(FIGURES)) == ({}, {}, ())
    assert not Gates().asks_sizes and not Gates().asks_quality
    mixed = Gates.of({"max_bytes": 9, "min_agreement": 0.5})
    assert mixed.asks_sizes and mixed.asks_quality
    assert mixed.of_sizes == Gates(max_bytes=9)
    assert mixed.for_api == {"gates": {"max_bytes": 9, "min_agreement": 0.5}}
    assert Gates.of(mixed) is mixed


@pytest.mark.parametrize(
    ("gates", "data", "eval_data", "trains", "message"),
    [
        (Gates(min_accuracy=0.9), None, None, False, "--min-accuracy needs labelled data"),
        (Gates(max_drop=0.1), None, None, True, "--max-drop needs labelled data"),
        (Gates(min_agreement=0.9), None, None, False, "--min-agreement needs data"),
        (Gates(min_accuracy=0.9), "noise", None, False, "--min-accuracy needs labels, and noise has none"),
        (Gates(min_accuracy=0.9), "digits", "noise", True, "--min-accuracy needs labels, and noise has none"),
        (Gates(min_agreement=0.9), "npz:x", None, True, "--min-agreement needs data to measure on"),
        (Gates(min_agreement=0.9), "noise", None, False, None),
        (Gates(min_accuracy=0.9), "npz:x", None, False, None),
        (Gates(min_accuracy=0.9), "npz:x", "npz:y", True, None),
        (Gates(min_accuracy=0.9), "digits", None, True, None),
        (Gates(max_params=9), None, None, True, None),
    ],
)
def test_what_a_gate_must_have_is_asked_first(
    gates: Gates, data: str | None, eval_data: str | None, trains: bool, message: str | None
) -> None:
    if message is None:
        gates.require_data(data, eval_data, trains=trains)
        return
    with pytest.raises(UsageError, match=message):
        gates.require_data(data, eval_data, trains=trains)


def test_a_comparison_needs_a_dense_network_and_accuracy_labels() -> None:
    Gates(min_accuracy=0.5).require_dense(False, "")
    Gates(max_drop=0.5).require_dense(True, "")
    for gates in (Gates(max_drop=0.5), Gates(min_agreement=0.5)):
        with pytest.raises(UsageError, match="compares with the dense network") as caught:
            gates.require_dense(False, "--against DENSE")
        assert caught.value.hint == "--against DENSE"
    Gates(min_agreement=0.5).require_labels(False, "npz:x")
    Gates(min_accuracy=0.5).require_labels(True, "npz:x")
    with pytest.raises(UsageError, match="--min-accuracy needs labels, and npz:x has none"):
        Gates(min_accuracy=0.5).require_labels(False, "npz:x")


def test_the_first_that_failed_is_named_and_the_rest_counted() -> None:
    gates = Gates.of({"max_params": 6000, "max_macs": 10, "max_latency": 1, "min_accuracy": 0.99}).judged(
        Figures(5000, 20, None, None, 0.92)
    )
    error = failure(gates)
    assert isinstance(error, ImpossibleError)
    assert error.exit_code == 4
    assert error.message == "--max-macs 10 MACs is not met: it is 20 MACs (2 of 4 gates failed, 1 not judged)"
    assert error.gates == gates
    assert "--resume" in (failure(gates, resumable=True).hint or "")
    with pytest.raises(GateError):
        require_passed(gates)
    require_passed(())
    require_passed(gates[:1])


def test_a_gate_without_any_figure_says_so() -> None:
    error = failure(Gates(max_latency=2.5).judged(Figures()))
    assert error.message == (
        "--max-latency 2.5 ms could not be judged: there is no figure (1 of 1 gate failed)"
    )
