"""What ``prune run`` was asked to do, checked as far as that is possible without reading a byte of the
checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prunecli.checkpoint.atomic import as_output_error
from prunecli.checkpoint.locating import is_model_directory, is_written_as_directory, refuse_directory
from prunecli.cli import names
from prunecli.cli.course import Course
from prunecli.cli.options import (
    Network,
    bytes_in,
    is_stdout,
    require_data,
    require_ending,
    require_one_format,
    require_readable,
    require_scores,
    require_writable,
)
from prunecli.errors import InputError, UsageError, require_range
from prunecli.gates import Gates
from prunecli.plan import Plan

if TYPE_CHECKING:
    from prunecli.report.model import Report
    from prunecli.report.trained import Finetuning

N = TypeVar("N", int, float)
T = TypeVar("T", "Report", "Finetuning")

_REPORTS = ("prunecli.report/1", "prunecli.finetune/1")
MADE = {"run": "pruned", "finetune": "finetuned", "sparsify": "sparse", "compact": "compact"}
"""What the output of a command is called after where no name is given."""


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
        require_range(0 <= self.protect <= 1, "--protect", self.protect, "a fraction of units, 0 to 1")
        require_range(
            0 < self.max_ratio <= 1, "--max-ratio", self.max_ratio, "a fraction of units, above 0, up to 1"
        )
        require_range(self.round_to >= 1, "--round-to", self.round_to, "a whole number from 1")
        require_range(self.steps >= 1, "--steps", self.steps, "a whole number from 1")
        require_range(
            0 <= self.tolerance < 1, "--tolerance", self.tolerance, "a fraction of the target, 0 to 1"
        )
        require_range(self.seed >= 0, "--seed", self.seed, "a whole number from 0")
        require_range(
            self.threads is None or self.threads >= 1, "--threads", self.threads, "a whole number from 1"
        )


@dataclass(frozen=True)
class Groups:
    """What is asked of single groups, each named as its option."""

    heads: float | None = None
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    ratio_for: Mapping[str, float] = field(default_factory=dict)
    round_to_for: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_target(self) -> bool:
        """Whether this removes anything without a target beside it."""
        return self.heads is not None or any(self.ratio_for.values())

    def check(self) -> None:
        """Raise ``UsageError`` for the first number outside its range."""
        require_range(
            self.heads is None or 0 < self.heads < 1,
            "--heads", self.heads, "the fraction of heads to remove, between 0 and 1",
        )  # fmt: skip
        for glob, ratio in self.ratio_for.items():
            require_range(
                0 <= ratio < 1,
                f"--ratio-for {glob}",
                ratio,
                "the fraction of units to remove, from 0, below 1",
            )
        for glob, multiple in self.round_to_for.items():
            require_range(multiple >= 1, f"--round-to-for {glob}", multiple, "a whole number from 1")


@dataclass(frozen=True)
class Choices:
    """The names of a run, each named as its option."""

    criterion: str
    scheme: str
    reduce: str | None
    normalize: str | None
    device: str
    loss: str | None = None
    temperature: float = 1.0

    def check(self) -> None:
        """Raise ``UsageError`` with the nearest names for the first one that does not exist."""
        names.require_known("criterion", self.criterion, names.CRITERIA, "prunecli.criteria")
        names.require_known("scheme", self.scheme, names.SCHEMES)
        require_scores(self.reduce, self.normalize, self.loss, self.temperature)
        if self.loss == "kd":
            raise UsageError(
                "--loss kd compares with another network, and what is pruned here is the dense one itself",
                "prune score --loss kd --against DENSE scores a pruned one",
            )
        names.require_known("device", self.device, names.DEVICES)


@dataclass(frozen=True)
class Repair:
    """What is done after the cut, each named as its option. ``memory`` as typed."""

    method: str = "lstsq"
    data: str | None = None
    samples: int | None = None
    transform: str | None = None
    memory: str = "4GB"
    seconds: float | None = None

    @property
    def bytes(self) -> int:
        """``memory`` as a number. Raises ``UsageError`` for what is no size."""
        return bytes_in(self.memory)

    def check(self) -> None:
        """Raise ``UsageError`` for the first that is no method, source, number or size."""
        names.require_known("repair", self.method, names.REPAIR)
        require_data(self.data, self.samples, self.transform, 1)
        bytes_in(self.memory)
        seconds = self.seconds is None or self.seconds > 0
        require_range(seconds, "--repair-seconds", self.seconds, "a number of seconds above 0")
        if self.transform is not None and self.data is None:
            raise UsageError("--transform is given without --data", "--data imagefolder:DIR")


@dataclass(frozen=True)
class Files:
    """The files of a run. ``as_directory``: the output is a model directory, like the checkpoint."""

    checkpoint: Path | None
    output: Path
    reports: tuple[Path, ...]
    as_directory: bool = False

    def check(self, force: bool, dry_run: bool, resume: bool = False) -> None:
        """Raise for a file that cannot be read, or that cannot be written although it is going to be. A run
        that is gone on with may have left a report (of a gate that was not met), and replaces it; so does a
        new run, where the report has its usual name.
        """
        for report in self.reports:
            require_ending(report, names.REPORT_ENDINGS)
        if self.checkpoint is not None:
            require_readable(self.checkpoint)
        if not self.as_directory and self.output.suffix != ".safetensors":
            raise UsageError(
                f"{self.output}: the output is a .safetensors file",
                f"-o {self.output.with_suffix('.safetensors')}",
            )
        if dry_run:
            return
        if self.as_directory and self.checkpoint is not None:
            refuse_directory(self.output, self.checkpoint, force)
        for path in self.reports if self.as_directory else (self.output, *self.reports):
            with as_output_error(path):
                itself = self.checkpoint and path.exists() and path.samefile(self.checkpoint)
            if itself:
                raise UsageError(f"{path} is the checkpoint itself", "choose another name with -o")
            told = path in self.reports and (resume or self._tells_of_nothing(path))
            require_writable(path, force or told or is_stdout(path))

    def _tells_of_nothing(self, path: Path) -> bool:
        """Whether ``path`` is the report, under its usual name, of a run that wrote no output."""
        if path != _report_of(self.output, self.as_directory) or not path.is_file():
            return False
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError, OSError):
            return False
        kept = isinstance(found, dict) and found.get("schema") in _REPORTS and "output" in found
        return kept and found["output"] is None

    def beside(self, report: T) -> T:
        """``report`` of a run that wrote no output, and where there is one, that it is another's."""
        if not self.output.exists():
            return report
        note = f"{self.output.name} is that of an earlier run: a gate does not hold, so it was not replaced"
        return replace(report, notes=(*report.notes, note))


