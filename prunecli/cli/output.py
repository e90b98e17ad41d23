"""The single sink: results go to stdout, everything else to stderr.

Colour and progress appear only on a terminal, and ``NO_COLOR`` is honoured.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from prunecli.report.text import escaped, one_line, shortened

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# Wide enough that no table is cut when the output goes to a file or a pipe.
UNLIMITED = 100_000
LONGEST = 4_000
"""Characters of an error or a note; the names in it may be of any length."""


def debugging() -> bool:
    """True when tracebacks were asked for with ``PRUNE_DEBUG=1``."""
    return os.environ.get("PRUNE_DEBUG", "") not in ("", "0")


def prepare_streams() -> None:
    """Let no name from a file stop the printing: what the terminal's encoding lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def error(message: str, hint: str | None) -> None:
    """One line on stderr, and one more with what to type next."""
    _say("error: ", message, "\033[1;31m")
    if hint:
        _say("hint: ", hint, "\033[1;36m")


def notes(lines: Iterable[str]) -> None:
    """Things the user should know that are not the result, each once."""
    for line in dict.fromkeys(lines):
        _say("note: ", line, "\033[1;33m")


def aside(content: str) -> None:
    """Plain lines on stderr: help that nobody asked for."""
    sys.stderr.write(content.rstrip("\n") + "\n")


def text(content: str) -> None:
    """Plain lines on stdout."""
    _write(content if content.endswith("\n") else content + "\n")


def lines(names: Iterable[str]) -> None:
    """Names on stdout, one per line and nothing else."""
    _write("".join(f"{one_line(name)}\n" for name in names))


def rows(values: Iterable[Iterable[object]]) -> None:
    """Values on stdout, separated by tabs, and nothing else; numbers as short as they can be told apart."""
    _write("".join("\t".join(map(_cell, row)) + "\n" for row in values))


def _cell(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else one_line(value)


_collected: ContextVar[list[object] | None] = ContextVar("collected", default=None)


@contextmanager
def collected(wanted: bool = True) -> Iterator[list[object]]:
    """The documents of what runs inside, kept for one that holds them all; printed where that is not
    ``wanted``.
    """
    found: list[object] = []
    before = _collected.set(found if wanted else None)
    try:
        yield found
    finally:
        _collected.reset(before)


def document(value: object) -> None:
    """One JSON document on stdout."""
    held = _collected.get()
    if held is not None:
        held.append(value)
        return
    _write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def path(location: Path) -> None:
    """A path on stdout, byte for byte, so that a script can open it; at a terminal, which would act on what
    is in its name, as any other name.
    """
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None or sys.stdout.isatty():
        _write(f"{one_line(location)}\n")
        return
    with _reader_may_leave():
        sys.stdout.flush()
        buffer.write(os.fsencode(location) + b"\n")
        buffer.flush()


def show(*parts: RenderableType) -> None:
    """Tables and text on stdout."""
    console = _console(sys.stdout)
    with console.capture() as printed:
        console.print(*map(_guarded, parts), sep="\n")
    # Tables are filled up with spaces to their full width, which nobody wants in a file.
    _write("\n".join(line.rstrip(" ") for line in printed.get().split("\n")))


def _guarded(part: RenderableType) -> RenderableType:
    """``part`` as it is drawn, without anything in its text that a terminal would act on: what every table
    sees to by itself, for the one that does not.
    """
    from rich.console import ConsoleOptions, RenderResult
    from rich.segment import Segment

    class Guarded:
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for text, style, control in console.render(part, options):
                yield Segment("\n".join(map(escaped, text.split("\n"))), style, control)

    return Guarded()


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str], None] | None]:
    """A function that shows what is being done, on a terminal; None elsewhere. What a network of the user's
    own prints meanwhile is no result, and goes to stderr.
    """
    with redirect_stdout(sys.stderr):
        if quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.text import Text

        with _console(sys.stderr).status(Text("reading")) as status:
            yield lambda stage: status.update(Text(one_line(stage)))


@contextmanager
def epochs(quiet: bool) -> Iterator[tuple[Callable[[str], None] | None, Callable[[str], None]]]:
    """As :func:`progress`, and a function for lines that stay: on stderr, above the moving one."""
    if quiet or not sys.stderr.isatty():
        with redirect_stdout(sys.stderr):
            yield None, (lambda _: None) if quiet else aside_now
        return
    from rich.text import Text

    with redirect_stdout(sys.stderr), _console(sys.stderr).status(Text("reading")) as status:
        yield (
            lambda stage: status.update(Text(one_line(stage))),
            lambda line: status.console.print(Text(one_line(line))),
        )


def aside_now(line: str) -> None:
    """A line on stderr that whoever follows a log sees at once."""
    aside(one_line(line))
    sys.stderr.flush()


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else UNLIMITED
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def _say(label: str, message: str, colour: str) -> None:
    """Written without rich: an error must be cheap and must not be wrapped."""
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        label = f"{colour}{label}\033[0m"
    sys.stderr.write(f"{label}{shortened(one_line(message), LONGEST)}\n")
    sys.stderr.flush()


def _write(content: str) -> None:
    with _reader_may_leave():
        sys.stdout.write(content)
        sys.stdout.flush()


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """``prune ... | head`` closes stdout early. The work is done all the same, so that is not a failure."""
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
