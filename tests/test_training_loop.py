"""The loop: equal to one written out, and to itself whenever it was stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import killed_training
import pytest
import torch
from torch import nn
from torch.nn import functional
from training_examples import equal, judge, kept_at, loop_of, pictures, small

from prunecli.errors import ImpossibleError, OutputError, UsageError
from prunecli.report.trained import EpochRow
from prunecli.training import randomness
from prunecli.training.kept import Keeping
from prunecli.training.order import epoch_order
from prunecli.training.state import read_state

FULL = {"ema": 0.9, "schedule": "cosine", "warmup": 1, "augment": "crop", "clip": 1.0, "patience": 2}


class Stopped(Exception):  # noqa: N818
    """Stands in for a crash."""


class Counting:
    """A regularizer with a state: its strength grows with every step and every epoch."""

    def __init__(self, network: nn.Module, stop_at: int | None = None) -> None:
        self.network, self.stop_at = network, stop_at
        self.steps = self.calls = 0
        self.strength = torch.zeros(1)

    def after_backward(self) -> None:
        if self.calls == self.stop_at:
            raise Stopped
        self.calls += 1
        self.steps += 1
        self.strength += 1e-3
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad += self.strength * parameter.detach()

    def after_epoch(self, epoch: int) -> None:
        self.strength *= 1 + epoch / 10

    def state_dict(self) -> Mapping[str, Any]:
        return {"steps": self.steps, "strength": self.strength}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps, self.strength = state["steps"], state["strength"].clone()


def plain_loop(epochs: int, seed: int) -> nn.Module:
    """What training is, written out."""
    network = small()
    images, labels = pictures().batches[0].inputs.tensors[0], pictures().batches[0].labels
    assert labels is not None
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    torch.manual_seed(seed)
    for epoch in range(epochs):
        if epoch in (epochs * 3 // 5, epochs * 4 // 5):
            for group in optimizer.param_groups:
                group["lr"] *= 0.1
        network.train()
        for at in epoch_order(23, seed, epoch).split(5):
            optimizer.zero_grad()
            functional.cross_entropy(network(images[at]), labels[at], reduction="none").mean().backward()
            optimizer.step()
    return network.eval()


def test_it_is_the_loop_written_out_bit_for_bit() -> None:
    found = loop_of(small(), epochs=5, seed=4).run()
    assert equal(found, plain_loop(5, 4))
    assert not found.training
    assert not equal(found, plain_loop(5, 3))


def test_rows_and_whoever_watches() -> None:
    network, told = small(dropout=0.0), list[EpochRow]()
    loop = loop_of(network, epochs=8, lr=0.1, milestones=(6,))
    lines: list[str] = []
    loop.progress, loop.on_epoch = lines.append, told.append
    result = loop.run()
    assert told == loop.rows
    assert [row.epoch for row in told] == list(range(1, 9))
    assert [row.lr for row in told] == pytest.approx([0.1] * 6 + [0.01] * 2)
    assert told[-1].quality == judge(result)
    assert all(row.samples == 23 and row.seconds > 0 for row in told)
    assert told[-1].loss < told[0].loss
    assert told[-1].top1 is not None
    assert lines[0].startswith("epoch 1 of 8, 22%, loss ")
    assert "samples/s" in lines[0]


def test_the_callers_random_numbers_are_left_alone() -> None:
    randomness.seeded(1)
    wanted = torch.rand(1)
    randomness.seeded(1)
    network = small()
    randomness.seeded(1)
    loop_of(network, epochs=1).run()
    assert torch.equal(torch.rand(1), wanted)


def test_the_average_is_what_is_judged_and_written() -> None:
    network = small()
    loop = loop_of(network, ema=0.9)
    result = loop.run()
    assert result is not network
    assert not equal(result, network)
    assert loop.rows[-1].quality == judge(result)


def test_an_early_stop_keeps_the_best() -> None:
    figures = iter([0.3, 0.7, 0.5, 0.7, 0.9])
    seen: list[nn.Module] = []
    network = small()
    loop = loop_of(network, epochs=5, patience=2)

    def judged(module: nn.Module) -> Any:
        from prunecli.report.figures import Quality

        seen.append(small())
        seen[-1].load_state_dict(module.state_dict())
        return Quality(9, top1=next(figures))

    loop.judge = judged
    result = loop.run()
    assert [row.epoch for row in loop.rows] == [1, 2, 3, 4]
    assert loop.best == 2
    assert equal(result, seen[1])
    assert not equal(result, seen[-1])


def stopped_and_resumed(folder: Path, stop_at: int, **settings: Any) -> tuple[nn.Module, nn.Module, int]:
    """Stopped before step ``stop_at`` with a state after every step; the result, the network, and how many
    steps the second part took.
    """
    network = small()
    loop = loop_of(network, None, kept_at(folder), regularizer=Counting(network, stop_at), **settings)
    with pytest.raises(Stopped):
        loop.run()
    network = small(seed=9)
    counting = Counting(network)
    loop = loop_of(network, None, kept_at(folder, resume=True), regularizer=counting, **settings)
    return loop.run(), network, counting.calls


@pytest.mark.parametrize("stop_at", range(1, 15))
def test_stopped_at_any_step_it_ends_bit_for_bit_as_without(stop_at: int, tmp_path: Path) -> None:
    wanted = small()
    whole = loop_of(wanted, regularizer=Counting(wanted), **FULL).run()
    result, network, steps = stopped_and_resumed(tmp_path, stop_at, **FULL)
    assert equal(result, whole)
    assert equal(network, wanted)
    assert steps == 15 - stop_at
    lines = (tmp_path / "run.metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3


def test_without_the_random_numbers_it_would_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = small()
    whole = loop_of(wanted, regularizer=Counting(wanted), **FULL).run()
    monkeypatch.setattr("prunecli.training.loop.randomness.restore", lambda _: None)
    result, _, _ = stopped_and_resumed(tmp_path, 7, **FULL)
    assert not equal(result, whole)


def test_a_state_is_due_by_the_clock_and_after_every_epoch(tmp_path: Path) -> None:
    written: list[int] = []
    loop = loop_of(small(), None, kept_at(tmp_path, seconds=1e6))

    def told(_: EpochRow) -> None:
        written.append(read_state(tmp_path / "run.state.pt")["epoch"])

    loop.on_epoch = told
    loop.run()
    assert written == [1, 2, 3]


def test_a_finished_run_resumes_to_the_same(tmp_path: Path) -> None:
    whole = loop_of(small(), None, kept_at(tmp_path), **FULL).run()
    again = loop_of(small(seed=5), None, kept_at(tmp_path, resume=True), **FULL)
    assert equal(again.run(), whole)
    assert len(again.rows) == 3


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    loop_of(small(), None, kept_at(tmp_path)).run()
    other = Keeping(tmp_path / "run.state.pt", {"lr": 0.1}, True)
    with pytest.raises(UsageError) as caught:
        loop_of(small(), None, other).run()
    assert caught.value.message == "the state is of another run: lr was 0.05, here it is 0.1"


def test_a_loss_that_is_not_finite_ends_it_with_the_last_good_state(tmp_path: Path) -> None:
    network = small()
    calls = [0]

    def spoil(*_: object) -> None:
        calls[0] += 1
        if calls[0] == 8:
            with torch.no_grad():
                network.head.weight.fill_(float("nan"))

    network.register_forward_pre_hook(lambda *_: spoil() if network.training else None)
    loop = loop_of(network, None, kept_at(tmp_path), epochs=3)
    with pytest.raises(ImpossibleError) as caught:
        loop.run()
    assert caught.value.exit_code == 4
    assert caught.value.message == (
        "training diverged: the loss is not finite in epoch 2, step 3 of 5 (learning rate 0.005); "
        "run.state.pt is as it was before"
    )
    state = read_state(tmp_path / "run.state.pt")
    assert (state["epoch"], state["step"]) == (1, 2)
    assert all(bool(t.isfinite().all()) for t in state["network"].values())


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    network = small()

    class Spoil(Counting):
        def after_epoch(self, epoch: int) -> None:
            if epoch == 2:
                self.strength.fill_(float("nan"))

    loop = loop_of(network, None, kept_at(tmp_path), regularizer=Spoil(network), epochs=4)
    with pytest.raises(ImpossibleError, match="weights are not finite in epoch 3, step 1 of 5"):
        loop.run()
    assert (read_state(tmp_path / "run.state.pt")["epoch"], len(loop.rows)) == (2, 2)


def test_outputs_that_are_not_finite_after_an_epoch_are_a_divergence() -> None:
    network = small()

    class Spoil(Counting):
        def after_epoch(self, epoch: int) -> None:
            network.norm.running_var.fill_(float("nan"))

    loop = loop_of(network, regularizer=Spoil(network), epochs=1)
    with pytest.raises(ImpossibleError, match=r"training diverged: outputs of .* are NaN or Inf"):
        loop.run()


def test_a_full_disk_ends_it_with_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, [0]

    def full(handle: int) -> None:
        calls[0] += 1
        if calls[0] > 12:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as caught:
        loop_of(small(), None, kept_at(tmp_path)).run()
    assert caught.value.exit_code == 5
    monkeypatch.undo()
    state = read_state(tmp_path / "run.state.pt")
    # Three calls for each: the file, and its folder before the rename and after it.
    assert (state["epoch"], state["step"]) == (0, 4)
    again = loop_of(small(seed=3), None, kept_at(tmp_path, resume=True)).run()
    assert equal(again, loop_of(small()).run())


def run_in_child(folder: Path, *more: str, kill_after: float | None = None) -> int:
    """The seconds are counted from the start of training, not of Python."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, killed_training.__file__, str(folder), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    if kill_after is not None:
        time.sleep(kill_after)
        child.send_signal(signal.SIGKILL)
    _, told = child.communicate(timeout=120)
    assert child.returncode in (0, -signal.SIGKILL), told
    return child.returncode