@dataclass(frozen=True)
class Printing:
    """What goes to stdout and what may be replaced on disk."""

    as_json: bool
    quiet: bool
    force: bool
    dry_run: bool = False


@dataclass(frozen=True)
class Request:
    """One run, complete."""

    files: Files
    choices: Choices
    repair: Repair
    limits: Limits
    groups: Groups
    target: Mapping[str, float]
    network: Network
    plan_file: Path | None
    printing: Printing
    course: Course = field(default_factory=Course)
    gates: Gates = field(default_factory=Gates)
    latency: bool = True

    def check(self, writes: bool = True) -> None:
        """Raise a ``PruneError`` for the first thing wrong: the command line first, the files after; those
        that are written only where this process ``writes``.
        """
        require_one_format(self.printing.as_json, self.printing.quiet)
        self.choices.check()
        self.repair.check()
        self.limits.check()
        self.groups.check()
        self.course.check(
            self.repair.data, steps=self.limits.steps, planned=self.plan_file is not None,
            dry_run=self.printing.dry_run,
        )  # fmt: skip
        self._check_gates()
        if self.plan_file is None:
            chosen = self.choices
            names.require_data_for([chosen.criterion], self.repair.data)
            names.require_loss_for([chosen.criterion], chosen.loss, chosen.temperature)
        force, writes = self.printing.force, writes and not self.printing.dry_run
        if writes:
            self.course.check_states(self.files.output, force)
        self.files.check(force, not writes, self.course.resume)
        if writes:
            self.course.check_metrics(self.files.output, force)

    def _check_gates(self) -> None:
        course = self.course
        self.gates.require_data(self.repair.data, course.eval_data, trains=course.trainings.any)
        self.gates.require_dense(course.init is None, f"leave it out with --init {course.init}")
        if self.printing.dry_run and self.gates.set.keys() > self.gates.of_sizes.set.keys():
            raise UsageError(
                "--dry-run measures nothing, and there are gates on what is measured",
                "leave --dry-run out, or give only --max-params, --max-macs and --max-bytes",
            )


