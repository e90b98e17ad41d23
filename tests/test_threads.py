from __future__ import annotations

import pytest
import torch

from prunecli.errors import UsageError
from prunecli.threads import limited


def test_inside_only_and_also_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="boom"), limited(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError("boom")
    assert torch.get_num_threads() == before
    with limited(None):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("number", [0, -1])
def test_at_least_one(number: int) -> None:
    with pytest.raises(UsageError, match=f"--threads {number} is not a positive integer"), limited(number):
        pass
