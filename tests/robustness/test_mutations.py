"""``mutations.py`` in short; the long form is in docs/testing.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from . import bases, mutations, runs
from .mutations import Making, case
from .mutators import mutated
from .runs import Run, faults

RUNS = 36


@pytest.fixture(scope="module")
def making() -> Iterator[Making]:
    hook = sys.excepthook
    runs.warm()
    sys.excepthook = hook
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        _spare(patch)
        for name in bases.NAMES:
            with runs.places() as at:
                found[name] = bases.make(name, at.out)
    sys.excepthook = hook
    yield Making(found)


def _spare(patch: pytest.MonkeyPatch) -> None:
    """The reload is what test_saving.py is about."""
    from prunecli.report.model import Proof

    for module in ("checking", "saving"):
        patch.setattr(f"prunecli.{module}.reload_proof", lambda *_, **__: Proof("reload", True))


def test_runs_end_as_they_should(making: Making, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _spare(monkeypatch)
    cases = [case(making, 8, index, tmp_path) for index in range(RUNS)]
    assert {done.base for done in cases} == set(bases.NAMES)
    assert [(done.base, done.index, done.faults) for done in cases if done.faults] == []
    assert {done.code for done in cases} >= {0, 3}


def test_what_is_whole_gives_an_output(making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    """The valid twin: without a mutation every form is taken."""
    _spare(monkeypatch)
    for name, base in making.bases.items():
        with runs.places() as at:
            given = base.write(at.given)
            arguments, outputs = mutations._command(base, 0, given, at)
            after = mutations._after(base, given, at, outputs)
            found = runs.run(runs.command(*arguments), at, after=after)
            assert (name, mutations.judged(found, outputs, base, False), found.code) == (name, [], 0)
            assert found.extra == {"output": "", "same": True}


def test_mutations_are_seeded_and_change_something(making: Making) -> None:
    for base in making.bases.values():
        for seed in range(20):
            kind, forged, changed = mutated(base, making.contents, f"{seed}")
            assert (kind, forged, changed) == mutated(base, making.contents, f"{seed}")
            assert all(base.files[name] != content for name, content in changed.items())


def test_structure_is_what_says_where_the_rest_is(making: Making) -> None:
    """Numbers of weights are none of it, in no form."""
    weights = making.bases["zip"].tensors["layer1.0.conv1.weight"].numpy().tobytes()
    for name in ("safetensors", "zip", "legacy"):
        (content,) = making.bases[name].files.values()
        at = content.index(weights)
        assert not any(begin < at + len(weights) and at < end for begin, end in bases.structure(content))
        assert sum(end - begin for begin, end in bases.structure(content)) < len(content) / 3


@pytest.mark.parametrize(
    ("code", "err", "left", "fault"),
    [
        (1, "error: x\n", (), "exit 1"),
        (-11, "", (), "signal SIGSEGV"),
        (None, "", (), "hangs"),
        (3, "", (), "0 error lines"),
        (3, "error: a\nerror: b\n", (), "2 error lines"),
        (3, "error: a\nWarning: b\n", (), "says on stderr: Warning: b"),
        (3, "error: a\n", ("out/.net.tmp",), "leaves out/*"),
        (4, "error: a\n", ("tmp/x",), "leaves tmp/*"),
        (0, "", (), "no out/small"),
        (0, "error: a\n", ("out/small",), "exit 0 with an error line"),
    ],
)
def test_faults_are_told(code: int | None, err: str, left: tuple[str, ...], fault: str) -> None:
    assert faults(Run(code, "", err, 0.1, 0, 0, left, (), None), ("small",)) == [fault]


def test_good_ends_are_no_faults() -> None:
    assert faults(Run(3, "", "note: n\nerror: a\nhint: b\n", 0.1, 0, 0, (), (), None), ("small",)) == []
    assert faults(Run(0, "", "note: n\n", 0.1, 0, 0, ("out/small",), (), None), ("small",)) == []


def test_a_hang_a_crash_and_too_much_memory_are_seen() -> None:
    import os
    import signal
    import time

    def sleep() -> int:
        time.sleep(60)
        return 0

    def crash() -> int:
        os.kill(os.getpid(), signal.SIGSEGV)
        return 0

    def fill() -> int:
        return len(bytearray(1 << 30))

    def leave() -> int:
        if os.fork() == 0:
            time.sleep(60)
        return 0

    for action, seconds, expected in (
        (sleep, 0.3, "hangs"),
        (crash, 9, "signal SIGSEGV"),
        (fill, 9, "exit 1"),
    ):
        with runs.places() as at:
            assert faults(runs.run(action, at, seconds=seconds, memory=200 << 20))[:1] == [expected]
    with runs.places() as at:
        assert faults(runs.run(leave, at)) == ["leaves a process"]


def test_memory_of_its_own_is_measured() -> None:
    import time

    def fill() -> int:
        held = bytearray(Random(0).randbytes(1 << 20) * 300)
        time.sleep(0.2)
        return len(held) & 0

    with runs.places() as at:
        found = runs.run(fill, at, watch=True)
    assert found.code == 0
    assert 300 << 20 <= found.own < 800 << 20
