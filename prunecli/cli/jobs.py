"""Commands that take their options from ``prune.toml`` too: ``--config`` and ``--job``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from prunecli.cli import config, output
from prunecli.cli.config import Config, Job
from prunecli.cli.help import Command
from prunecli.cli.options import RUNNING, is_stdout, require_one_format
from prunecli.cli.usage import PARSER_ERROR, as_usage_error
from prunecli.errors import PruneError, UsageError
from prunecli.training.launched import launched, said_once

FILE, NAMES = "config_file", "job_names"
_SEVERAL = "prunecli.cli.jobs"
_OF_ITS_OWN = {
    "output": 'an output of its own, like output = "small.safetensors"',
    "report": 'a report of its own, like report = "small.json"',
}
_command: ContextVar[tuple[str, ...] | None] = ContextVar("command", default=None)

_options = typer.Typer(add_completion=False)


@_options.command()
def _of_every_command(
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            rich_help_panel=RUNNING,
            expose_value=False,
            help=f"Take options from FILE (TOML); what is typed goes first. With --job: {config.NAME}.",
        ),
    ] = None,
    job_names: Annotated[
        list[str] | None,
        typer.Option(
            "--job",
            metavar="NAME",
            rich_help_panel=RUNNING,
            expose_value=False,
            help=f"Which job of that file, or {config.ALL} of this command. Repeatable.",
        ),
    ] = None,
) -> None:
    """Holds the two options; never run."""


def command_line() -> tuple[str, ...]:
    """What was typed; with a configuration file, what would have to be typed without it."""
    return _command.get() or ("prune", *sys.argv[1:])


@dataclass(frozen=True)
class _Selected:
    """The job that a context is for."""

    config: Config
    job: Job | None


@dataclass(frozen=True)
class _Several:
    config: Config
    jobs: tuple[Job, ...]
    arguments: tuple[str, ...]
    typed: Mapping[str, Any]

    def given(self, name: str) -> bool:
        """Whether a switch that is the same for all jobs is on."""
        return bool(
            self.config.values(None, self.jobs[0].command, self.typed).get(name) or self.typed.get(name)
        )


class Configured(Command):
    """A command with ``--config`` and ``--job``. Several jobs run one after the other."""

    def __init__(self, *arguments: Any, params: list[Any] | None = None, **options: Any) -> None:
        own = typer.main.get_command(_options).params
        super().__init__(
            *arguments, params=[*(params or []), *(p for p in own if p.name in (FILE, NAMES))], **options
        )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises ``UsageError`` for what is wrong in the file."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        try:
            selected = ctx.obj if isinstance(ctx.obj, _Selected) else self._selected(ctx, args)
        except PruneError as error:
            raise said_once(error) from error
        if isinstance(selected, _Several):
            ctx.meta[_SEVERAL] = selected
            return []
        if selected is None:
            _command.set(None)
            return super().parse_args(ctx, args)
        typed = self._typed(ctx, args)
        ctx.default_map = selected.config.values(selected.job, ctx.info_name, typed)
        rest: list[str] = super().parse_args(ctx, args)
        _command.set(_spelled(ctx))
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Returns the exit code where there are several jobs."""
        several = ctx.meta.pop(_SEVERAL, None)
        if several is None:
            return super().invoke(ctx)
        return _run_each(several, lambda job: self._run(ctx, several, job))

    def _run(self, ctx: Any, several: _Several, job: Job) -> None:
        obj = _Selected(several.config, job)
        with self.make_context(ctx.info_name, list(several.arguments), parent=ctx.parent, obj=obj) as inner:
            super().invoke(inner)

    def _typed(self, ctx: Any, args: list[str]) -> dict[str, Any]:
        """By parameter. Nothing is converted, and nothing missed yet."""
        found = self.make_parser(ctx).parse_args(args=list(args))[0]
        return {name: value for name, value in found.items() if isinstance(value, str | bool | list | tuple)}

    def _selected(self, ctx: Any, args: list[str]) -> _Selected | _Several | None:
        typed = self._typed(ctx, args)
        path, names = typed.get(FILE), list(typed.get(NAMES) or [])
        if "help" in typed or (path is None and not names):
            return None
        commands = ctx.parent.command.commands
        read = config.read(
            Path(path or config.NAME),
            {name: each for name, each in commands.items() if isinstance(each, Configured)},
        )
        chosen = read.chosen(names, ctx.info_name)
        if len(chosen) == 1:
            return _Selected(read, chosen[0])
        if launched().size > 1:
            raise UsageError(
                "torchrun runs one job at a time",
                f"one of --job {', '.join(job.name for job in chosen if job is not None)}",
            )
        several = _Several(read, tuple(job for job in chosen if job is not None), tuple(args), typed)
        require_one_format(several.given("json"), several.given("quiet"))
        _require_apart(several)
        return several