def files(
    checkpoint: Path | None,
    output: Path | None,
    reports: list[Path] | None,
    arch: str | None = None,
    made: str = "pruned",
    init: str | None = None,
) -> Files:
    """The files with their defaults: STEM.MADE.safetensors (or DIR.MADE) beside the checkpoint, and a report
    beside that. Raises ``UsageError`` where there is no checkpoint and nothing instead.
    """
    if checkpoint is None or init is not None:
        return _files_without(checkpoint, output, reports, arch, init)
    as_directory = is_written_as_directory(checkpoint, arch)
    place = checkpoint if checkpoint.name else checkpoint.resolve()
    if output is None and as_directory:
        inside = not place.is_dir() and is_model_directory(place.parent)
        place = place.resolve().parent if inside else place
        output = place.with_name(f"{place.name if place.is_dir() else place.stem}.{made}")
    elif output is None:
        stem = place.name.removesuffix(".safetensors.index.json")
        stem = stem if stem != place.name or place.is_dir() else place.stem
        output = place.with_name(f"{stem}.{made}.safetensors")
    return Files(checkpoint, output, tuple(reports or [_report_of(output, as_directory)]), as_directory)


def _files_without(
    checkpoint: Path | None,
    output: Path | None,
    reports: list[Path] | None,
    arch: str | None,
    init: str | None,
) -> Files:
    if init is None:
        raise UsageError("missing argument 'CKPT'", "see prune run --help")
    if checkpoint is not None:
        raise UsageError(f"--init {init} begins without a checkpoint", f"leave {checkpoint} out, or --init")
    if arch is None:
        raise UsageError(f"--init {init} needs an architecture", "--arch torchvision:resnet18")
    if output is None:
        raise UsageError(f"--init {init} has no checkpoint to name the output after", "-o OUT.safetensors")
    as_directory = arch.startswith("hf:")
    return Files(None, output, tuple(reports or [_report_of(output, as_directory)]), as_directory)


def _report_of(output: Path, as_directory: bool) -> Path:
    return output.with_name(f"{output.name}.json") if as_directory else output.with_suffix(".json")


def groups(
    heads: float | None,
    only: list[str] | None,
    ignore: list[str] | None,
    ratio_for: list[str] | None,
    round_to_for: list[str] | None,
) -> Groups:
    """What was typed about single groups. Raises ``UsageError`` for text that is not GLOB=NUMBER."""
    return Groups(
        heads,
        tuple(only or ()),
        tuple(ignore or ()),
        _by_glob("--ratio-for", "R", ratio_for or [], float),
        _by_glob("--round-to-for", "N", round_to_for or [], int),
    )


def _by_glob(option: str, number: str, texts: list[str], convert: Callable[[str], N]) -> dict[str, N]:
    """``GLOB=NUMBER`` texts as a mapping. A glob may hold '=' itself, a number cannot."""
    found: dict[str, N] = {}
    for text in texts:
        glob, _, value = text.rpartition("=")
        example = f"{option} 'layer1.*={'0.5' if convert is float else '8'}'"
        try:
            converted = convert(value)
        except ValueError:
            raise UsageError(f"{option} {text} is not GLOB={number}", f"like {example}") from None
        if not glob:
            raise UsageError(f"{option} {text} is not GLOB={number}", f"like {example}")
        if found.setdefault(glob, converted) != converted:
            raise UsageError(
                f"{option} {glob}={found[glob]:g} and {option} {text} contradict each other",
                "give one of them",
            )
    return found


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
