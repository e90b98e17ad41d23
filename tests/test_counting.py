"""MACs against sums worked out by hand; the stand-in counter; nothing on stderr."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from prunecli.counting import count, sizes_of
from prunecli.inputs import Inputs


class Attention(nn.Module):
    """Four tokens of width six attend to five, in two heads; values are wider than keys."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value)


class Shared(nn.Module):
    """One layer, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


CASES = {
    # 8 outputs on 6x6 positions, each 3 channels x 5x5 taps
    "convolution": (nn.Conv2d(3, 8, 5), (1, 3, 10, 10), 8 * 6 * 6 * 3 * 25),
    "strided, padded": (nn.Conv2d(3, 8, 3, stride=2, padding=1), (1, 3, 8, 8), 8 * 4 * 4 * 3 * 9),
    # every output sees 6 / 3 channels
    "grouped": (nn.Conv2d(6, 9, 3, groups=3), (1, 6, 5, 5), 9 * 3 * 3 * 2 * 9),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6), (1, 6, 5, 5), 6 * 3 * 3 * 9),
    # every input position meets 2x2 taps of 5 outputs
    "transposed": (nn.ConvTranspose2d(4, 5, 2, stride=2), (1, 4, 3, 3), 4 * 3 * 3 * 5 * 4),
    "linear": (nn.Linear(7, 5), (1, 7), 35),
    "linear over tokens": (nn.Linear(7, 5), (2, 3, 7), 2 * 3 * 35),
    "batch norm, eval": (nn.BatchNorm2d(4).eval(), (1, 4, 3, 3), 2 * 4 * 9),
    "batch norm without affine": (nn.BatchNorm2d(4, affine=False).eval(), (1, 4, 3, 3), 4 * 9),
    "layer norm": (nn.LayerNorm(6), (1, 5, 6), 5 * 5 * 6),
    "adaptive pooling": (nn.AdaptiveAvgPool2d(1), (1, 4, 3, 3), 4 * 9),
    "activation": (nn.ReLU(), (1, 4, 3, 3), 0),
    "used twice": (Shared(), (1, 6), 2 * 36),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name: str) -> None:
    module, shape, wanted = CASES[name]
    counted = count(module, (torch.randn(shape),))
    assert (counted.total, counted.counter) == (wanted, "fvcore")


def test_attention_by_hand() -> None:
    query, key, value = torch.randn(3, 2, 4, 6), torch.randn(3, 2, 5, 6), torch.randn(3, 2, 5, 7)
    counted = count(Attention(), (query, key, value))
    # batch 3 x 2 heads; 4x5 scores of 6 products; 4 sums of 5 values of width 7
    assert counted.total == 3 * 2 * (4 * 5 * 6 + 4 * 5 * 7)
    assert "aten::scaled_dot_product_attention" not in counted.unsupported


@pytest.mark.parametrize("needs_weights", [True, False])
def test_multihead_attention_has_its_products_counted(needs_weights: bool) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=needs_weights)[0]

    tokens, width = 5, 8
    counted = count(Block().eval(), (torch.randn(1, tokens, width),))
    assert counted.total == 4 * tokens * width * width + 2 * tokens * tokens * width


def test_modules_include_their_children() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))).eval()
    counted = count(net, (torch.randn(1, 3, 5, 5),))
    first, norm, last = 4 * 25 * 3, 2 * 4 * 25, 2 * 9 * 4 * 9
    assert counted.by_module["0"] == first
    assert counted.by_module["1.1"] == last
    assert counted.by_module["1"] == norm + last
    assert counted.by_module[""] == counted.total == first + norm + last


def test_what_was_skipped_is_listed() -> None:
    class Products(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(x, 0).sin()

    counted = count(Products(), (torch.randn(4, 4),))
    assert counted.total == 0
    assert counted.unsupported == {"aten::cumsum": 1, "aten::sin": 1}


@dataclass
class Answer:
    """An output that torch's own tracer refuses."""

    logits: Tensor


class Named(nn.Module):
    """A list of images, a keyword-only scale and a dataclass for an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: list[Tensor], *, scale: Tensor) -> Answer:
        x = self.convolution(torch.stack(images))
        return Answer(self.head(x.mean((2, 3)) * scale))


def test_lists_names_and_dataclasses_are_counted_too() -> None:
    images = [torch.randn(3, 6, 6), torch.randn(3, 6, 6)]
    counted = count(Named().eval(), Inputs((images,), {"scale": torch.ones(1)}))
    convolution, head = 2 * 4 * 16 * 27, 2 * 8
    assert (counted.counter, counted.total) == ("fvcore", convolution + head)
    assert counted.by_module == {"": convolution + head, "convolution": convolution, "head": head}


class Untraceable(Named):
    def forward(self, x: Tensor) -> Answer:  # type: ignore[override]
        if torch.jit.is_tracing():
            raise RuntimeError("this cannot be traced")
        return Answer(self.head(self.convolution(x).mean((2, 3))))


def test_torch_stands_in_where_fvcore_cannot_trace() -> None:
    counted = count(Untraceable().eval(), (torch.randn(1, 3, 6, 6),))
    assert counted.counter == "torch"
    convolution, head = 4 * 16 * 27, 8
    assert counted.total == convolution + head
    assert counted.by_module == {"": convolution + head, "convolution": convolution, "head": head}


@pytest.mark.parametrize("module", [Untraceable(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish())])
def test_stderr_and_settings_are_left_alone(module: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    torch.backends.mha.set_fastpath_enabled(True)
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        count(module.eval(), (torch.randn(1, 3, 6, 6),))
    assert capfd.readouterr() == ("", "")
    assert not seen
    assert torch.backends.mha.get_fastpath_enabled()
    assert logging.root.manager.disable == disabled


def test_a_count_changes_no_module() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    count(net, (torch.randn(1, 3, 6, 6),))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(module.training for module in net.modules())


def test_sizes_in_elements_and_bytes() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    params, size = sizes_of(net, net.state_dict())
    assert params == 3 * 4 + 4 + 2 * 4
    # running mean, running variance, and a counter of eight bytes
    assert size == 4 * (params + 2 * 4) + 8


def test_half_precision_takes_half_the_bytes() -> None:
    net = nn.Linear(3, 4).half()
    assert sizes_of(net, net.state_dict()) == (16, 32)
