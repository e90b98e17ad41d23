"""``bombs.py`` in short: those that are made in no time; the long form is in docs/testing.md."""

from __future__ import annotations

import sys

import pytest

from . import runs
from .bombs import explode

SHORT = (
    "stride 0, 10^12 elements, zip", "stride 0, 10^18 elements, legacy", "overlapping rows, zip",
    "offset beyond the storage, zip", "storage that claims 10^12, legacy", "sparse of 10^18",
    "bytearray of 2^40",
    "bytearray of 3 GB", "memo bomb", "memo bomb beside weights", "memo bomb of dicts", "memo bomb as a key",
    "200,000 tuples", "200,000 tuples as a key", "LONG4 of 2^31", "BINUNICODE8 of 2^60",
    "two entries of one name",
    "entry of another checksum", "safetensors: header of 2^40", "safetensors: 200,000 levels of lists",
    "safetensors: an integer of 10^6 digits", "safetensors: recipe of a huge network",
    "index: itself as a shard",
    "index: a shard that is a fifo", "a fifo", "/dev/zero",
)  # fmt: skip
# Other tests share the machine.
SECONDS = 15.0


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    hook = sys.excepthook
    runs.warm()
    sys.excepthook = hook


@pytest.mark.parametrize("name", SHORT)
def test_bomb_is_refused(name: str) -> None:
    assert explode(name, "inspect", SECONDS).faults == ()
