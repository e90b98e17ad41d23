"""The command line: arguments and printing only. ``main`` is the entry point of the ``prune`` command.

Nothing in this package imports torch when it is imported; commands do so in their bodies.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from prunecli import interrupts
from prunecli.cli import early, output
from prunecli.errors import PruneError, UsageError
from prunecli.training.launched import ToldElsewhereError, said_once

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. The only place where errors are caught and printed.

    What is not a ``PruneError`` is a defect: it passes through, and the hook prints it in one line (exit 1).
    Without ``arguments`` it is the command itself, and the process ends after it.
    """
    # What torchrun starts it also stops, and one of the processes says why.
    names = ("SIGINT",) if "WORLD_SIZE" in os.environ else ("SIGINT", "SIGTERM", "SIGHUP")
    with interrupts.Heeded(names, last=arguments is None):
        try:
            return _main(arguments)
        except KeyboardInterrupt:
            return _interrupted()
        except Exception:
            # Something in between took the interrupt for an error of its own.
            if interrupts.came():
                return _interrupted()
            raise


def _main(arguments: Sequence[str] | None) -> int:
    debug = output.debugging()
    output.prepare_streams()
    if not debug:
        sys.excepthook = _unexpected
    try:
        with warnings.catch_warnings():
            if not debug and not sys.warnoptions:
                warnings.simplefilter("ignore")
            return _invoke(list(sys.argv[1:] if arguments is None else arguments))
    except ToldElsewhereError as error:
        return error.exit_code
    except PruneError as error:
        if debug:
            traceback.print_exc()
        output.error(error.message, error.hint)
        return error.exit_code
    except OSError as error:
        # Of all that is wrong with a path this is what pathlib does not take for "not there".
        if error.errno != errno.ENAMETOOLONG:
            raise
        output.error(f"no such file: '{error.filename!s:.60}...' is too long a name", "check the path")
        return UsageError.exit_code


def _interrupted() -> int:
    # After SIGHUP there may be nobody to tell.
    with suppress(OSError):
        output.error("interrupted", None)
    return INTERRUPTED


def _invoke(arguments: list[str]) -> int:
    if early.answered(arguments):
        return 0
    from prunecli.cli.app import command
    from prunecli.cli.usage import PARSER_ERROR, as_usage_error

    try:
        code = command().main(args=arguments, prog_name="prune", standalone_mode=False)
    except PARSER_ERROR as error:
        raise said_once(as_usage_error(error)) from error
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Stands in for Python's own hook, which would print the traceback."""
    output.error(f"internal error: {kind.__name__}: {error}", "set PRUNE_DEBUG=1 to see where it comes from")
