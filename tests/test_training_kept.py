from __future__ import annotations

from pathlib import Path

import pytest

from prunecli.errors import UsageError
from prunecli.training.kept import Keeping, Kept


def test_nothing_is_kept_without_a_state() -> None:
    assert Kept.of(None, False, 600.0, "m.jsonl").keeping({"lr": 0.1}) is None


def test_what_is_asked_with_what_the_run_is() -> None:
    found = Kept.of("a.state.pt", True, 5.0, "m.jsonl").keeping({"lr": 0.1})
    assert found == Keeping(Path("a.state.pt"), {"lr": 0.1}, True, 5.0, Path("m.jsonl"))


def test_a_run_without_a_state_cannot_be_resumed() -> None:
    with pytest.raises(UsageError, match="resume needs the state of the run"):
        Kept.of(None, True, 600.0, None)
