"""One error tree. Every error a user can cause is one line, a hint, and an exit code.

Raised anywhere, caught once, in ``prunecli.cli.main``.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunecli.report.gated import Gate

_ALIKE = 0.6
"""Ratio of matching characters from which a name is worth suggesting, and how much less than the best."""
_WORSE = 0.15


class PruneError(Exception):
    """Base of all deliberate errors.

    ``message`` says what was found and where, ``hint`` what to type next. ``exit_code`` is a class attribute.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PruneError):
    """The command line (or an API argument) is wrong: unknown name, missing file, bad number."""

    exit_code = 2


class InputError(PruneError):
    """The checkpoint, the architecture or the data was read and rejected."""

    exit_code = 3


class ImpossibleError(PruneError):
    """What was asked cannot be done, or a proof, a digest or a gate failed."""

    exit_code = 4


class GateError(ImpossibleError):
    """A result does not keep a limit that was set, and is not written; ``gates`` has all limits."""

    def __init__(self, message: str, hint: str | None, gates: tuple[Gate, ...] = ()) -> None:
        super().__init__(message, hint)
        self.gates = gates


class OutputError(PruneError):
    """The result could not be written."""

    exit_code = 5


def first_line(error: BaseException) -> str:
    """What a library's exception says, in one line of at most 200 characters; its type where it says
    nothing.
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def nearest(typed: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names that ``typed`` may have been meant to be, the likeliest first: alike, and not much less alike
    than the best. Leading dashes count for nothing.
    """
    bare = {name: name.lstrip("-") for name in known}
    matcher = SequenceMatcher(b=typed.lstrip("-"))
    alike: list[tuple[float, str]] = []
    for name, text in bare.items():
        matcher.set_seq1(text)
        if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE:
            alike.append((-matcher.ratio(), name))
    alike.sort()
    return [name for score, name in alike[:most] if -score >= max(_ALIKE, -alike[0][0] - _WORSE)]


def did_you_mean(typed: str, known: Iterable[str]) -> str | None:
    """A hint with the nearest names, or None where nothing is near."""
    near = nearest(typed, known)
    return f"did you mean {' or '.join(near)}?" if near else None


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """A ``UsageError`` for a misspelt ``name``, with the nearest known names as the hint."""
    names = sorted(known)
    return UsageError(
        f"unknown {kind} '{name}'", did_you_mean(name, names) or f"known: {', '.join(names[:20])}"
    )


def require_range(fits: bool, option: str, value: float | None, meaning: str) -> None:
    """Raise ``UsageError`` unless ``value`` ``fits`` what it means. A NaN fails every comparison, so it is
    refused like any other number out of range.
    """
    if not fits:
        raise UsageError(f"{option} {value:g} is out of range", f"{option} is {meaning}")


def needs_data(criterion: str) -> UsageError:
    """For a criterion that looks at data where there is none."""
    return UsageError(
        f"criterion '{criterion}' needs data",
        "--data SPEC, like --data imagefolder:DIR; --data noise works too",
    )
