"""``prune explain``: what goes together with a layer or a group, and why something is pinned."""

from __future__ import annotations

from typing import Annotated

import typer

from prunecli.cli import output
from prunecli.cli.options import (
    OUTPUT,
    Arch,
    ArchArg,
    Checkpoint,
    Input,
    Json,
    UnsafeLoad,
    network,
    require_one_format,
    require_readable,
)


def explain(
    ckpt: Checkpoint,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A group, a module, a parameter, or a glob over those.")
    ],
    arch: Arch = None,
    arch_arg: ArchArg = None,
    input: Input = None,
    unsafe_load: UnsafeLoad = False,
    json: Json = False,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", rich_help_panel=OUTPUT, help="Print only the names of the groups."),
    ] = False,
) -> None:
    """Show what goes together with a layer, and why something stays."""
    require_one_format(json, quiet)
    of = network(arch, arch_arg, input, unsafe_load)
    require_readable(ckpt)
    import prunecli

    with output.progress(quiet):
        found = prunecli.explain(
            ckpt, name, arch=of.arch, arch_args=of.arguments, inputs=of.inputs, unsafe_load=of.unsafe_load
        )
    if quiet:
        output.lines(group.row.name for group in found.groups)
        return
    output.notes((*found.network.notes, *found.notes))
    if json:
        output.document(found.to_json())
        return
    from prunecli.report.explained import explanation

    output.show(*explanation(found))
