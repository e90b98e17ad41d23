"""``prune inspect``: what is in a checkpoint, layer by layer or group by group, and which of it is zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from prunecli.cli import names, output
from prunecli.cli.jobs import command_line
from prunecli.cli.options import (
    Arch,
    ArchArg,
    CalibrationCount,
    Checkpoint,
    Data,
    Device,
    Force,
    Input,
    Json,
    Latency,
    LayerReports,
    Seed,
    Threads,
    Transform,
    UnsafeLoad,
    network,
    require_besides,
    require_data,
    require_from,
    require_readable,
    write_besides,
)
from prunecli.errors import UsageError


def inspect(
    ckpt: Checkpoint,
    groups: Annotated[
        bool, typer.Option("--groups", help="Show what can only be removed together, instead of layers.")
    ] = False,
    sparsity: Annotated[
        bool,
        typer.Option(
            "--sparsity",
            help="Show zeros of every layer: dead, equal and (with --data) inactive channels, 2:4.",
        ),
    ] = False,
    data: Data = None,
    samples: CalibrationCount = None,
    transform: Transform = None,
    arch: Arch = None,
    arch_arg: ArchArg = None,
    input: Input = None,
    unsafe_load: UnsafeLoad = False,
    seed: Seed = 0,
    report: LayerReports = None,
    force: Force = False,
    json: Json = False,
    latency: Latency = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Show the layers, the coupled groups or the zeros of a checkpoint.

    A --report has all of them.
    """
    if groups and sparsity:
        raise UsageError("--groups and --sparsity each decide what is shown", "give one of them")
    require_data(data, samples, transform, 1)
    require_from("--seed", seed, 0)
    if data is None and (samples is not None or transform is not None):
        given = "--samples" if samples is not None else "--transform"
        raise UsageError(f"{given} is given without --data", "--data imagefolder:DIR")
    of = network(arch, arch_arg, input, unsafe_load)
    names.require_known("device", device, names.DEVICES)
    require_from("--threads", threads, 1)
    require_readable(ckpt)
    require_besides(report or (), [ckpt], force)
    import prunecli

    with output.progress(quiet=False) as progress:
        found = prunecli.inspect(
            ckpt, arch=of.arch, arch_args=of.arguments, inputs=of.inputs, unsafe_load=of.unsafe_load,
            latency=latency, device=device, threads=threads, progress=progress,
            data=data, samples=samples, transform=transform, seed=seed,
        )  # fmt: skip
    found = replace(found, command=command_line())
    write_besides(found, report or ())
    output.notes((*found.network.notes, *found.notes))
    if json:
        output.document(found.to_json())
        return
    from prunecli.report.terminal import inspection

    output.show(*inspection(found, groups=groups, zeros=sparsity))
