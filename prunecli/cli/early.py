"""The options of ``prune`` itself. They are answered before Typer parses anything.

Typer loads a validation library to read the first value of any option, which takes longer than all the rest of
a start; with no options of its own, the root leaves ``prune COMMAND --help`` and shell start-up quick.
"""

from __future__ import annotations

from prunecli import __version__
from prunecli.cli import names, output
from prunecli.errors import UsageError

# Spelling: (what follows, help).
OPTIONS: dict[str, tuple[str, str]] = {
    "--version": ("", "Print the version."),
    "--show-completion": ("SHELL", "Print the completion script for bash, zsh or fish."),
}


def answered(arguments: list[str]) -> bool:
    """Print what the first argument asks for, if it is one of ``OPTIONS``. Raises ``UsageError``."""
    if arguments[:1] == ["--version"]:
        output.text(f"prune {__version__}")
        return True
    option, equals, shell = arguments[0].partition("=") if arguments else ("", "", "")
    if option != "--show-completion":
        return False
    if not equals:
        shell = arguments[1] if len(arguments) > 1 else ""
    if not shell:
        raise UsageError("--show-completion needs the name of a shell", f"one of {', '.join(names.SHELLS)}")
    names.require_known("shell", shell, names.SHELLS)
    from prunecli.cli.app import command
    from prunecli.cli.completions import script

    output.text(script(command(), shell))
    return True
