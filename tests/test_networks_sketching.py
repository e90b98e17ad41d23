"""Networks without memory, and what no checkpoint holds made real."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from prunecli.errors import InputError
from prunecli.networks.sketching import materialise, sketch


class Biased(nn.Module):
    """Buffers outside the state_dict, made as libraries make them: empty, then filled."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.layer = nn.Linear(4, width)
        self.register_buffer("zeros", torch.empty(width), persistent=False)
        self.register_buffer("places", torch.empty(width), persistent=False)
        self.register_buffer("rows", torch.empty(2, width), persistent=False)
        self.zeros.zero_()
        self.places.copy_(torch.arange(float(width)))
        self.rows.copy_(torch.tensor([[1.0], [2.0]]).expand(2, width))


def sketched(**shapes: tuple[int, ...]) -> nn.Module:
    module = sketch(Biased)
    assert all(buffer.is_meta for buffer in module.buffers())
    module.load_state_dict({"layer.weight": torch.ones(6, 4), "layer.bias": torch.ones(6)}, assign=True)
    for name, shape in shapes.items():
        setattr(module, name, torch.empty(shape, device="meta"))
    return module


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({}, {"zeros": torch.zeros(6), "rows": torch.tensor([[1.0], [2.0]]).expand(2, 6)}),
        ({"zeros": (4,)}, {"zeros": torch.zeros(4)}),
        ({"rows": (2, 3)}, {"rows": torch.tensor([[1.0], [2.0]]).expand(2, 3)}),
    ],
)
def test_buffers_get_the_beginning_of_what_the_constructor_makes(
    shapes: dict[str, tuple[int, ...]], expected: dict[str, Tensor]
) -> None:
    module = sketched(**shapes)
    materialise(module, Biased)
    assert torch.equal(module.places, torch.arange(6.0))
    for name, wanted in expected.items():
        assert torch.equal(module.get_buffer(name), wanted)
    assert set(module.state_dict()) == {"layer.weight", "layer.bias"}


@pytest.mark.parametrize(
    "shapes", [{"places": (4,)}, {"rows": (1, 6)}, {"zeros": (7,)}, {"zeros": (6, 1)}, {"rows": (2, 9)}]
)
def test_what_could_be_another_selection_is_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(InputError, match="is not in the checkpoint and cannot be computed"):
        materialise(sketched(**shapes), Biased)


@pytest.mark.parametrize("make", [lambda: nn.Linear(4, 6), lambda: Biased().to("meta")])
def test_a_buffer_that_nobody_makes_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(InputError, match="buffer 'zeros' is not in the checkpoint"):
        materialise(sketched(), make)


def test_a_parameter_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"parameter 'layer\.weight' has no value"):
        materialise(sketch(Biased), Biased)
