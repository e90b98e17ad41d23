"""``prune demo``: a small network on real data, cut on this machine, with its accuracy before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunecli.cli import output
from prunecli.cli.options import (
    OUTPUT,
    Force,
    Json,
    Quiet,
    require_one_format,
    require_writable,
    warm_processes,
)
from prunecli.cli.targets import TARGET, target


def demo(
    out: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="OUT", rich_help_panel=OUTPUT, help="Where the result goes."),
    ] = Path("demo.pruned.safetensors"),
    speedup: Annotated[
        float,
        typer.Option(metavar="X", rich_help_panel=TARGET, help="Dense MACs / pruned MACs, like 2."),
    ] = 2.0,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prune a small digit classifier that comes with this package."""
    require_one_format(json, quiet)
    target({"speedup": speedup})
    report_file = out.with_suffix(".json")
    for path in (out, report_file):
        require_writable(path, force)
    warm_processes()
    from prunecli.demo import run
    from prunecli.report.files import write_report

    with output.progress(quiet) as progress:
        done = run(out, speedup=speedup, force=force, progress=progress)
    write_report(done.report, report_file)
    output.notes(() if quiet else (*done.report.network.notes, *done.report.notes))
    if quiet:
        output.path(out)
    elif json:
        accuracy = {"before": done.accuracy_before, "after": done.accuracy_after, "images": done.images}
        output.document({"schema": "prunecli.demo/1", "accuracy": accuracy, "report": done.report.to_json()})
    else:
        from prunecli.report.terminal import result
        from prunecli.report.text import plural

        output.show(*result(done.report))
        output.text(
            f"\naccuracy on {plural(done.images, 'test image')}: "
            f"{done.accuracy_before:.1f} % before, {done.accuracy_after:.1f} % after, no training in between"
        )
