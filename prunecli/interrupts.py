"""Ctrl-C, SIGTERM and SIGHUP as one ``KeyboardInterrupt``, raised where nothing is lost to it.

Only the command line installs the handlers (:class:`Heeded`). Where they are not installed, holding an
interrupt back does nothing, and Python's own handling of Ctrl-C stays as it is.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from time import monotonic, sleep
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
PATIENCE = 10.0
"""Seconds in which a second signal is taken for an impatient first one, and must not stop the cleanup."""
_IMPORTS = "<frozen importlib._bootstrap>"
_LONGEST_IMPORT, _AGAIN = 5.0, 0.05


class _State:
    """Of this process, as signals are: ``since`` when one came that was not raised yet, ``raised`` when the
    last one was.
    """

    held = False
    since: float | None = None
    raised: float | None = None


def came() -> bool:
    """Whether an interrupt was raised since the handlers were installed."""
    return _State.raised is not None


class Held:
    """While it lasts, an interrupt waits; it is raised at the end, or in a :class:`Let` within."""

    def __enter__(self) -> Held:
        self._ours = threading.current_thread() is threading.main_thread()
        self.before = _State.held
        if self._ours:
            _State.held = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            _State.held = self.before
            _raise_waiting()

    def let(self) -> Let:
        return Let(self)


class Let:
    """A part of what is :class:`Held` that may be interrupted as if it were not."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            _State.held = self._held.before
            _raise_waiting()

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            _State.held = True


def _raise_waiting() -> None:
    if _State.since is not None and not _State.held:
        _raise()


def _raise() -> None:
    _State.since, _State.raised = None, monotonic()
    raise KeyboardInterrupt


class Heeded:
    """The handlers, installed while it lasts. Signals that are ignored stay so, as under nohup. No effect off
    the main thread. ``last``: the process ends after it, and a signal that comes then prints nothing.
    """

    def __init__(self, names: tuple[str, ...] = _SIGNALS, *, last: bool = False) -> None:
        self._numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self._last = last
        self._before: dict[int, Any] = {}
        self._hook: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        _State.held, _State.since, _State.raised = False, None, None
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._lost
        for number in self._numbers:
            # None: set by something else than Python, and not to be had back.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, _came)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, self._after(before))
        self._before = {}
        _State.since = None
        if self._hook is not None:
            sys.unraisablehook, self._hook = self._hook, None

    def _after(self, before: Any) -> Any:
        if not self._last:
            return before
        return signal.SIG_IGN if came() else signal.SIG_DFL

    def _lost(self, unraisable: sys.UnraisableHookArgs) -> None:
        """An interrupt that was raised in a finalizer goes nowhere; it is raised again after it."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt) or not self._before:
            self._hook(unraisable)
            return
        _State.since, _State.raised = monotonic(), None
        _thread.start_new_thread(_again, (next(iter(self._before)),))


def _came(number: int, frame: FrameType | None) -> None:
    now = monotonic()
    if _State.raised is not None and now - _State.raised < PATIENCE:
        return
    if _State.since is None:
        _State.since = now
    if _State.held:
        return
    # The initialisation of an extension module may turn an exception into another, or end the process.
    if now - _State.since < _LONGEST_IMPORT and _is_importing(frame):
        _thread.start_new_thread(_again, (number,))
        return
    _raise()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False


def _again(number: int) -> None:
    sleep(_AGAIN)
    if _State.since is not None:
        _thread.interrupt_main(signal.Signals(number))
