from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples, noise
from prunecli.repair.matched import CHUNK, FEWEST, LENGTH, STEPS, Matched, matched, steps_within

CPU = torch.device("cpu")
SPECS = (InputSpec(None, "float32", (1, 2, 8, 8)),)
MEMORY = 1 << 30


def remembering(silent: int | None = None) -> nn.Module:
    """A network that was trained (as far as its norms know) on dark stripes, with a channel that is always
    the same where there is a ``silent`` one.
    """
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6, momentum=None), nn.ReLU(),
        nn.Conv2d(6, 5, 3, bias=False), nn.BatchNorm2d(5, momentum=None), nn.ReLU(),
    )  # fmt: skip
    if silent is not None:
        nn.init.zeros_(net[0].weight[silent])
    stripes = torch.zeros(64, 2, 8, 8)
    stripes[:, :, ::2] = torch.randn(64, 2, 4, 1) - 1
    with torch.no_grad():
        net.train()(stripes)
    return net.eval()


def of(module: nn.Module, samples: Samples, steps: int = STEPS, memory: int = MEMORY) -> Matched:
    found = matched(module, samples, CPU, steps, memory)
    assert found is not None
    return found


def whole(samples: Samples) -> Tensor:
    return torch.cat([batch.inputs.tensors[0] for batch in samples.batches])


def seen_and_remembered(net: nn.Module, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Per norm the mean and deviation of its input, and those that it holds, all in float64."""
    found = []
    x = x.double()
    net = deepcopy(net).double()
    for layer in net:
        if isinstance(layer, nn.BatchNorm2d):
            rows = x.movedim(1, -1).flatten(0, -2)
            remembered = layer.running_mean, layer.running_var.sqrt()
            found.append((rows.mean(0), rows.std(0, unbiased=False), *remembered))
        x = layer(x)
    return found


def test_the_norms_see_what_they_remember() -> None:
    net, drawn = remembering(), noise(SPECS, samples=CHUNK)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = of(net, drawn)
    with torch.no_grad():
        distances = [
            [
                float((((m - mean) / deviation) ** 2).mean() + ((s / deviation - 1) ** 2).mean())
                for m, s, mean, deviation in seen_and_remembered(net, whole(samples))
            ]
            for samples in (drawn, found.samples)
        ]
    first, last = (sum(each) / len(each) for each in distances)
    assert found.mismatch == pytest.approx((first, last), rel=1e-3)
    assert last < 0.05 * first
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(parameter.grad is not None for parameter in net.parameters())


def test_a_step_is_one_of_adam_down_the_mismatch() -> None:
    net = remembering()
    drawn = noise(SPECS, samples=4)
    x = whole(drawn).double().requires_grad_(True)
    terms = [
        (((m - mean) / d) ** 2).mean() + ((s / d - 1) ** 2).mean()
        for m, s, mean, d in seen_and_remembered(net, x)
    ]
    (gradient,) = torch.autograd.grad(sum(terms) / 2, x)
    # The first step of Adam has the length of its rate, against the sign of the gradient.
    wanted = x.detach() - LENGTH * whole(drawn).double().std() * gradient.sign()
    clear = gradient.abs() > 1e-6
    moved = whole(of(net, drawn, steps=1).samples).double()
    assert not torch.equal(moved, x.detach())
    assert clear.double().mean() > 0.9
    assert torch.allclose(moved[clear], wanted[clear], atol=1e-5)


def test_chunks_and_threads_do_not_change_the_bytes() -> None:
    net, drawn = remembering(), noise(SPECS, samples=40)
    before = torch.get_num_threads()
    results = []
    try:
        for threads, memory in ((1, MEMORY), (2, MEMORY), (2, 200_000)):
            torch.set_num_threads(threads)
            results.append(whole(of(net, drawn, steps=3, memory=memory).samples))
    finally:
        torch.set_num_threads(before)
    assert len(results[0]) == 40
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("make", "spec", "memory"),
    [
        pytest.param(lambda: nn.Conv2d(2, 4, 3), SPECS[0], MEMORY, id="no norm"),
        pytest.param(
            lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
            SPECS[0], MEMORY, id="a norm that remembers nothing",
        ),
        pytest.param(
            lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(0, 1), nn.BatchNorm1d(4)),
            InputSpec(None, "int64", (1, 6), (0, 8)), MEMORY, id="tokens",
        ),
        pytest.param(remembering, SPECS[0], 1000, id="no memory"),
    ],
)  # fmt: skip
def test_what_cannot_be_moved(make: Callable[[], nn.Module], spec: InputSpec, memory: int) -> None:
    assert matched(make().eval(), noise((spec,), samples=4), CPU, 3, memory) is None


def test_a_channel_that_never_varied_asks_for_nothing() -> None:
    net = remembering(silent=2)
    assert float(net[1].running_var[2]) < 1e-12
    before, after = of(net, noise(SPECS, samples=16)).mismatch
    assert after < 0.1 * before < 1, "relative to a deviation of nothing it would be without bound"


def test_steps_that_lead_away_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    net, drawn = remembering(), noise(SPECS, samples=8)
    monkeypatch.setattr("prunecli.repair.matched.LENGTH", 1000.0)
    found = of(net, drawn, steps=2)
    assert found.mismatch[0] == found.mismatch[1]
    assert torch.equal(whole(found.samples), whole(drawn))


def test_the_seconds_say_how_many_steps() -> None:
    assert steps_within(None, 10**12, 32, 1e9) == STEPS
    assert steps_within(3.0, 10**6, 20, 1e9) == 50, "3 passes x 1e6 x 20 at 1e9 a second: 0.06 s a step"
    assert steps_within(100.0, 10**6, 20, 1e9) == STEPS
    assert steps_within(0.06 * FEWEST, 10**6, 20, 1.0001e9) == FEWEST
    assert steps_within(0.06 * FEWEST - 0.01, 10**6, 20, 1e9) == 0
