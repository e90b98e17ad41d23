"""Descriptions to tensors and back; where forward gets them; the small image that stands for a large one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import UsageError
from prunecli.inputs import Inputs, at_arguments, describe, make, smaller

IMAGE = InputSpec(None, "float32", (1, 3, 224, 224))
TOKENS = InputSpec("input_ids", "int64", (2, 7), (0, 99))


class Takes(nn.Module):
    """``forward`` with an argument of each kind."""

    def forward(self, x: Any, batch: Any = None, *, scale: Any = None, **others: Any) -> Any:
        return {"x": x, "batch": batch, "scale": scale, **others}


class Strict(nn.Module):
    def forward(self, words: Any, mask: Any, *, table: Any, shift: Any = None) -> Any:
        return words, mask, table, shift


def test_made_as_described() -> None:
    made = make([IMAGE, InputSpec(None, "float16", (1, 4)), TOKENS])
    image, half = made.positional
    assert (image.dtype, tuple(image.shape)) == (torch.float32, (1, 3, 224, 224))
    assert abs(float(image.mean())) < 0.01
    assert abs(float(image.std()) - 1) < 0.01
    assert half.dtype == torch.float16
    assert (made.named["input_ids"].dtype, tuple(made.named["input_ids"].shape)) == (torch.int64, (2, 7))


@pytest.mark.parametrize(
    ("bounds", "values"),
    [((5, 7), {5, 6, 7}), ((1, 1), {1}), (None, {0, 1}), ((-2, -1), {-2, -1})],
)
def test_integers_fill_their_bounds(bounds: tuple[int, int] | None, values: set[int]) -> None:
    (tokens,) = make([InputSpec(None, "int64", (1, 200), bounds)]).tensors
    assert set(tokens.flatten().tolist()) == values


def test_the_same_seed_gives_the_same_inputs_whatever_ran_before() -> None:
    first = make([IMAGE, TOKENS], seed=3).tensors
    torch.randn(5)
    state = torch.get_rng_state()
    assert all(map(torch.equal, make([IMAGE, TOKENS], seed=3).tensors, first))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(map(torch.equal, make([IMAGE, TOKENS], seed=4).tensors, first))


def test_names_lead_into_lists_and_dicts() -> None:
    names = ["x.1", "x.0", "batch.ids", "batch.more.0", "scale", "extra"]
    made = make([InputSpec(name, "float32", (index + 1,)) for index, name in enumerate(names)])
    got = made.run(Takes())
    assert [len(item) for item in got["x"]] == [2, 1]
    assert len(got["batch"]["ids"]) == 3
    assert [len(item) for item in got["batch"]["more"]] == [4]
    assert (len(got["scale"]), len(got["extra"])) == (5, 6)


@pytest.mark.parametrize(
    "example",
    [
        torch.zeros(1, 3, 8, 8),
        (torch.zeros(1, 3), torch.tensor([[4, 9]])),
        [torch.zeros(2)],
        {"x": torch.zeros(1, 3), "others": torch.ones(2, dtype=torch.bool)},
        ([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)],),
        ({"mask": torch.zeros(2), "parts": [torch.zeros(1)]}, {"deep": {"er": torch.zeros(3)}}),
        {"x": torch.zeros(1), "batch": (torch.zeros(2), torch.zeros(3))},
    ],
    ids=["tensor", "tuple", "list", "mapping", "list of images", "dicts", "tuple in mapping"],
)
def test_described_and_made_again(example: Any) -> None:
    specs = at_arguments(Takes(), describe(example, Takes()))
    named = Inputs((), example) if isinstance(example, dict) else None
    given = named or Inputs.of(example if isinstance(example, tuple | list) else (example,))
    wanted, found = given.run(Takes()), make(specs).run(Takes())

    def shapes(value: Any) -> Any:
        if isinstance(value, Tensor):
            return tuple(value.shape), value.dtype
        if isinstance(value, dict):
            return {key: shapes(item) for key, item in value.items()}
        return None if value is None else [shapes(item) for item in value]

    assert shapes(found) == shapes(wanted)


def test_an_example_bounds_its_integers() -> None:
    example = {"ids": torch.tensor([[3, 50, 7]]), "mask": torch.ones(1, 3, dtype=torch.int64)}
    assert [spec.bounds for spec in describe(example, Takes())] == [(3, 50), (1, 1)]
    assert describe(torch.zeros(1), Takes())[0].bounds is None


@pytest.mark.parametrize(
    ("example", "found"),
    [
        ((), "tuple"),
        ({}, "dict"),
        ("1,3,224,224", "str"),
        ([torch.zeros(1), 3], "int"),
        ({"x": torch.zeros(1), "flag": True}, "bool at flag"),
        (([],), "list at x"),
        ((torch.zeros(1), {"a": None}), "NoneType at batch.a"),
    ],
)
def test_anything_else_is_refused(example: object, found: str) -> None:
    with pytest.raises(UsageError, match=f"example_inputs is {found}") as caught:
        describe(example, Takes())
    assert caught.value.hint == "give a tensor, a tuple of tensors, or a mapping of names to tensors"


def test_a_type_that_cannot_be_an_input() -> None:
    with pytest.raises(UsageError, match="unknown dtype 'complex64'"):
        describe(torch.zeros(1, dtype=torch.complex64), Takes())


def named(*names: str | None) -> list[InputSpec]:
    return [InputSpec(name, "float32", (1,)) for name in names]


def names(specs: tuple[InputSpec, ...]) -> list[str | None]:
    return [spec.name for spec in specs]


def test_named_inputs_stand_in_the_order_of_arguments() -> None:
    assert names(at_arguments(Strict(), named("table", "mask", "words"))) == ["words", "mask", "table"]
    assert names(at_arguments(Strict(), named("table", None, "shift", None))) == [
        "words", "mask", "table", "shift",
    ]  # fmt: skip
    assert names(at_arguments(Strict(), named(None, None))) == [None, None]
    assert names(at_arguments(Takes(), named("any", "x"))) == ["x", "any"]


def test_an_argument_without_a_value_is_named() -> None:
    with pytest.raises(UsageError, match="names no size for 'table'"):
        at_arguments(Strict(), named("words", "mask"))


def test_a_name_that_forward_does_not_take() -> None:
    with pytest.raises(UsageError, match="unknown input 'tabel'") as caught:
        at_arguments(Strict(), named("words", "mask", "table", "tabel"))
    assert "table" in (caught.value.hint or "")


def test_map_keeps_the_structure_and_tensors_its_order() -> None:
    inputs = Inputs((torch.ones(1), [torch.ones(2)]), {"a": {"b": torch.ones(3)}, "flag": True})
    doubled = inputs.map(lambda tensor: tensor * 2)
    assert [len(tensor) for tensor in inputs.tensors] == [1, 2, 3]
    assert doubled.named["flag"] is True
    assert [float(tensor.sum()) for tensor in doubled.tensors] == [2, 4, 6]
    assert inputs.cast(torch.float64).tensors[2].dtype is torch.float64


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


def test_a_shorter_clip_and_a_shorter_sequence() -> None:
    (clip,) = smaller([InputSpec(None, "float32", (1, 3, 16, 224, 224))], 12 * 10**9)
    assert clip.shape == (1, 3, 8, 128, 128)
    ids, mask = InputSpec("ids", "int64", (1, 128), (0, 9)), InputSpec("mask", "int64", (1, 128), (1, 1))
    assert [spec.shape for spec in smaller([ids, mask], 6 * 10**9)] == [(1, 32)] * 2
    assert smaller([ids], 10**14)[0] == InputSpec("ids", "int64", (1, 16), (0, 9))


@pytest.mark.parametrize("specs", [[IMAGE, IMAGE], [TOKENS, IMAGE], []])
def test_other_inputs_stay(specs: list[InputSpec]) -> None:
    assert smaller(specs, 10**13) == tuple(specs)


class Batch(nn.Module):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return batch["x"] + batch["y"]


class Optional(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        return x if mask is None else x * mask


def test_a_batch_as_a_dict_is_the_only_argument() -> None:
    example = {"x": torch.zeros(2, 8), "y": torch.zeros(2, 8)}
    specs = describe(example, Batch())
    assert names(specs) == ["batch.x", "batch.y"]
    assert make(specs).run(Batch()).shape == (2, 8)
    assert names(describe({"batch": example}, Batch())) == ["batch.x", "batch.y"]
    # A single name is a misspelt argument rather than a batch.
    assert names(describe({"bacth": torch.zeros(2, 8)}, Batch())) == ["bacth"]


def test_none_is_left_out_where_it_is_the_default() -> None:
    x, bias = torch.zeros(2, 8), torch.zeros(8)
    assert names(describe((x, None), Optional())) == [None]
    assert names(describe((x, None, bias), Optional())) == [None, "bias"]
    assert names(describe({"x": x, "mask": None}, Optional())) == ["x"]
    with pytest.raises(UsageError, match="NoneType at x"):
        describe({"x": None, "mask": x}, Optional())


class Pair(NamedTuple):
    x: Tensor


@dataclass
class Kept:
    x: Tensor


@pytest.mark.parametrize("kind", [Pair, Kept])
def test_a_class_of_the_users_own_is_no_input(kind: type) -> None:
    for example in (kind(torch.zeros(1)), (kind(torch.zeros(1)),)):
        with pytest.raises(UsageError, match=f"holds a {kind.__name__} at batch"):
            describe(example, Batch())


def test_as_many_inputs_as_forward_takes() -> None:
    with pytest.raises(UsageError, match="names no size for 'mask'"):
        at_arguments(Strict(), named(None))
    with pytest.raises(UsageError, match="2 inputs are given, but forward takes batch"):
        at_arguments(Batch(), named(None, None))
    assert names(at_arguments(Optional(), named(None))) == [None]
