"""--ignore: which groups a glob names."""

from __future__ import annotations

import pytest
from spaces import residual

from prunecli.errors import UsageError
from prunecli.selection.ignore import ignored


@pytest.mark.parametrize(
    ("glob", "groups"),
    [("inner0", {"inner0"}), ("inner*", {"inner0", "inner1"}), ("block0.conv1", {"inner0"}),
     ("block*.conv2", {"stream"}), ("stem", {"stream"}), ("*", {"stream", "inner0", "inner1"})],
)  # fmt: skip
def test_groups_by_name_and_by_the_layer_that_makes_them(glob: str, groups: set[str]) -> None:
    space, notes = ignored(residual().space(), [glob])
    assert {group.name: group.frozen for group in space.groups if group.frozen} == dict.fromkeys(
        groups, f"ignored by --ignore {glob}"
    )
    assert notes == []
    assert len(space.bundles) == 3 - len(groups)


@pytest.mark.parametrize("glob", ["fc", "stem_bn"])
def test_a_layer_without_units_of_its_own_is_said(glob: str) -> None:
    space, notes = ignored(residual().space(), [glob])
    assert not any(group.frozen for group in space.groups)
    assert notes == [f"--ignore {glob}: no group has its units there, nothing to leave out"]


def test_a_glob_that_matches_nothing_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"--ignore block0\.convl matches no layer") as caught:
        ignored(residual().space(), ["block0.convl"])
    assert "block0.conv1" in (caught.value.hint or "")
