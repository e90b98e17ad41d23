from __future__ import annotations

from math import cos, pi

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR
from training_examples import CPU, small

from prunecli.training.optimizing import average_of, optimizer_for, scaler_for, schedule_for
from prunecli.training.settings import Settings

STEPS = 4


def rates(settings: Settings) -> list[float]:
    """The learning rate of every step."""
    optimizer = optimizer_for(small(), settings)
    schedule = schedule_for(optimizer, settings, STEPS)
    found = []
    for _ in range(settings.epochs * STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_optimizers_are_torchs_with_their_settings() -> None:
    sgd = optimizer_for(small(), Settings(lr=0.3, momentum=0.8, weight_decay=0.1))
    assert isinstance(sgd, torch.optim.SGD)
    wanted = {"lr": 0.3, "momentum": 0.8, "weight_decay": 0.1, "nesterov": True}
    assert {name: sgd.param_groups[0][name] for name in wanted} == wanted
    assert not optimizer_for(small(), Settings(momentum=0.0)).param_groups[0]["nesterov"]
    assert isinstance(optimizer_for(small(), Settings(optimizer="adamw")), torch.optim.AdamW)
    network = small()
    network.head.requires_grad_(False)
    assert len(optimizer_for(network, Settings()).param_groups[0]["params"]) == 6


def test_multi_step_divides_by_ten_after_those_epochs() -> None:
    found = rates(Settings(epochs=5, lr=1.0, milestones=(2, 4)))
    assert found == pytest.approx([1.0] * 8 + [0.1] * 8 + [0.01] * 4)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    by_epoch = MultiStepLR(optimizer, [2, 4])
    for epoch in range(5):
        assert found[epoch * STEPS] == optimizer.param_groups[0]["lr"]
        optimizer.step()
        by_epoch.step()


def test_cosine_reaches_nothing_at_the_end() -> None:
    found = rates(Settings(epochs=5, lr=1.0, schedule="cosine"))
    assert found == pytest.approx([(1 + cos(pi * step / 20)) / 2 for step in range(20)])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    plain = CosineAnnealingLR(optimizer, 20)
    for rate in found:
        assert rate == optimizer.param_groups[0]["lr"]
        optimizer.step()
        plain.step()


@pytest.mark.parametrize("schedule", ["cosine", "multi-step", "constant"])
def test_a_warmup_grows_and_then_the_schedule_begins(schedule: str) -> None:
    found = rates(Settings(epochs=5, lr=1.0, schedule=schedule, warmup=1, milestones=(2, 4)))
    assert found[:5] == pytest.approx([0.01, 0.2575, 0.505, 0.7525, 1.0])
    after = {
        "cosine": [(1 + cos(pi * step / 16)) / 2 for step in range(16)],
        "multi-step": [1.0] * 4 + [0.1] * 8 + [0.01] * 4,
        "constant": [1.0] * 16,
    }
    assert found[4:] == pytest.approx(after[schedule])


def test_the_average_is_an_exponential_one_of_weights_and_statistics() -> None:
    network = small()
    average = average_of(network, Settings(ema=0.75))
    assert average is not None
    average.update_parameters(network)
    first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor += 1
    average.update_parameters(network)
    for name, tensor in average.module.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, 0.75 * first[name] + 0.25 * (first[name] + 1), atol=1e-6), name
    assert average_of(network, Settings()) is None


def test_only_half_precision_scales_the_loss() -> None:
    assert scaler_for(CPU, Settings(amp="fp16")).is_enabled()
    assert not scaler_for(CPU, Settings(amp="bf16")).is_enabled()
