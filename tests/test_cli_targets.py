from __future__ import annotations

import math
from pathlib import Path

import pytest

from prunecli.cli.settings import Groups
from prunecli.cli.targets import target
from prunecli.errors import UsageError


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("speedup", (1.01, 2, 1000), (1, 0.5, 0, -2, math.nan, math.inf)),
        ("flops", (0.01, 0.5, 0.99), (0, 1, 2, -0.5, math.nan)),
        ("params", (0.01, 0.5, 0.99), (0, 1, 50, math.nan)),
        ("ratio", (0.01, 0.5, 0.99), (0, 1, 1.5, math.nan)),
    ],
)
def test_targets_have_a_range(kind: str, good: tuple[float, ...], bad: tuple[float, ...]) -> None:
    for value in good:
        assert target({kind: value}) == {kind: value}
    for value in bad:
        with pytest.raises(UsageError, match=f"--{kind} .* out of range") as caught:
            target({kind: value})
        assert caught.value.hint


def test_groups_with_a_ratio_may_be_the_whole_target(tmp_path: Path) -> None:
    none: dict[str, float | None] = {"speedup": None}
    assert target(none, None, Groups(heads=0.5)) == {}
    assert target(none, None, Groups(ratio_for={"a": 0.5, "b": 0.0})) == {}
    assert target({"speedup": 2}, None, Groups(heads=0.5)) == {"speedup": 2}
    for groups in (Groups(only=("a",)), Groups(ratio_for={"a": 0.0})):
        with pytest.raises(UsageError, match="no target given"):
            target(none, None, groups)
    with pytest.raises(UsageError, match="--plan and --round-to-for together"):
        target(none, tmp_path, Groups(round_to_for={"a": 8}))


def test_exactly_one_target(tmp_path: Path) -> None:
    assert target({"speedup": None, "ratio": None}, tmp_path) == {}
    with pytest.raises(UsageError, match="no target given") as caught:
        target({"speedup": None})
    assert "--heads" not in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no target given") as caught:
        target({"speedup": None}, None, Groups())
    assert (caught.value.hint or "").endswith("or --heads 0.5")
    with pytest.raises(UsageError, match="--speedup and --ratio together"):
        target({"speedup": 2, "ratio": 0.5})
    with pytest.raises(UsageError, match="--speedup and --plan together"):
        target({"speedup": 2}, tmp_path)
