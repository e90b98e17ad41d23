"""``prune inspect``: what is in a checkpoint, layer by layer or group by group."""

from __future__ import annotations

from typing import Annotated

import typer

from prunecli.cli import names, output
from prunecli.cli.options import (
    Arch,
    ArchArg,
    Checkpoint,
    Device,
    Input,
    Json,
    Latency,
    Threads,
    UnsafeLoad,
    network,
    require_from,
    require_readable,
)


def inspect(
    ckpt: Checkpoint,
    groups: Annotated[
        bool, typer.Option("--groups", help="Show what can only be removed together, instead of layers.")
    ] = False,
    arch: Arch = None,
    arch_arg: ArchArg = None,
    input: Input = None,
    unsafe_load: UnsafeLoad = False,
    json: Json = False,
    latency: Latency = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Show the layers or the coupled groups of a checkpoint."""
    of = network(arch, arch_arg, input, unsafe_load)
    names.require_known("device", device, names.DEVICES)
    require_from("--threads", threads, 1)
    require_readable(ckpt)
    import prunecli

    with output.progress(quiet=False) as progress:
        found = prunecli.inspect(
            ckpt, arch=of.arch, arch_args=of.arguments, inputs=of.inputs, unsafe_load=of.unsafe_load,
            latency=latency, device=device, threads=threads, progress=progress,
        )  # fmt: skip
    output.notes((*found.network.notes, *found.notes))
    if json:
        output.document(found.to_json())
        return
    from prunecli.report.terminal import inspection

    output.show(*inspection(found, groups=groups))
