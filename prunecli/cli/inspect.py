"""``prune inspect``: what is in a checkpoint, layer by layer or group by group."""

from __future__ import annotations

from typing import Annotated

import typer

from prunecli.cli import output
from prunecli.cli.options import Arch, ArchArg, Checkpoint, Input, Json, UnsafeLoad, network, require_readable


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
) -> None:
    """Show the layers or the coupled groups of a checkpoint."""
    of = network(arch, arch_arg, input, unsafe_load)
    require_readable(ckpt)
    import prunecli

    with output.progress(quiet=False):
        found = prunecli.inspect(
            ckpt, arch=of.arch, arch_args=of.arguments, inputs=of.inputs, unsafe_load=of.unsafe_load
        )
    output.notes((*found.network.notes, *found.notes))
    if json:
        output.document(found.to_json())
        return
    from prunecli.report.terminal import inspection

    output.show(*inspection(found, groups=groups))
