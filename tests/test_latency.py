"""Latency for a report. How fast anything is, no test says; only what must come first."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import fake_clock
import jsonschema
import pytest
import torch
from fake_clock import Costs, now
from resnet8 import Own
from torch import Tensor, nn

import prunecli
from prunecli.checkpoint.specs import InputSpec
from prunecli.latency import Measured, measured, spread
from prunecli.racing import Effort
from prunecli.report.model import LayerRow
from prunecli.report.schema import json_schema
from prunecli.report.timed import Latency, LayerLatency, Spread
from prunecli.threads import limited

CPU = torch.device("cpu")
ROW = InputSpec(None, "float32", (3, 4))
EXACT = Effort(enough=5, brief=0.0)


@pytest.fixture(autouse=True)
def clock() -> None:
    fake_clock.start()


def row(name: str, macs: tuple[int, int] = (0, 0)) -> LayerRow:
    return LayerRow(name, "", (64, 64), (36, 36), 0, 0, *macs, 0.0)


def timed(before: nn.Module, after: nn.Module | None = None, *names: str, **more: Any) -> Measured:
    return measured(before, after, [ROW], [row(name) for name in names], device=CPU, **more)


def latency(found: Measured) -> Latency:
    assert found.latency is not None, found.notes
    return found.latency


def close(a: Spread, b: tuple[float, float, float]) -> bool:
    return (a.low, a.median, a.high) == pytest.approx(b)


def test_the_median_and_tenths() -> None:
    assert close(spread([5.0]), (5.0, 5.0, 5.0))
    assert close(spread([4, 2, 1, 3, 5, 6, 7, 8, 9, 10, 11]), (2.0, 6.0, 10.0))
    assert close(spread([10.0, 0.0]), (1.0, 5.0, 9.0))


def test_two_networks_by_a_clock_that_they_move() -> None:
    warm = (900.0, 900.0)
    dense = nn.Sequential(Costs("a", *warm, 10, 50, 20, 40, 30, 8, 8, 8, 8, 8), Costs("b", 0))
    cut = nn.Sequential(Costs("a", *warm, 5, 25, 10, 20, 15, 1, 2, 3, 4, 5), Costs("b", 0))
    with limited(1):
        found = timed(dense, cut, "0", "1", "gone", effort=EXACT, now=now)
    assert found.notes == ()
    told = latency(found)
    assert (told.device, told.threads, told.batch, told.dtype, told.runs) == ("cpu", 1, 3, "float32", 5)
    assert close(told.before, (14, 30, 46))
    assert told.after is not None
    assert close(told.after, (7, 15, 23))
    assert told.result == told.after
    assert told.speedup == pytest.approx(2)
    assert told.macs_ratio is None
    assert [layer.name for layer in told.layers] == ["0", "1"]
    first = told.layers[0]
    assert close(first.before, (8, 8, 8))
    assert first.after is not None
    assert close(first.after, (1.4, 3, 4.6))


@pytest.mark.parametrize(("ratio", "is_slow"), [(1.75, False), (1.8, True)])
def test_a_speedup_short_of_the_macs_is_a_note(ratio: float, is_slow: bool) -> None:
    """10 ms to 8 ms is 1.25 times, which is 0.7 of 1.786."""
    dense, cut = nn.Sequential(Costs("a", 8), Costs("b", 2)), nn.Sequential(Costs("a", 6), Costs("b", 2))
    rows = [row("0", (3600, 900)), row("1", (200, 100))]
    macs = (int(1000 * ratio), 1000)
    found = measured(dense, cut, [ROW], rows, device=CPU, macs=macs, effort=EXACT, now=now)
    told = latency(found)
    assert told.macs_ratio == pytest.approx(ratio)
    assert told.slow == (("0", "1") if is_slow else ())
    if not is_slow:
        assert (told.advice, found.notes) == (None, ())
        return
    assert told.advice == "--round-to 8 makes widths there multiples of 8 (now 36)"
    (note,) = found.notes
    assert note == (
        "the measured speedup 1.25x is below 70% of the 1.80x by MACs; slow: 0, 1; "
        "--round-to 8 makes widths there multiples of 8 (now 36)"
    )


def test_one_network_alone_is_before() -> None:
    told = latency(timed(nn.Sequential(Costs("a", 7)), None, "0", effort=EXACT, now=now))
    assert close(told.before, (7, 7, 7))
    assert (told.after, told.speedup, told.macs_ratio, told.slow, told.advice) == (None,) * 3 + ((), None)
    assert told.result == told.before
    assert told.layers == (LayerLatency("0", told.layers[0].before),)


def test_networks_too_slow_for_their_layers_say_so() -> None:
    found = timed(Costs("a", 6000), Costs("a", 5000), "0", now=now, effort=Effort())
    assert latency(found).layers == ()
    assert found.notes == ("layers were not timed: 11.0 s for one forward of both",)


class Remembers(nn.Module):
    """All that a forward may change: a buffer, lists, attributes, a tensor that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros(1))
        self.outputs: list[Tensor] = []
        self.times = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        self.times += 1
        self.last = self.norm(self.layer(x))
        self.outputs.append(self.last)
        return self.last


