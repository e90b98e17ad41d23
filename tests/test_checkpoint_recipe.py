"""A recipe survives a round trip, and nothing that differs from one is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prunecli.checkpoint import AttributePatch, InputSpec, Recipe
from prunecli.errors import InputError
from prunecli.plan import Plan

RECIPE = Recipe(
    arch="torchvision:resnet18",
    arguments={"num_classes": 10, "x": None, "y": 0.5, "z": True, "w": "text"},
    inputs=(InputSpec(None, "float32", (1, 3, 224, 224)), InputSpec("ids", "int64", (1, 8))),
    shapes={"conv1.weight": (32, 3, 7, 7), "n": ()},
    patches=(AttributePatch("layer1.0", "width", None, 3), AttributePatch("", "sizes", 1, 5)),
    plan=Plan({"g": (0, 2)}, {"g": 4}),
    digests={"n": "ab" * 32},
    cut_digests={"n": "cd" * 32},
    changed_by=("repair",),
    source_digest="ef" * 32,
    options={"speedup": 2.0, "ignore": ["a*", "b"], "plan": None},
)


def document() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(RECIPE.to_json()))
    return data


def test_round_trip() -> None:
    assert Recipe.from_json(document()) == RECIPE


@pytest.mark.parametrize("name", sorted(RECIPE.to_json()))
def test_every_field_is_required(name: str) -> None:
    data = document()
    del data[name]
    with pytest.raises(InputError):
        Recipe.from_json(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("extra",), 1),
        (("version",), "prunecli.recipe/2"),
        (("arch",), 3),
        (("arguments", "num_classes"), [1]),
        (("arguments", "num_classes"), {"a": 1}),
        (("arguments", "num_classes"), 2**60),
        (("arguments", "y"), float("nan")),
        (("inputs", 0, "dtype"), "complex64"),
        (("inputs", 0, "shape"), [-1, 3]),
        (("inputs", 0, "shape"), "1,3"),
        (("inputs", 0, "more"), 1),
        (("shapes", "conv1.weight"), [1.5]),
        (("shapes", "conv1.weight"), [True]),
        (("shapes", "conv1.weight"), [2**30, 2**30]),
        (("shapes", "conv1.weight"), [1] * 9),
        (("shapes",), []),
        (("patches", 0, "attribute"), "__class__"),
        (("patches", 0, "attribute"), "_modules"),
        (("patches", 0, "attribute"), "a.b"),
        (("patches", 0, "module"), "layer1._modules"),
        (("patches", 0, "value"), -1),
        (("patches", 0, "value"), "3"),
        (("patches", 0, "index"), 1.0),
        (("plan",), {"groups": {"g": {"dense": 2, "kept": [5]}}}),
        (("digests", "n"), 5),
        (("changed_by",), "repair"),
        (("options", "speedup"), {"deep": {}}),
        (("options", "ignore"), [["deep"]]),
        (("source_digest",), "x" * 5000),
        (("digests", "n"), "x" * 64),
        (("cut_digests", "n"), "AB" * 32),
        (("arguments", "__class__"), 1),
        (("arguments",), {f"a{index}": 1 for index in range(101)}),
        (("inputs", 0, "name"), "a..b"),
        (("inputs", 0, "name"), "__class__"),
        (("inputs", 0, "name"), ".".join("a" * 9)),
        (("inputs", 0, "name"), "ids"),
        (("inputs", 0, "name"), "ids.0"),
        (("inputs", 0, "shape"), [2**28, 2]),
        (("inputs",), [{"name": None, "dtype": "bool", "shape": [1], "bounds": None}] * 65),
        (("plan", "more"), 1),
        (("plan", "groups", "g", "more"), 1),
        (("plan", "groups", "g", "dense"), 2**50),
        (("version",), ["x" * 5000]),
        (("changed_by",), ["x"] * 101),
    ],
)
def test_what_is_not_a_recipe_is_refused_in_one_line(path: tuple[Any, ...], value: object) -> None:
    data = document()
    place: Any = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(InputError) as caught:
        Recipe.from_json(data)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("data", [None, [], "text", 3, {}])
def test_other_json_is_refused(data: object) -> None:
    with pytest.raises(InputError):
        Recipe.from_json(data)
