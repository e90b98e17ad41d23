"""Networks timed in turns, by a clock that only they move on."""

from __future__ import annotations

import fake_clock
import pytest
import torch
from fake_clock import Costs, now
from torch import Tensor, nn

from prunecli.inputs import Inputs
from prunecli.racing import Effort, Race, Times, stopwatch

CPU = torch.device("cpu")
FEW = Effort(enough=5)


@pytest.fixture(autouse=True)
def clock() -> None:
    fake_clock.start()


def race(*networks: nn.Module, effort: Effort = FEW) -> Race:
    made = Race(list(networks), Inputs((torch.zeros(1),)), stopwatch(CPU, now), effort, now)
    made.warm()
    return made


def milliseconds(times: list[float]) -> list[float]:
    return [round(time, 6) for time in times]


@pytest.mark.parametrize(
    ("runs", "spent", "in_all", "goes_on"),
    [
        (0, 0.0, 99.0, True),
        (4, 3.0, 9.9, True),
        (4, 3.0, 10.0, False),
        (5, 1.0, 1.0, False),
        (19, 0.9, 0.9, True),
        (20, 0.9, 0.9, False),
        (20, 0.09, 0.1, True),
        (199, 0.09, 0.1, True),
        (200, 0.09, 0.1, False),
    ],
)
def test_there_are_enough_runs_by_number_and_time(
    runs: int, spent: float, in_all: float, goes_on: bool
) -> None:
    assert Effort().goes_on(runs, spent, in_all) is goes_on


def test_networks_run_in_turns_and_the_first_runs_do_not_count() -> None:
    a, b = Costs("a", 900, 800, 10, 30, 20, 50, 40), Costs("b", 700, 600, 1, 2, 3, 4, 5)
    times = race(a, b, effort=Effort(enough=5, brief=0.0)).times(())
    assert fake_clock.RAN == ["a", "b"] * (2 + 5 + 5)
    assert [milliseconds(found) for found in times.whole] == [[10, 30, 20, 50, 40], [1, 2, 3, 4, 5]]


def test_a_second_is_enough_for_the_whole_and_one_for_the_layers() -> None:
    times = race(Costs("a", 62.5), Costs("b", 62.5), effort=Effort()).times(())
    assert times.layers is not None
    assert len(times.whole[0]) == len(times.whole[1]) == len(times.layers[0][""]) == 8


@pytest.mark.parametrize(("cost", "runs", "forwards"), [(4000, 1, 2), (6000, 1, 1), (2000, 2, 3)])
def test_slow_networks_run_less_often_and_their_layers_not_at_all(
    cost: float, runs: int, forwards: int
) -> None:
    times = race(Costs("a", cost), Costs("b", cost), effort=Effort()).times(())
    assert times == Times([[pytest.approx(cost)] * runs] * 2, None)
    assert len(fake_clock.RAN) == 2 * forwards


class Nested(nn.Module):
    """A layer used twice inside another that has work of its own, and some work in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = nn.Sequential(Costs("own", 3), Costs("inner", 2))
        self.inner = self.outer[1]
        self.last = Costs("last", 7)
        self.never = Costs("never", 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(self.outer(x))
        fake_clock.spend(0.005)
        return self.last(x)


def test_the_time_of_a_layer_is_its_own_in_all_calls() -> None:
    times = race(Nested()).times(("outer", "outer.1", "last", "never"))
    assert times.layers is not None
    found = {name: set(milliseconds(runs)) for name, runs in times.layers[0].items()}
    assert found == {"": {5}, "outer": {3}, "outer.1": {4}, "last": {7}}
    assert list(found) == ["", "outer", "outer.1", "last"]


def test_layers_are_timed_apart_from_the_whole_and_in_turns() -> None:
    a = nn.Sequential(Costs("a", 1, 1, 20, 20, 20, 20, 20, 30, 31, 32, 33, 34))
    times = race(a, nn.Sequential(Costs("b", 1)), effort=Effort(enough=5, brief=0.0)).times(("0",))
    assert milliseconds(times.whole[0]) == [20] * 5
    assert times.layers is not None
    assert milliseconds(times.layers[0]["0"]) == [30, 31, 32, 33, 34]
    assert milliseconds(times.layers[1]["0"]) == [1] * 5
    assert fake_clock.RAN == ["a", "b"] * 12


class Unwatched(Costs):
    def register_forward_pre_hook(self, *_: object, **__: object) -> None:  # type: ignore[override]
        raise RuntimeError("register_forward_pre_hook is not supported on ScriptModules")


def test_what_takes_no_hooks_belongs_to_what_is_around_it() -> None:
    network = nn.Sequential(nn.Sequential(Unwatched("a", 4), Costs("b", 2)))
    times = race(network).times(("0", "0.0", "0.1"))
    assert times.layers is not None
    found = {name: set(milliseconds(runs)) for name, runs in times.layers[0].items()}
    assert found == {"": {0}, "0": {4}, "0.1": {2}}


class Overwrites(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert x.item() == 0
        return x.add_(1)


def test_every_run_gets_the_same_inputs_and_no_gradients() -> None:
    assert len(race(Overwrites()).times(()).whole[0]) >= 5


class Queue:
    """A device that does its work, here of one millisecond each, only when it is waited for."""

    def __init__(self) -> None:
        self.work: list[Event | None] = []
        self.done = 0.0

    def settle(self, *_: object) -> None:
        for item in self.work:
            if item is None:
                self.done += 1.0
            else:
                item.time = self.done
        self.work.clear()


class Event:
    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.time: float | None = None

    def record(self, stream: list[Event | None]) -> None:
        stream.append(self)

    def elapsed_time(self, other: Event) -> float:
        assert self.time is not None and other.time is not None, "read before the device was waited for"
        return other.time - self.time


class Queues(nn.Module):
    def __init__(self, queue: Queue, work: int) -> None:
        super().__init__()
        self.queue, self.count = queue, work

    def forward(self, x: Tensor) -> Tensor:
        self.queue.work += [None] * self.count
        return x


def test_a_gpu_is_timed_by_events_in_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue()
    monkeypatch.setattr("torch.cuda.Event", Event)
    monkeypatch.setattr("torch.cuda.current_stream", lambda _: queue.work)
    monkeypatch.setattr("torch.cuda.synchronize", queue.settle)
    network = nn.Sequential(Queues(queue, 2), Queues(queue, 5))
    made = Race(
        [network], Inputs((torch.zeros(1),)), stopwatch(torch.device("cuda"), now), Effort(most=6), now
    )
    made.warm()
    times = made.times(("0", "1"))
    assert set(times.whole[0]) == {7.0}
    assert times.layers == [{"": [0.0] * 6, "0": [2.0] * 6, "1": [5.0] * 6}]
