"""``prune compact``: what makes no difference goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from prunecli.cli import jobs, options, output, settings
from prunecli.cli.options import (
    OUTPUT,
    Arch,
    ArchArg,
    Checkpoint,
    Force,
    Input,
    Json,
    Quiet,
    Reports,
    Seed,
    Threads,
    UnsafeLoad,
    network,
    require_from,
    require_one_format,
)


def compact(
    ckpt: Checkpoint,
    arch: Arch = None,
    arch_arg: ArchArg = None,
    input: Input = None,
    unsafe_load: UnsafeLoad = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            rich_help_panel=OUTPUT,
            help="Default: STEM.compact.safetensors beside CKPT, or DIR.compact for a directory.",
        ),
    ] = None,
    report: Reports = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Remove channels that are dead already.

    The network computes the same. Where there are none, OUT holds the same tensors, and a note says so.
    """
    require_one_format(json, quiet)
    require_from("--seed", seed, 0)
    require_from("--threads", threads, 1)
    of = network(arch, arch_arg, input, unsafe_load)
    files = settings.files(ckpt, out, report, arch, made=settings.MADE["compact"])
    files.check(force, dry_run=False)
    import prunecli

    with output.progress(quiet) as progress:
        result = prunecli.compact(
            ckpt, arch=of.arch, arch_args=of.arguments, inputs=of.inputs, unsafe_load=of.unsafe_load,
            seed=seed, threads=threads, progress=progress,
        )  # fmt: skip
        done = replace(result.save(files.output, force=force), command=jobs.command_line())
    output.notes(() if quiet else (*done.network.notes, *done.notes))
    from prunecli.report.files import write_report

    for path in files.reports:
        if not options.is_stdout(path):
            write_report(done, path)
    if json:
        output.document(done.to_json())
    elif quiet:
        output.path(files.output)
    else:
        from prunecli.report.terminal import result as shown

        output.show(*shown(done))
