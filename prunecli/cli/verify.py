"""``prune verify``: the proofs, taken again on a written file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunecli.cli import output
from prunecli.cli.options import (
    Arch,
    Json,
    Quiet,
    UnsafeLoad,
    require_one_format,
    require_readable,
    warm_processes,
)
from prunecli.errors import ImpossibleError


def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file that prune wrote.")],
    against: Annotated[
        Path | None,
        typer.Option(metavar="CKPT", help="The dense checkpoint: cut it again and compare."),
    ] = None,
    arch: Arch = None,
    unsafe_load: UnsafeLoad = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove a pruned file: digests, fresh reload, the cut itself."""
    require_one_format(json, quiet)
    require_readable(out)
    if against is not None:
        require_readable(against)
    warm_processes()
    import prunecli

    with output.progress(quiet):
        found = prunecli.verify(out, against=against, arch=arch, unsafe_load=unsafe_load)
    output.notes(() if quiet else (*found.network.notes, *found.notes))
    if json:
        output.document(found.to_json())
    elif not quiet:
        from prunecli.report.terminal import verification

        output.show(*verification(found))
    failed = [proof for proof in found.proofs if not proof.passed]
    if failed:
        raise ImpossibleError(
            f"{out}: {len(failed)} of {len(found.proofs)} proofs failed: {', '.join(p.name for p in failed)}",
            failed[0].detail or "prune it again from the dense checkpoint",
        )
    if quiet:
        output.path(out)
