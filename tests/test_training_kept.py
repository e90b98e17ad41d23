from __future__ import annotations

from pathlib import Path

import pytest

from prunecli.errors import UsageError
from prunecli.training.kept import Keeping, Kept, states_of


def test_nothing_is_kept_without_a_state() -> None:
    assert Kept.of(None, False, 600.0, "m.jsonl").keeping({"lr": 0.1}) is None


def test_what_is_asked_with_what_the_run_is() -> None:
    found = Kept.of("a.state.pt", True, 5.0, "m.jsonl").keeping({"lr": 0.1})
    assert found == Keeping(Path("a.state.pt"), {"lr": 0.1}, True, 5.0, Path("m.jsonl"))


def test_a_run_without_a_state_cannot_be_resumed() -> None:
    with pytest.raises(UsageError, match="resume needs the state of the run"):
        Kept.of(None, True, 600.0, None)


def test_the_states_of_a_run_are_those_of_its_trainings_and_of_no_other(tmp_path: Path) -> None:
    last = Kept(tmp_path / "a[1].state.pt")
    before = last.named("round-1").state
    assert last.state is not None and before is not None
    for path in (before, tmp_path / "a1.state.pt", tmp_path / "a1.state.round-1.pt", tmp_path / "b.state.pt"):
        path.touch()
    assert states_of(last.state) == [before]
    last.state.touch()
    assert states_of(last.state) == [last.state, before]
