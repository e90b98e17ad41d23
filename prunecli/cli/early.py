"""The options of ``prune`` itself. They are answered before Typer parses anything.

Typer loads a validation library to read the value of any option, even of one that was not given, and that
takes longer than all the rest of a start. With no options of its own the root leaves ``prune COMMAND --help``
and the start of a shell quick.
"""

from __future__ import annotations

from dataclasses import dataclass

from prunecli import __version__
from prunecli.cli import names, output
from prunecli.errors import UsageError


@dataclass(frozen=True)
class Option:
    """One option: its spellings, the long one last; what follows it, if anything; its help."""

    spellings: tuple[str, ...]
    value: str
    help: str


VERSION = Option(("--version",), "", "Print the version.")
COMPLETION = Option(("--show-completion",), "SHELL", "Print the completion script for bash, zsh or fish.")
HELP = Option(("-h", "--help"), "", "Show this message and exit.")
OPTIONS = (VERSION, COMPLETION, HELP)
ASKED = "--complete"
"""What the completion scripts ask with. Not for people, so it is in no help."""


def answered(arguments: list[str]) -> bool:
    """Print what the first argument asks for, if it is one of ``OPTIONS``. Raises ``UsageError``."""
    option, equals, value = arguments[0].partition("=") if arguments else ("", "", "")
    if option in COMPLETION.spellings:
        _show_completion(value if equals else " ".join(arguments[1:2]))
        return True
    if option == ASKED and not equals:
        _offer(*arguments[1:])
        return True
    if equals or option not in (*VERSION.spellings, *HELP.spellings):
        return False
    output.text(f"prune {__version__}" if option in VERSION.spellings else root_help())
    return True


def _offer(kind: str = "", current: str = "", *words: str) -> None:
    from prunecli.cli.offers import offered

    output.lines(offered(kind, current, words))


def root_help() -> str:
    """What ``prune --help`` prints."""
    from prunecli.cli.app import command

    help_text: str = command().make_context("prune", [], resilient_parsing=True).get_help()
    return help_text


def _show_completion(shell: str) -> None:
    if not shell:
        raise UsageError("--show-completion needs the name of a shell", f"one of {', '.join(names.SHELLS)}")
    names.require_known("shell", shell, names.SHELLS)
    from prunecli.cli.app import command
    from prunecli.cli.completions import script

    output.text(script(command(), shell))