def _spelled(ctx: Any) -> tuple[str, ...]:
    """What of ``ctx`` is not a default, as it would be typed: arguments, then options."""
    words: list[str] = []
    for each in sorted(ctx.command.params, key=lambda each: each.param_type_name != "argument"):
        source, value = ctx.get_parameter_source(each.name), ctx.params.get(each.name)
        if source is None or source.name == "DEFAULT" or value is None or value is False:
            continue
        if each.param_type_name == "argument":
            words.append(str(value))
            continue
        option = max(each.opts, key=len)
        for one in value if each.multiple else [value]:
            # A value that begins with a dash is none by itself.
            words += (
                [option]
                if value is True
                else [f"{option}={one}"]
                if str(one)[:1] == "-"
                else [option, str(one)]
            )
    return ("prune", ctx.info_name, *words)


def _require_apart(several: _Several) -> None:
    """Raise ``UsageError`` where two jobs would write the same file."""
    seen: dict[str, str] = {}
    for job in several.jobs:
        values = {**several.config.values(job, job.command, several.typed), **several.typed}
        if values.get("dry_run"):
            continue
        for path, key in _written(job.command, values).items():
            other = seen.setdefault(os.path.realpath(path), job.name)
            if other != job.name:
                raise UsageError(
                    f"{several.config.path}: jobs {other} and {job.name} would write the same file: {path}",
                    f"give each {_OF_ITS_OWN[key]}",
                )


def _written(command: str, values: Mapping[str, Any]) -> dict[Path, str]:
    """The outputs and reports of a job with these values, and the key that sets each."""
    from prunecli.cli import settings

    out = None if values.get("out") is None else Path(values["out"])
    reports = [Path(each) for each in values.get("report") or ()]
    if command in settings.MADE:
        ckpt = None if values.get("ckpt") is None else Path(values["ckpt"])
        try:
            files = settings.files(
                ckpt, out, reports, values.get("arch"), settings.MADE[command], values.get("init")
            )
        except PruneError:  # the job says so itself, and writes nothing
            return {}
        out, reports = files.output, list(files.reports)
    told = {path: "report" for path in reports if not is_stdout(path)}
    return told if out is None else {out: "output", **told}


def _run_each(several: _Several, run: Callable[[Job], None]) -> int:
    """The exit code of the first job that failed. The others run all the same."""
    as_json, quiet = several.given("json"), several.given("quiet")
    results: list[dict[str, Any]] = []
    for job in several.jobs:
        with output.collected(as_json) as documents:
            error = _error_of(run, job, quiet)
        code, message = (0, None) if error is None else (error.exit_code, error.message)
        result = documents[0] if documents else None
        results.append(
            {
                "name": job.name, "command": job.command, "exit_code": code, "error": message,
                "result": result,
            }
        )  # fmt: skip
    if as_json:
        output.document({"schema": "prunecli.jobs/1", "jobs": results})
    codes: list[int] = [each["exit_code"] for each in results if each["exit_code"]]
    if codes or not quiet:
        output.aside("\n".join(f"job {each['name']}: {_outcome(each)}" for each in results))
    return codes[0] if codes else 0


def _error_of(run: Callable[[Job], None], job: Job, quiet: bool) -> PruneError | None:
    """Runs one. The only place beside ``main`` where errors are caught: each is the end of one job alone."""
    if not quiet:
        output.aside(f"job {job.name}")
    try:
        run(job)
        return None
    except PARSER_ERROR as error:
        failed: PruneError = as_usage_error(error)
    except PruneError as error:
        failed = error
    if output.debugging():
        traceback.print_exception(failed)
    output.error(f"job {job.name}: {failed.message}", failed.hint)
    return failed


def _outcome(result: Mapping[str, object]) -> str:
    return f"failed, exit code {result['exit_code']}" if result["exit_code"] else "done"
