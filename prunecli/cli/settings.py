"""What ``prune run`` was asked to do, checked as far as that is possible without reading a byte of the
checkpoint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prunecli.cli import names
from prunecli.cli.options import Network, is_stdout, require_one_format, require_readable, require_writable
from prunecli.errors import InputError, UsageError
from prunecli.plan import Plan

TARGETS = ("speedup", "flops", "params", "ratio")


@dataclass(frozen=True)
class Limits:
    """The numbers of a run, each named as its option."""

    protect: float
    max_ratio: float
    round_to: int
    steps: int
    tolerance: float
    seed: int
    threads: int | None

    def check(self) -> None:
        """Raise ``UsageError`` for the first number outside its range."""
        _require(0 <= self.protect <= 1, "--protect", self.protect, "a fraction of units, 0 to 1")
        _require(
            0 < self.max_ratio <= 1, "--max-ratio", self.max_ratio, "a fraction of units, above 0, up to 1"
        )
        _require(self.round_to >= 1, "--round-to", self.round_to, "a whole number from 1")
        _require(self.steps >= 1, "--steps", self.steps, "a whole number from 1")
        _require(0 <= self.tolerance < 1, "--tolerance", self.tolerance, "a fraction of the target, 0 to 1")
        _require(self.seed >= 0, "--seed", self.seed, "a whole number from 0")
        _require(
            self.threads is None or self.threads >= 1, "--threads", self.threads, "a whole number from 1"
        )


@dataclass(frozen=True)
class Choices:
    """The names of a run, each named as its option."""

    criterion: str
    scheme: str
    reduce: str
    normalize: str | None
    repair: str
    device: str

    def check(self) -> None:
        """Raise ``UsageError`` with the nearest names for the first one that does not exist."""
        names.require_known("criterion", self.criterion, names.CRITERIA, "prunecli.criteria")
        names.require_known("scheme", self.scheme, names.SCHEMES)
        names.require_known("reduction", self.reduce, names.REDUCE)
        if self.normalize is not None:
            names.require_known("normalization", self.normalize, names.NORMALIZE)
        if self.repair not in names.REPAIR:
            raise UsageError(
                f"--repair {self.repair}: this version has no repair", "leave it at --repair none"
            )
        names.require_known("device", self.device, names.DEVICES)


@dataclass(frozen=True)
class Files:
    """The files of a run."""

    checkpoint: Path
    output: Path
    reports: tuple[Path, ...]

    def check(self, force: bool, dry_run: bool) -> None:
        """Raise for a file that cannot be read, or that cannot be written although it is going to be."""
        for report in self.reports:
            if report.suffix not in names.REPORT_ENDINGS:
                endings = ", ".join(names.REPORT_ENDINGS)
                raise UsageError(f"--report {report}: no report of that kind", f"known endings: {endings}")
        if self.output.suffix != ".safetensors":
            raise UsageError(
                f"{self.output}: the output is a .safetensors file",
                f"-o {self.output.with_suffix('.safetensors')}",
            )
        require_readable(self.checkpoint)
        if dry_run:
            return
        for path in (self.output, *self.reports):
            if path.exists() and path.samefile(self.checkpoint):
                raise UsageError(f"{path} is the checkpoint itself", "choose another name with -o")
            require_writable(path, force or is_stdout(path))


@dataclass(frozen=True)
class Printing:
    """What goes to stdout and what may be replaced on disk."""

    as_json: bool
    quiet: bool
    force: bool
    dry_run: bool


@dataclass(frozen=True)
class Request:
    """One run, complete."""

    files: Files
    choices: Choices
    limits: Limits
    target: Mapping[str, float]
    network: Network
    ignore: tuple[str, ...]
    plan_file: Path | None
    printing: Printing

    def check(self) -> None:
        """Raise a ``PruneError`` for the first thing wrong: the command line first, the files after."""
        require_one_format(self.printing.as_json, self.printing.quiet)
        self.choices.check()
        self.limits.check()
        self.files.check(self.printing.force, self.printing.dry_run)


def files(checkpoint: Path, output: Path | None, reports: list[Path] | None) -> Files:
    """The files with their defaults: STEM.pruned.safetensors beside the checkpoint, and a report beside
    that.
    """
    if output is None:
        stem = checkpoint.name.removesuffix(".safetensors.index.json")
        stem = stem if stem != checkpoint.name else checkpoint.stem
        output = checkpoint.with_name(f"{stem}.pruned.safetensors")
    return Files(checkpoint, output, tuple(reports or [output.with_suffix(".json")]))


def target(given: Mapping[str, float | None], plan: Path | None) -> dict[str, float]:
    """The one target as an argument for ``prunecli.prune``, none with a plan. Raises ``UsageError``."""
    asked = {kind: value for kind, value in given.items() if value is not None}
    if len(asked) + (plan is not None) != 1:
        found = " and ".join(f"--{kind}" for kind in (*asked, *(["plan"] if plan else [])))
        raise UsageError(
            f"{found} together: one target at a time" if found else "no target given",
            "like --speedup 2, --flops 0.5, --params 0.5 or --ratio 0.5",
        )
    for kind, value in asked.items():
        if kind == "speedup":
            fits = 1 < value < math.inf
            _require(fits, "--speedup", value, "dense MACs / pruned MACs, above 1: --speedup 2 halves them")
        elif kind == "ratio":
            _require(0 < value < 1, "--ratio", value, "the fraction of units to remove, between 0 and 1")
        else:
            _require(0 < value < 1, f"--{kind}", value, "the fraction to keep, between 0 and 1")
    return asked


def read_plan(path: Path | None) -> Plan | None:
    """The plan in ``path``. Raises ``UsageError`` for a missing file, ``InputError`` for anything but a
    plan.
    """
    if path is None:
        return None
    require_readable(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{path} is not JSON", "write a plan with --dry-run --json > plan.json") from error
    return Plan.from_json(data)


def _require(fits: bool, option: str, value: float | None, meaning: str) -> None:
    # NaN fails every comparison, so it is refused like any other number out of range.
    if not fits:
        raise UsageError(f"{option} {value:g} is out of range", f"{option} is {meaning}")
