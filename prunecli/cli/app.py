"""The ``prune`` command: its subcommands and the options that stand before them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from prunecli import __version__
from prunecli.cli import demo, inspect, ls, names, output, run, verify
from prunecli.cli.help import Command, Group

app = typer.Typer(
    name="prune",
    cls=Group,
    help="Cut a saved PyTorch checkpoint down to a smaller, dense, reloadable one.",
    epilog="Start with: prune demo, then: prune run CKPT --speedup 2",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (inspect.inspect, run.run, verify.verify, ls.ls, demo.demo):
    app.command(cls=Command)(function)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.text(f"prune {__version__}")
        raise typer.Exit


def show_completion(shell: str) -> int:
    """Print the completion script for ``shell``. Raises ``UsageError`` for one there is none for."""
    names.require_known("shell", shell, names.SHELLS)
    from prunecli.cli import completions

    output.text(completions.script(command(), shell))
    return 0


def _print_completion(shell: str | None) -> None:
    if shell is not None:
        raise typer.Exit(show_completion(shell))


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    show_completion: Annotated[
        str | None,
        typer.Option(
            metavar="SHELL",
            callback=_print_completion,
            is_eager=True,
            help="Print the completion script for bash, zsh or fish.",
        ),
    ] = None,
) -> None:
    if context.invoked_subcommand is None:
        output.aside(context.get_help())
        raise typer.Exit(2)


def command() -> Any:
    """The parsed-and-ready form of ``app``."""
    return typer.main.get_command(app)
