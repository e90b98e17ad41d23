"""``prune eval``: how good a checkpoint is on data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunecli.cli import names, output
from prunecli.cli.gates import (
    MaxBytes,
    MaxDrop,
    MaxLatency,
    MaxMacs,
    MaxParams,
    MinAccuracy,
    MinAgreement,
    gates,
)
from prunecli.cli.jobs import command_line
from prunecli.cli.options import (
    OUTPUT,
    Arch,
    ArchArg,
    BatchSize,
    Checkpoint,
    Data,
    Device,
    Force,
    Input,
    Json,
    NetworkReports,
    SampleCount,
    Seed,
    Transform,
    network,
    require_besides,
    require_data,
    require_one_format,
    require_readable,
    write_besides,
)
from prunecli.errors import UsageError
from prunecli.gates import require_passed

if TYPE_CHECKING:
    from prunecli.report.figures import Quality
    from prunecli.report.measured import Evaluation


def evaluate(
    ctx: typer.Context,
    ckpt: Checkpoint,
    data: Data = None,
    samples: SampleCount = None,
    batch_size: BatchSize = 64,
    transform: Transform = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="CKPT", help="The dense checkpoint: say how near the outputs are to its own."),
    ] = None,
    arch: Arch = None,
    arch_arg: ArchArg = None,
    input: Input = None,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_bytes: MaxBytes = None,
    max_latency: MaxLatency = None,
    min_accuracy: MinAccuracy = None,
    max_drop: MaxDrop = None,
    min_agreement: MinAgreement = None,
    device: Device = "auto",
    seed: Seed = 0,
    report: NetworkReports = None,
    force: Force = False,
    json: Json = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            rich_help_panel=OUTPUT,
            help="Print only the top-1 accuracy, or what there is of agreement and output error.",
        ),
    ] = False,
) -> None:
    """Measure accuracy, and how near a checkpoint is to the dense one.

    All samples are taken unless --samples says how many.
    """
    require_one_format(json, quiet)
    if data is None:
        raise UsageError("no data given", "like --data imagefolder:DIR; prune eval --help lists the sources")
    require_data(data, samples, transform, batch_size)
    names.require_known("device", device.partition(":")[0], names.DEVICES)
    of, limits = network(arch, arch_arg, input), gates(ctx.params)
    limits.require_data(data)
    limits.require_dense(against is not None, "--against DENSE")
    inputs = [ckpt, *([] if against is None else [against])]
    for path in inputs:
        require_readable(path)
    require_besides(report or (), inputs, force)
    import prunecli

    with output.progress(quiet) as progress:
        found = prunecli.evaluate(
            ckpt, data=data, samples=samples, batch_size=batch_size, transform=transform, against=against,
            arch=of.arch, arch_args=of.arguments, inputs=of.inputs, seed=seed, device=device,
            progress=progress, **limits.for_api,
        )  # fmt: skip
    found = replace(found, command=command_line())
    write_besides(found, report or ())
    _show(found, json, quiet)
    require_passed(found.gates, instead="another checkpoint")


def _show(found: Evaluation, json: bool, quiet: bool) -> None:
    if quiet:
        output.text(f"{_first_figure(found.quality):.6g}")
        return
    output.notes((*found.network.notes, *found.notes))
    if json:
        output.document(found.to_json())
        return
    from prunecli.report.evaluated import evaluation

    output.show(*evaluation(found))


def _first_figure(quality: Quality) -> float:
    figures = (quality.top1, quality.agreement, quality.error)
    return next(figure for figure in figures if figure is not None)
