"""One interrupt, raised where it may be, and only once."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prunecli import interrupts
from prunecli.interrupts import Heeded, Held

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As they were before the test, whatever it does."""
    before = {number: signal.getsignal(number) for number in ALL}
    hook = sys.unraisablehook
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.unraisablehook = hook


@pytest.mark.parametrize("number", ALL)
def test_each_is_an_interrupt_and_the_handlers_go_again(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in ALL]
    with pytest.raises(KeyboardInterrupt), Heeded():
        assert not interrupts.came()
        try:
            signal.raise_signal(number)
        finally:
            assert interrupts.came()
    assert [signal.getsignal(each) for each in ALL] == before


def test_what_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Heeded():
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert not interrupts.came()


def test_only_those_that_are_named() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Heeded(("SIGINT", "SIGNONE")):
        assert signal.getsignal(signal.SIGTERM) == before
        assert signal.getsignal(signal.SIGINT) != signal.default_int_handler


def test_a_second_one_does_not_stop_the_cleanup(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), Heeded():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            for number in ALL:
                signal.raise_signal(number)
            done.append("cleaned")
    assert done == ["cleaned"]
    # One that comes much later is meant.
    monkeypatch.setattr(interrupts, "PATIENCE", 0)
    with Heeded():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


def test_it_waits_while_it_is_held() -> None:
    done = []
    with Heeded():
        with pytest.raises(KeyboardInterrupt), Held():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            done.append("went on")
        assert done == ["went on"]
        with Held():
            pass
    assert interrupts.came()


def test_it_is_let_where_it_may_come() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), Heeded(), Held() as held:
        try:
            signal.raise_signal(signal.SIGINT)
            done.append("held")
            with held.let():
                done.append("not reached")
        finally:
            done.append("cleaned")
    assert done == ["held", "cleaned"]
    done.clear()
    with pytest.raises(KeyboardInterrupt), Heeded(), Held() as held:
        try:
            with held.let():
                done.append("let")
                signal.raise_signal(signal.SIGINT)
        finally:
            done.append("cleaned")
    assert done == ["let", "cleaned"]


def test_what_is_let_within_is_held_without() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), Heeded(), Held():
        with Held() as inner, inner.let():
            signal.raise_signal(signal.SIGINT)
            done.append("still held")
        with Held() as inner:
            with inner.let():
                pass
            done.append("held again")
        done.append("to the end")
    assert done == ["still held", "held again", "to the end"]


def test_an_error_does_not_lose_it() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, Heeded(), Held():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("no")
    assert isinstance(caught.value.__context__, ValueError)


def test_other_threads_have_no_part_in_it() -> None:
    done = []

    def work() -> None:
        with Heeded(), Held() as held, held.let():
            done.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]
    with pytest.raises(KeyboardInterrupt), Heeded():
        # One that is held there is not held here.
        entered, ended = threading.Event(), threading.Event()

        def holding() -> None:
            with Held():
                entered.set()
                ended.wait()

        thread = threading.Thread(target=holding)
        thread.start()
        entered.wait()
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            ended.set()
            thread.join()


def waited() -> None:
    """For what another thread is about to raise here."""
    for _ in range(300):
        time.sleep(0.01)


def test_one_that_is_lost_in_a_finalizer_comes_again() -> None:
    class Final:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), Heeded():
        Final()
        waited()


def test_other_errors_in_finalizers_are_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Final:
        def __del__(self) -> None:
            raise ValueError("no")

    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_type))
    with Heeded():
        Final()
    assert told == [ValueError]
    assert not interrupts.came()


def test_an_import_is_ended_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "interrupted_import.py").write_text(
        "import signal\nfor _ in range(2): signal.raise_signal(signal.SIGINT)\nended = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt), Heeded():
        import interrupted_import

        assert interrupted_import.ended
        waited()
    # Which takes too long: the module is not there then, as after any interrupt.
    monkeypatch.delitem(sys.modules, "interrupted_import")
    monkeypatch.setattr(interrupts, "_LONGEST_IMPORT", 0)
    with pytest.raises(KeyboardInterrupt), Heeded():
        import interrupted_import
    assert "interrupted_import" not in sys.modules


def test_nothing_comes_of_an_import_when_all_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_import.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with Heeded():
        import late_import
    time.sleep(3 * interrupts._AGAIN)
    assert late_import


def test_it_comes_again_only_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_AGAIN", 0)
    with Heeded():
        interrupts._again(signal.SIGINT)
        monkeypatch.setattr(interrupts._State, "since", 0.0)
        with pytest.raises(KeyboardInterrupt):
            interrupts._again(signal.SIGINT)


def test_at_the_end_of_the_process_a_signal_prints_nothing() -> None:
    with Heeded(last=True):
        pass
    assert [signal.getsignal(number) for number in ALL] == [signal.SIG_DFL] * 3
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), Heeded(last=True):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
