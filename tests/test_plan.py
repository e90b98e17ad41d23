"""Plans: composition worked out by indexing twice, and JSON that is not one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunecli.errors import InputError
from prunecli.plan import Plan


@st.composite
def two_plans(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    size = draw(st.integers(1, 12))
    first = sorted(draw(st.sets(st.integers(0, size - 1), min_size=1)))
    second = sorted(draw(st.sets(st.integers(0, len(first) - 1), min_size=1)))
    return size, first, second


@settings(max_examples=100)
@given(two_plans())
def test_one_after_another_is_indexing_twice(case: tuple[int, list[int], list[int]]) -> None:
    size, first, second = case
    plan = Plan({"g": tuple(first)}, {"g": size}).after(Plan({"g": tuple(second)}, {"g": len(first)}))
    assert plan.keep["g"] == tuple([list(range(size))[i] for i in first][j] for j in second)
    assert plan.dense == {"g": size}


def test_groups_of_either_plan_are_in_the_whole() -> None:
    plan = Plan({"a": (0, 2)}, {"a": 3}).after(Plan({"b": (1,)}, {"b": 4, "a": 2}))
    assert plan.keep == {"a": (0, 2), "b": (1,)}
    assert plan.dense == {"a": 3, "b": 4}
    assert plan.sizes == {"a": 2, "b": 1}


def test_json_and_back() -> None:
    plan = Plan({"b": (1, 3), "a": (0,)}, {"a": 2, "b": 4})
    text = json.dumps(plan.to_json())
    assert text.index('"a"') < text.index('"b"')
    assert Plan.from_json(json.loads(text)) == plan
    assert Plan.from_json({"groups": {}}) == Plan({}, {})


@pytest.mark.parametrize(
    "data",
    [
        None, [], "plan", {}, {"groups": []}, {"groups": {"g": None}}, {"groups": {"g": {"dense": 4}}},
        {"groups": {"g": {"dense": 4, "kept": "01"}}}, {"groups": {"g": {"kept": [0]}}},
        {"groups": {"g": {"dense": 4, "kept": [0.0]}}}, {"groups": {"g": {"dense": True, "kept": [0]}}},
        {"groups": {"g": {"dense": 4, "kept": [True]}}}, {"groups": {"g": {"dense": 4, "kept": [1, 0]}}},
        {"groups": {"g": {"dense": 4, "kept": [0, 0]}}}, {"groups": {"g": {"dense": 4, "kept": [4]}}},
        {"groups": {"g": {"dense": 4, "kept": [-1]}}}, {"groups": {"g": {"dense": 4, "kept": []}}},
    ],
)  # fmt: skip
def test_anything_else_is_refused(data: object) -> None:
    with pytest.raises(InputError, match="not a plan"):
        Plan.from_json(data)
