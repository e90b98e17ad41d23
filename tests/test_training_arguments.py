from __future__ import annotations

import pytest

from prunecli.errors import UsageError
from prunecli.training.arguments import parse_settings
from prunecli.training.settings import Settings


def test_text_becomes_settings_of_their_kind() -> None:
    pairs = (
        "lr=0.1", "batch-size=64", "batch_size=32", "optimizer=adamw", "milestones=6,8", "recalibrate=true",
        "channels-last=False", "clip=none", "samples=5",
    )  # fmt: skip
    found = parse_settings(pairs, "--x")
    assert found == {
        "lr": 0.1, "batch_size": 32, "optimizer": "adamw", "milestones": (6, 8), "recalibrate": True,
        "channels_last": False, "clip": None, "samples": 5,
    }  # fmt: skip
    del found["samples"]
    assert Settings.of(found).steps_down == (6, 8)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("lr", "--x lr is not NAME=VALUE"),
        ("rl=1", "unknown setting 'rl'"),
        ("lr=fast", "--x lr=fast: 'fast' is not a number"),
        ("warmup=none", "--x warmup=none: 'none' is not a whole number"),
        ("recalibrate=1", "--x recalibrate=1: '1' is not true or false"),
        ("milestones=1,x", "--x milestones=1,x: '1,x' is not epochs"),
    ],
)
def test_what_is_no_setting_is_told(pair: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_settings([pair], "--x")