def kill_and_resume(folder: Path, instants: int, seed: int) -> list[dict[str, Any]]:
    """The results of runs that were killed at random instants and resumed, after that of one that was not."""
    (folder / "whole").mkdir()
    began = time.monotonic()
    assert run_in_child(folder / "whole") == 0
    # The whole of a run, and a little more than its steps alone: also while a state is written.
    seconds = min(time.monotonic() - began, 1.6 * killed_training.STEPS * killed_training.PAUSE)
    chance = random.Random(seed)
    for index in range(instants):
        place = folder / str(index)
        place.mkdir()
        run_in_child(place, kill_after=0.1 + chance.random() * (seconds - 0.1))
        assert run_in_child(place, *["--resume"] * (place / "run.state.pt").exists()) == 0
    places = [folder / "whole", *(folder / str(index) for index in range(instants))]
    return [torch.load(place / "done.pt", weights_only=True) for place in places]


def assert_all_the_same(results: list[dict[str, Any]]) -> None:
    first, *others = results
    for other in others:
        for part in ("result", "trained"):
            assert first[part].keys() == other[part].keys()
            assert all(torch.equal(first[part][name], other[part][name]) for name in first[part])


def test_killed_at_random_instants_it_ends_as_without(tmp_path: Path) -> None:
    assert_all_the_same(kill_and_resume(tmp_path, 2, seed=0))


@pytest.mark.slow
def test_killed_at_twenty_random_instants_it_ends_as_without(tmp_path: Path) -> None:
    assert_all_the_same(kill_and_resume(tmp_path, 20, seed=1))
