"""Descriptions to tensors and back; the small image that stands for a large one."""

from __future__ import annotations

import pytest
import torch

from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import UsageError
from prunecli.inputs import as_tuple, describe, make, smaller

IMAGE = InputSpec(None, "float32", (1, 3, 224, 224))
TOKENS = InputSpec("input_ids", "int64", (2, 7))


def test_made_as_described() -> None:
    image, tokens, half = make([IMAGE, TOKENS, InputSpec(None, "float16", (1, 4))])
    assert (image.dtype, tuple(image.shape)) == (torch.float32, (1, 3, 224, 224))
    assert (tokens.dtype, tuple(tokens.shape)) == (torch.int64, (2, 7))
    assert half.dtype == torch.float16
    assert abs(float(image.mean())) < 0.01
    assert abs(float(image.std()) - 1) < 0.01
    assert not tokens.any()


def test_the_same_seed_gives_the_same_inputs_whatever_ran_before() -> None:
    first = make([IMAGE], seed=3)[0]
    torch.randn(5)
    state = torch.get_rng_state()
    assert torch.equal(make([IMAGE], seed=3)[0], first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(make([IMAGE], seed=4)[0], first)


def test_described_and_made_again() -> None:
    values = (torch.zeros(1, 3, 8, 8), torch.zeros(2, 5, dtype=torch.int64))
    specs = describe(values)
    assert specs == (InputSpec(None, "float32", (1, 3, 8, 8)), InputSpec(None, "int64", (2, 5)))
    assert [(v.shape, v.dtype) for v in make(specs)] == [(v.shape, v.dtype) for v in values]


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x,), lambda x: [x]])
def test_one_tensor_in_any_form(form: object) -> None:
    tensor = torch.zeros(2)
    (found,) = as_tuple(form(tensor))  # type: ignore[operator]
    assert found is tensor


@pytest.mark.parametrize(
    ("example", "kind"),
    [((), "tuple"), ("1,3,224,224", "str"), ([torch.zeros(1), 3], "list"), ({"x": torch.zeros(1)}, "dict")],
)
def test_anything_else_is_refused(example: object, kind: str) -> None:
    with pytest.raises(UsageError, match=f"example_inputs is {kind}") as caught:
        as_tuple(example)
    assert caught.value.hint == "give a tensor or a tuple of tensors"


@pytest.mark.parametrize(
    ("macs", "side"),
    [
        (10**9, 224),  # cheap enough as it is
        (6 * 10**9, 128),  # a quarter of the cost is half the side, and a multiple of 32
        (10**13, 96),  # never below three cells of a stride of 32
    ],
)
def test_a_smaller_image_for_a_costly_network(macs: int, side: int) -> None:
    (found,) = smaller([IMAGE], macs)
    assert found.shape == (1, 3, side, side)
    assert (found.name, found.dtype) == (IMAGE.name, IMAGE.dtype)


def test_an_image_never_grows() -> None:
    (found,) = smaller([InputSpec(None, "float32", (1, 3, 32, 400))], 10**13)
    assert found.shape == (1, 3, 32, 96)


@pytest.mark.parametrize("specs", [[TOKENS], [IMAGE, IMAGE], []])
def test_only_a_single_image_can_be_made_smaller(specs: list[InputSpec]) -> None:
    assert smaller(specs, 10**13) == tuple(specs)