def seen(module: nn.Module) -> dict[str, Any]:
    """Everything of every submodule but its submodules; parameters and buffers by identity and by value."""
    found: dict[str, Any] = {}
    for name, child in module.named_modules():
        state = {key: value for key, value in vars(child).items() if key != "_modules"}
        found[name] = [state.keys(), copy.deepcopy({k: v for k, v in state.items() if k[0] != "_"})]
        found[name] += [dict(child._forward_hooks), dict(child._forward_pre_hooks)]
    tensors = [*module.named_parameters(), *module.named_buffers()]
    found["tensors"] = [(name, id(t), t.tolist(), t.requires_grad, t.grad) for name, t in tensors]
    return found


def test_a_module_is_left_as_it_was() -> None:
    net = Remembers()
    net.norm.eval()
    before, drawn = seen(net), torch.random.get_rng_state()
    assert latency(timed(net, net, "layer", "norm")).layers[0].name == "layer"
    assert seen(net) == before
    assert net.training and not net.norm.training
    assert torch.equal(torch.random.get_rng_state(), drawn)


class Sleeps(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x + 1


def test_what_sleeps_is_slower_than_what_does_not() -> None:
    dense, cut = nn.Sequential(Sleeps(0), Sleeps(0.005)), nn.Sequential(Sleeps(0), Sleeps(0))
    told = latency(timed(dense, cut, "0", "1", effort=Effort(enough=7, seconds=0.5)))
    assert told.after is not None
    assert told.before.median > told.after.median
    quick, slow = told.layers
    assert slow.after is not None
    assert slow.before.median >= 5
    assert slow.before.median > quick.before.median
    assert slow.before.median > slow.after.median
    assert told.before.low <= told.before.median <= told.before.high


class Refuses(nn.Module):
    """Takes only one type of weights and inputs."""

    def __init__(self, dtype: torch.dtype | None, made: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4).to(made)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != self.dtype:
            raise KeyError(f"no kernel for {x.dtype}")
        return self.layer(x)


def test_a_network_that_does_not_run_is_a_note() -> None:
    found = timed(nn.Linear(4, 4), Refuses(None))
    assert found.latency is None
    (note,) = found.notes
    assert note == (
        "latency was not measured: the network does not run on cpu: 'no kernel for torch.float32'"
    )


@pytest.mark.parametrize("taken", [torch.float64, torch.float32])
def test_the_type_of_the_weights_is_taken_where_the_network_runs_in_it(taken: torch.dtype) -> None:
    told = latency(timed(Refuses(taken, made=torch.float64)))
    assert told.dtype == str(taken).removeprefix("torch.")


def test_a_report_has_the_latency_of_both_networks_and_an_inspection_that_of_one() -> None:
    image = torch.zeros(2, 3, 16, 16)
    result = prunecli.prune(Own().eval(), example_inputs=image, speedup=2, repair="none", latency=True)
    report, told = result.report, result.report.latency
    assert told is not None
    assert told.after is not None
    assert told.batch == 2
    assert told.macs_ratio == report.before.macs / report.after.macs
    assert told.speedup == told.before.median / told.after.median
    assert [layer.name for layer in told.layers] == ["features.0", "features.2", "head"]
    assert all(layer.after is not None for layer in told.layers)
    assert "latency" in report.timings
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(json.dumps(report.to_json())))
    found = prunecli.inspect(Own().eval(), example_inputs=image, latency=True, threads=1)
    assert found.latency is not None
    assert (found.latency.threads, found.latency.after) == (1, None)
    assert [layer.name for layer in found.latency.layers] == [row.name for row in found.layers]
    assert prunecli.inspect(Own().eval(), example_inputs=image).latency is None


def test_a_training_is_timed_beside_the_network_it_learned_from(checkpoint: Path, saved: Path) -> None:
    quick: dict[str, Any] = {"data": "digits", "samples": 32, "epochs": 1, "latency": True, "threads": 1}
    report = prunecli.finetune(saved, **quick, against=checkpoint).report
    told = report.latency
    assert told is not None
    assert told.after is not None
    assert told.macs_ratio is None
    assert {layer.name for layer in told.layers} >= {"conv1", "bn1", "fc"}
    assert "latency" in report.timings
    alone = prunecli.finetune(saved, **quick).report.latency
    assert alone is not None
    assert alone.after is None
