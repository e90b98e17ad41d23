"""``prune.toml``: options in a file, at its top for all jobs, and in a table for each single one.

Keys are the options without their dashes. What is relative in the file is relative to its folder. Reading it
runs no code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli.cli.keys import TYPED_ONLY, Key, keys_of, shown, value_of
from prunecli.errors import UsageError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "prune.toml"
COMMAND, TABLE, ALL = "command", "job", "all"
USUAL = "run"
"""The command of a job that names none."""
NAMES = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""What a job may be called: what no shell and no terminal reads as something else."""
# Only one of each may be given: where a job or the command line gives one, those below it give way.
_INSTEAD = (("speedup", "flops", "params", "ratio", "plan"), ("ckpt", "init"), ("json", "quiet"))
FOR_ALL = ("json", "quiet")
"""How all that is done is printed, so no key of a single job."""
Values = Mapping[str, Any]
"""By the name of the parameter, as the parser takes them."""


@dataclass(frozen=True)
class Job:
    """One table of the file."""

    name: str
    command: str
    values: Values


@dataclass(frozen=True)
class Config:
    """A whole file. ``defaults``: what is at its top, by the command that it is for."""

    path: Path
    defaults: Mapping[str, Values]
    jobs: tuple[Job, ...]

    def of(self, command: str) -> tuple[Job, ...]:
        """The jobs for ``command``, in the order of the file."""
        return tuple(job for job in self.jobs if job.command == command)

    def chosen(self, names: Iterable[str], command: str) -> tuple[Job | None, ...]:
        """The jobs that ``names`` (of ``--job``) stand for; without any the only one, or None where there is
        none and the top of the file is all. Raises ``UsageError``.
        """
        named, own = list(dict.fromkeys(names)), self.of(command)
        if ALL in named:
            if not own:
                raise UsageError(f"{self.path} has no job for prune {command}", self._known())
            return own
        if not named and len(own) > 1:
            listed = ", ".join(job.name for job in own)
            raise UsageError(
                f"{self.path} has several jobs, and --job names none: {listed}",
                f"--job {own[0].name}, or --job all",
            )
        return tuple(self._named(name, command) for name in named) or own or (None,)

    def values(self, job: Job | None, command: str, typed: Iterable[str]) -> dict[str, Any]:
        """What ``job`` and the top of the file give to ``command``, where the parameters ``typed`` are given
        on the command line.
        """
        above = set(typed)
        found: dict[str, Any] = {}
        for layer in ({} if job is None else job.values, self.defaults.get(command, {})):
            given = {name: value for name, value in layer.items() if not _is_given(name, above)}
            found = {**given, **found}
            above |= given.keys()
        return found

    def _named(self, name: str, command: str) -> Job:
        found = next((job for job in self.jobs if job.name == name), None)
        if found is None:
            near = did_you_mean(name, [*(job.name for job in self.jobs), ALL])
            raise UsageError(f"{self.path} has no job '{name}'", near or self._known())
        if found.command != command:
            raise UsageError(
                f"{self.path}: job {name} is for prune {found.command}",
                f"prune {found.command} --config {self.path} --job {name}",
            )
        return found

    def _known(self) -> str:
        listed = ", ".join(f"{job.name} ({job.command})" for job in self.jobs[:20])
        return f"its jobs: {listed}" if listed else f"a job is a table, like [{TABLE}.fast]"


def _is_given(name: str, above: set[str]) -> bool:
    return name in above or any(name in each and above.intersection(each) for each in _INSTEAD)


def read(path: Path, commands: Mapping[str, Any]) -> Config:
    """The file at ``path``, all of it checked, for ``commands`` by name. Raises ``UsageError``."""
    return _Reading(path, {name: keys_of(command) for name, command in commands.items()}).config(parsed(path))


def parsed(path: Path) -> dict[str, Any]:
    """The file at ``path``, not checked yet. Raises ``UsageError`` for what is no TOML."""
    try:
        found: dict[str, Any] = tomllib.loads(path.read_bytes().decode("utf-8"))
        return found
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}", "--config FILE names another; see docs/config.md") from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", "check its path and permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{path} is not TOML: {error}", 'a line is like speedup = 2, or output = "small.safetensors"'
        ) from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deep", "tables of a job hold options alone") from error


@dataclass(frozen=True)
class _Reading:
    path: Path
    keys: Mapping[str, Mapping[str, Key]]

    @property
    def folder(self) -> Path:
        return self.path.parent

    def config(self, data: dict[str, Any]) -> Config:
        tables = data.pop(TABLE, {})
        if not _is_tables(tables):
            raise UsageError(f"{self.path}: {TABLE} holds tables of options", f"[{TABLE}.fast]")
        defaults: dict[str, dict[str, Any]] = {name: {} for name in self.keys}
        for name, raw in data.items():
            having = [command for command, keys in self.keys.items() if name in keys]
            if not having:
                raise self._unknown(
                    name, str(self.path), {*(key for keys in self.keys.values() for key in keys), TABLE}
                )
            for command in having:
                key = self.keys[command][name]
                defaults[command][key.parameter] = value_of(key, raw, str(self.path), self.folder)
        jobs = tuple(self._job(name, table) for name, table in tables.items())
        return Config(self.path, defaults, jobs)

    def _job(self, name: str, table: dict[str, Any]) -> Job:
        where = f"{self.path}: {TABLE}.{name}"
        if name == ALL or not NAMES.fullmatch(name):
            raise UsageError(
                f"{where}: no job can be called that",
                f"--job {ALL} means all jobs"
                if name == ALL
                else "letters, digits, '_', '-' and '.' make a name",
            )
        command = table.pop(COMMAND, USUAL)
        if not isinstance(command, str) or command not in self.keys:
            known = ", ".join(self.keys)
            raise UsageError(
                f"{where}: {COMMAND} = {shown(command)} is no command with jobs",
                did_you_mean(str(command), self.keys) or f"one of {known}",
            )
        keys = self.keys[command]
        values: dict[str, Any] = {}
        for key, raw in table.items():
            if key in FOR_ALL:
                raise UsageError(
                    f"{where}: {key} says how all that is done is printed, not one job",
                    f"set it above the jobs, or type --{key}",
                )
            if key not in keys:
                raise self._unknown(key, where, {*keys, COMMAND}, f" of prune {command}")
            values[keys[key].parameter] = value_of(keys[key], raw, where, self.folder)
        return Job(name, command, values)

    def _unknown(self, key: str, where: str, known: set[str], of: str = "") -> UsageError:
        if key.replace("-", "_") == TYPED_ONLY:
            return UsageError(
                f"{where}: {key} cannot be set in a file: it lets a checkpoint run code",
                "type --unsafe-load, for a checkpoint whose source you trust",
            )
        others = [f"prune {command}" for command, keys in self.keys.items() if key in keys]
        have = f"{' and '.join(others)} {'have' if len(others) > 1 else 'has'} it" if others else None
        near = have or did_you_mean(key.lstrip("-"), sorted(known))
        return UsageError(
            f"{where}: unknown key '{key}'{of}",
            near or "keys are the options without dashes; see docs/config.md",
        )


def _is_tables(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(table, dict) for table in value.values())
