"""Globs: which groups they mean."""

from __future__ import annotations

import pytest
from spaces import Sketch, attention, residual

from prunecli.coupling.axes import Fixed, Product
from prunecli.errors import UsageError
from prunecli.selection.matching import is_meant, is_meant_by_kind, matching


@pytest.mark.parametrize(
    ("glob", "groups"),
    [("inner0", ["inner0"]), ("inner*", ["inner0", "inner1"]), ("block0.conv1", ["inner0"]),
     ("block*.conv2", ["stream"]), ("stem", ["stream"]), ("*", ["stream", "inner0", "inner1"]),
     ("block0.conv1.weight", ["inner0"])],
)  # fmt: skip
def test_groups_by_name_and_by_the_layer_that_makes_them(glob: str, groups: list[str]) -> None:
    assert [group.name for group in matching(residual().space(), glob, "--ignore")] == groups


@pytest.mark.parametrize("glob", ["fc", "fc.weight", "stem_bn", "stem_bn.weight"])
def test_a_layer_without_units_of_its_own_means_no_group(glob: str) -> None:
    assert matching(residual().space(), glob, "--ignore") == []


def test_a_table_that_belongs_to_no_layer_means_its_group() -> None:
    sketch = attention()
    sketch.parameter("class_token", (Fixed(1), sketch.units("stream", 8)), ("other", "other"))
    space = sketch.space()
    assert [group.name for group in matching(space, "class_*", "--only")] == ["stream"]
    assert is_meant(space.by_name["stream"], "class_token")
    assert not is_meant(space.by_name["width"], "class_token")


def test_a_kind_goes_with_every_layer_whose_rows_it_is() -> None:
    """The group count of a convolution is named after the layer before it, whose rows it divides first."""
    sketch = Sketch()
    groups, before = (
        sketch.units("conv1:groups", 4, "left whole", "convolution groups"),
        sketch.units("conv1", 6),
    )
    sketch.conv("conv1", Product((groups, before)), Fixed(3))
    sketch.conv("conv2", Product((groups, sketch.units("conv2", 5))), before)
    space = sketch.space()
    for glob in ("conv1:groups", "conv2:groups", "*:groups", "conv2:*"):
        assert [group.name for group in matching(space, glob, "--ratio-for")] == ["conv1:groups"]
        assert is_meant_by_kind(space.by_name["conv1:groups"], glob)
    assert [group.name for group in matching(space, "conv2", "--ratio-for")] == ["conv1:groups", "conv2"]
    assert not is_meant_by_kind(space.by_name["conv1:groups"], "conv*")
    assert not is_meant_by_kind(space.by_name["conv2"], "*:*")


@pytest.mark.parametrize(
    ("glob", "nearest"),
    [("block0.convl", "block0.conv1"), ("streem", "stream"), ("block1.conv2.weigth", "block1.conv2.weight")],
)
def test_a_glob_that_matches_nothing_is_refused_with_the_nearest(glob: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=r"--only .* matches no layer and no group") as caught:
        matching(residual().space(), glob, f"--only {glob}")
    assert nearest in (caught.value.hint or "")


def test_a_glob_like_nothing_points_at_the_list_of_names() -> None:
    with pytest.raises(UsageError) as caught:
        matching(residual().space(), "zzzzzz", "--ignore zzzzzz")
    assert caught.value.hint == "prune inspect --groups lists the names"
