"""The ``prune`` command and its subcommands. Options of the command itself are in ``early.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from prunecli.cli import (
    demo,
    diff,
    evaluate,
    explain,
    finetune,
    inspect,
    ls,
    output,
    run,
    score,
    sparsify,
    verify,
)
from prunecli.cli.help import Command, Group

app = typer.Typer(
    name="prune",
    cls=Group,
    help="Cut a saved PyTorch checkpoint down to a smaller, dense, reloadable one.",
    epilog="Start with: prune demo, then: prune run CKPT --speedup 2",
    add_completion=False,
    add_help_option=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "inspect": inspect.inspect,
    "explain": explain.explain,
    "score": score.score,
    "run": run.run,
    "finetune": finetune.finetune,
    "sparsify": sparsify.sparsify,
    "verify": verify.verify,
    "eval": evaluate.evaluate,
    "diff": diff.diff,
    "ls": ls.ls,
    "demo": demo.demo,
}
for name, function in _COMMANDS.items():
    app.command(name, cls=Command)(function)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.aside(context.get_help())
        raise typer.Exit(2)


def command() -> Any:
    """The parsed-and-ready form of ``app``."""
    return typer.main.get_command(app)
