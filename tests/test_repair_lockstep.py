from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from prunecli.inputs import Inputs
from prunecli.repair.lockstep import Forward


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.second(self.first(x).relu())


def test_weights_changed_at_a_stop_are_those_that_are_used() -> None:
    torch.manual_seed(0)
    net = Net().eval().requires_grad_(False)
    x = torch.randn(5, 3)
    forward = Forward(net, Inputs((x,)), early=True)
    call, result = forward.advance() or pytest.fail("no stop")
    assert call.name == "first.weight"
    assert result is None
    assert torch.equal(call.x, x)
    call.weight.copy_(torch.ones(3, 4))
    call, _ = forward.advance() or pytest.fail("no stop")
    assert torch.allclose(call.x, (x.sum(1, keepdim=True) + net.first.bias).relu())
    assert forward.advance() is None
    assert torch.allclose(forward.outputs[0], net(x), atol=1e-6)
    assert net.seen == 1, "what forward keeps on the module stays with the run"
    forward.close()


def test_a_late_stop_has_the_output() -> None:
    net = Net().eval().requires_grad_(False)
    x = torch.randn(5, 3)
    forward = Forward(net, Inputs((x,)), early=False)
    _, result = forward.advance() or pytest.fail("no stop")
    assert result is not None
    assert torch.allclose(result, net.first(x), atol=1e-6)
    forward.close()


def test_what_forward_raises_comes_through_and_no_thread_stays() -> None:
    before = threading.active_count()
    broken = Forward(Net().eval(), Inputs((torch.randn(5, 7),)), early=True)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        broken.advance()
        broken.advance()
    left = Forward(Net().eval(), Inputs((torch.randn(5, 3),)), early=True)
    left.advance()
    unused = Forward(Net().eval(), Inputs((torch.randn(5, 3),)), early=True)
    for forward in (broken, left, unused):
        forward.close()
    assert threading.active_count() == before
