"""The short form of ``python -m tests.robustness.dtypes``: one of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustness import dtypes

CHOSEN = {
    "cnn": ("all in bfloat16", "matrices in float16", "a weight in float8_e4m3fnuz", "NaN in a weight",
            "of a norm in int64", "counters in float32"),
    "transformer": ("all in float16", "matrices in float8_e5m2", "a bias in bool", "a weight of no element"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("network", "name"), [(net, case) for net, named in CHOSEN.items() for case in named]
)
def test_pruned_in_its_dtypes_or_refused_by_name(network: str, name: str, tmp_path: Path) -> None:
    net = next(each for each in dtypes.networks(tmp_path) if each.name == network)
    case = next(each for each in dtypes.cases() if each.name == name)
    ending = ".pt" if network == "cnn" else ".safetensors"
    found = dtypes.became(case, net, ending, tmp_path)
    assert found is not None and found.problem == ""
