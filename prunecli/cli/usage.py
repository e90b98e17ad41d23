"""The parser's own errors in the form of all others: one line, a hint, exit 2."""

from __future__ import annotations

from typing import Any

import typer

from prunecli.cli import early
from prunecli.errors import UsageError, did_you_mean

# Typer carries the parser's classes from release 0.2x on and takes them from another package before, so the
# common base is found from the one class that is public in both.
PARSER_ERROR: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


def as_usage_error(error: Any) -> UsageError:
    """``error`` (a ``PARSER_ERROR``) as a ``UsageError``."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "prune"
    unknown = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption":
        return UsageError(f"no such option: {unknown}", _nearest(str(unknown), _options(context), where))
    message = error.format_message().rstrip(".")
    if message.startswith("No such command"):
        commands = getattr(context.command, "commands", {}) if context is not None else {}
        typed = message.split("'")[1] if "'" in message else ""
        return UsageError(f"no such command: {typed}", _nearest(typed, list(commands), where))
    # The parser explains the same thing twice: "Input should be a valid number, unable to parse ...".
    message = message.partition(", unable to parse")[0].replace("Input should", "it should")
    return UsageError(message[:1].lower() + message[1:], f"see {where} --help")


def _options(context: Any) -> list[str]:
    parameters = context.command.params if context is not None else []
    own = (
        []
        if context is not None and context.parent is not None
        else [option.spellings[-1] for option in early.OPTIONS]
    )
    return [*own, *(name for p in parameters for name in p.opts if name.startswith("--")), "--help"]


def _nearest(typed: str, known: list[str], where: str) -> str:
    return did_you_mean(typed, dict.fromkeys(known)) or f"see {where} --help"
