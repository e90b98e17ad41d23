"""Multiply-adds of what fvcore skips, against sums worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from tracing import Net

from prunecli.counting import count

CASES: dict[str, tuple[Callable[..., object], list[tuple[int, ...]], int]] = {
    "baddbmm": (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
    "mv": (torch.mv, [(3, 4), (4,)], 3 * 4),
    "bilinear": (nn.functional.bilinear, [(2, 3), (2, 4), (5, 3, 4)], 2 * 5 * 3 * 4),
    "tensordot": (lambda a, b: torch.tensordot(a, b, 2), [(2, 3, 4), (3, 4, 5)], 2 * 3 * 4 * 5),
    "padding by name": (
        lambda x, w: nn.functional.conv2d(x, w, padding="same", groups=2),
        [(1, 4, 5, 6), (6, 2, 3, 3)],
        6 * 5 * 6 * 2 * 9,
    ),
    # 7 steps of 2 samples; three gates of 5 units read 3 features and 5 states.
    "gru": (nn.GRU(3, 5), [(7, 2, 3)], 7 * 2 * 3 * 5 * (3 + 5)),
    # Two layers of four gates; the second reads both directions of the first.
    "lstm": (nn.LSTM(3, 5, 2, bidirectional=True), [(7, 2, 3)], 7 * 2 * 2 * 20 * ((3 + 5) + (10 + 5))),
    # 20 rows read 3 features and 2 states, and a projection makes 2 of 5.
    "lstm with a projection": (nn.LSTM(3, 5, proj_size=2), [(7, 2, 3)], 7 * 2 * (20 * (3 + 2) + 2 * 5)),
    "rnn without biases": (nn.RNN(3, 5, bias=False), [(7, 2, 3)], 7 * 2 * 5 * (3 + 5)),
    "rnn of rectifiers": (nn.RNN(3, 5, nonlinearity="relu"), [(7, 2, 3)], 7 * 2 * 5 * (3 + 5)),
    "lstm cell": (nn.LSTMCell(3, 5), [(2, 3)], 2 * 20 * (3 + 5)),
    "gru cell": (nn.GRUCell(3, 5), [(2, 3)], 2 * 15 * (3 + 5)),
    "rnn cell": (nn.RNNCell(3, 5, nonlinearity="relu"), [(2, 3)], 2 * 5 * (3 + 5)),
    "einsum of a product": (lambda a, b: torch.einsum("ij,jk->ik", a, b), [(2, 3), (3, 4)], 2 * 3 * 4),
    "einsum with a batch": (
        lambda a, b: torch.einsum("bij,bkj->bik", a, b), [(5, 2, 3), (5, 4, 3)], 5 * 2 * 3 * 4,
    ),
    "einsum without a sum": (lambda a, b: torch.einsum("i,j->ij", a, b), [(2,), (3,)], 0),
    "einsum that only sums": (lambda a: torch.einsum("ij->j", a), [(2, 3)], 0),
    # What only one operand has is summed before they meet.
    "einsum that sums before": (lambda a, b: torch.einsum("ij,jk->k", a, b), [(2, 3), (3, 4)], 3 * 4),
    "einsum with an ellipsis": (
        lambda a, b: torch.einsum("...i,ij->...j", a, b), [(5, 2, 3), (3, 4)], 5 * 2 * 3 * 4,
    ),
    "einsum without an arrow": (lambda a, b: torch.einsum("ij , jk", a, b), [(2, 3), (3, 4)], 2 * 3 * 4),
    # Two and then three, left to right: [2,3][3,4] and [2,4][4,5].
    "einsum of three": (
        lambda a, b, c: torch.einsum("ij,jk,kl->il", a, b, c), [(2, 3), (3, 4), (4, 5)],
        2 * 3 * 4 + 2 * 4 * 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name: str) -> None:
    function, shapes, wanted = CASES[name]
    inner = {"inner": function} if isinstance(function, nn.Module) else {}
    net = Net(lambda m, *x: function(*x), **inner)
    counted = count(net, [torch.randn(shape) for shape in shapes])
    assert (counted.total, counted.counter) == (wanted, "fvcore")


def test_an_einsum_follows_the_path_that_torch_was_given() -> None:
    """With a path the last two meet first: [3,4][4,5] and then [2,3][3,5]."""

    def forward(m: Net, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return torch._C._VariableFunctions.einsum("ij,jk,kl->il", [a, b, c], path=[1, 2, 0, 1])  # type: ignore[no-any-return]

    counted = count(Net(forward), [torch.randn(shape) for shape in ((2, 3), (3, 4), (4, 5))])
    assert counted.total == 3 * 4 * 5 + 2 * 3 * 5


def test_the_stand_in_sees_into_recurrent_layers() -> None:
    """What refuses to be traced is counted by torch, whose fused kernels would count nothing."""

    class Awkward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("not while tracing")
            return self.rnn(x)[0]  # type: ignore[no-any-return]

    counted = count(Awkward(), (torch.randn(7, 2, 3),))
    assert (counted.total, counted.counter) == (7 * 2 * 20 * (3 + 5), "torch")
