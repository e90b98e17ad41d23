"""``prune score``: how important the units are, under one criterion or several side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunecli.cli import names, options, output
from prunecli.cli.options import (
    OUTPUT,
    SCORES,
    Arch,
    ArchArg,
    CalibrationCount,
    Checkpoint,
    Data,
    Device,
    Force,
    Ignore,
    Input,
    Json,
    Loss,
    Memory,
    Normalize,
    Only,
    Reduce,
    Seed,
    Temperature,
    Threads,
    Transform,
    UnsafeLoad,
)
from prunecli.errors import UsageError

if TYPE_CHECKING:
    from prunecli.report.scored import Scoring


# Long because Typer reads the options from the signature.
def score(
    ckpt: Checkpoint,
    criterion: Annotated[
        str,
        typer.Option(
            metavar="A,B,...", rich_help_panel=SCORES, help="Importance scores; see prune ls criteria."
        ),
    ] = "magnitude-l2",
    reduce: Reduce = None,
    normalize: Normalize = None,
    loss: Loss = None,
    temperature: Temperature = 1.0,
    against: Annotated[
        Path | None,
        typer.Option(metavar="CKPT", rich_help_panel=SCORES, help="The other network of --loss kd."),
    ] = None,
    correlate: Annotated[
        bool,
        typer.Option(
            "--correlate", rich_help_panel=SCORES, help="Show how alike the criteria order the units."
        ),
    ] = False,
    data: Data = None,
    samples: CalibrationCount = None,
    transform: Transform = None,
    memory: Memory = "4GB",
    only: Only = None,
    ignore: Ignore = None,
    arch: Arch = None,
    arch_arg: ArchArg = None,
    input: Input = None,
    unsafe_load: UnsafeLoad = False,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=OUTPUT,
            help="Where the scores go (.json, or .csv with a row per unit). Repeatable.",
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            rich_help_panel=OUTPUT,
            help="Print only group, unit, criterion and score of every unit, separated by tabs.",
        ),
    ] = False,
    device: Device = "auto",
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Show how important units are, under one criterion or several."""
    criteria = tuple(dict.fromkeys(name.strip() for name in criterion.split(",")))
    files = _Files(ckpt, against, tuple(report or ()))
    options.require_one_format(json, quiet)
    options.require_scores(reduce, normalize, loss, temperature)
    _require_criteria(criteria, loss, temperature, data, against)
    if correlate and len(criteria) < 2:
        raise UsageError("--correlate compares two criteria or more", "like --criterion magnitude-l2,lamp")
    options.require_data(data, samples, transform, 1)
    names.require_known("device", device.partition(":")[0], names.DEVICES)
    options.require_from("--seed", seed, 0)
    options.require_from("--threads", threads, 1)
    room = options.bytes_in(memory)
    of = options.network(arch, arch_arg, input, unsafe_load)
    files.check(force)
    import prunecli

    with output.progress(quiet) as progress:
        found = prunecli.score(
            ckpt, criteria=criteria, data=data, samples=samples, loss=loss, temperature=temperature,
            reduce=reduce, normalize=normalize, against=against, arch=of.arch, arch_args=of.arguments,
            inputs=of.inputs, only=tuple(only or ()), ignore=tuple(ignore or ()), transform=transform,
            memory=room, seed=seed, device=device, threads=threads, progress=progress,
            unsafe_load=of.unsafe_load,
        )  # fmt: skip
    files.write(found)
    _show(found, json, quiet, correlate)


@dataclass(frozen=True)
class _Files:
    checkpoint: Path
    against: Path | None
    reports: tuple[Path, ...]

    def check(self, force: bool) -> None:
        """Raise for a file that cannot be read, and for one that cannot be written."""
        for path in self.reports:
            options.require_ending(path, names.SCORE_ENDINGS)
        for path in (self.checkpoint, *([] if self.against is None else [self.against])):
            options.require_readable(path)
        for path in self.reports:
            options.require_writable(path, force or options.is_stdout(path))

    def write(self, found: Scoring) -> None:
        from prunecli.report.files import write_scores

        for path in self.reports:
            if not options.is_stdout(path):
                write_scores(found, path)


def _require_criteria(
    criteria: tuple[str, ...], loss: str | None, temperature: float, data: str | None, against: Path | None
) -> None:
    """Raise ``UsageError`` for an unknown criterion, and for one that lacks what it looks at."""
    for name in criteria:
        names.require_known("criterion", name, names.CRITERIA, "prunecli.criteria")
    names.require_data_for(criteria, data)
    names.require_loss_for(criteria, loss, temperature)
    if loss == "kd" and against is None:
        raise UsageError("--loss kd compares with another network, and there is none", "--against DENSE")
    if against is not None and loss != "kd":
        raise UsageError("--against is given, and nothing is compared with it", "--loss kd")


def _show(found: Scoring, json: bool, quiet: bool, correlate: bool) -> None:
    if quiet:
        output.rows(found.rows)
        return
    output.notes((*found.network.notes, *found.notes))
    if json:
        output.document(found.to_json())
        return
    from prunecli.report.scoreboard import scoring

    output.show(*scoring(found, correlate))
