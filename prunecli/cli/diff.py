"""``prune diff``: two checkpoints or reports side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunecli.cli import names, options, output
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
    Data,
    Device,
    Force,
    Input,
    Json,
    SampleCount,
    Seed,
    Transform,
    UnsafeLoad,
)
from prunecli.errors import UsageError
from prunecli.gates import Gates, require_measurable, require_passed

if TYPE_CHECKING:
    from prunecli.report.differences import Difference

_WHAT = "a checkpoint, or the .json of a report (also of a training) or an inspection."


# Long because Typer reads the options from the signature.
def diff(
    ctx: typer.Context,
    a: Annotated[Path, typer.Argument(metavar="A", help=f"The first: {_WHAT}")],
    b: Annotated[Path, typer.Argument(metavar="B", help=f"The second: {_WHAT} Gates are judged on it.")],
    data: Data = None,
    samples: SampleCount = None,
    batch_size: BatchSize = 64,
    transform: Transform = None,
    arch: Arch = None,
    arch_arg: ArchArg = None,
    input: Input = None,
    unsafe_load: UnsafeLoad = False,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=OUTPUT,
            help="Where it goes besides: .json, .md, .html or .csv (a row per layer). Repeatable.",
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
            help="Print only how B relates to A, in one word: identical, changed, cut, resized, alike, "
            "described, runs or different.",
        ),
    ] = False,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_bytes: MaxBytes = None,
    max_latency: MaxLatency = None,
    min_accuracy: MinAccuracy = None,
    max_drop: MaxDrop = None,
    min_agreement: MinAgreement = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Show how two checkpoints or reports differ.

    In sizes, layers and weights, and in accuracy on --data. A is what B is compared with: --max-drop is from
    its accuracy.
    """
    files, limits = _Files(a, b, tuple(report or ())), gates(ctx.params)
    options.require_one_format(json, quiet)
    options.require_data(data, samples, transform, batch_size)
    names.require_known("device", device.partition(":")[0], names.DEVICES)
    options.require_from("--seed", seed, 0)
    of = options.network(arch, arch_arg, input, unsafe_load)
    files.check(force, limits, data)
    import prunecli

    with output.progress(quiet) as progress:
        found = prunecli.diff(
            a, b, data=data, samples=samples, batch_size=batch_size, transform=transform, arch=of.arch,
            arch_args=of.arguments, inputs=of.inputs, unsafe_load=of.unsafe_load, seed=seed, device=device,
            progress=progress, **limits.for_api,
        )  # fmt: skip
    found = replace(found, command=command_line())
    files.write(found)
    _show(found, json, quiet)
    require_passed(found.gates, instead="another checkpoint")


@dataclass(frozen=True)
class _Files:
    a: Path
    b: Path
    reports: tuple[Path, ...]

    def check(self, force: bool, limits: Gates, data: str | None) -> None:
        """Raise for a gate or data that does not go with what the files are, for a file that cannot be read,
        and for one that cannot be written.
        """
        require_measurable(limits, self.a, self.b, data)
        for path in self.reports:
            options.require_ending(path, names.DIFF_ENDINGS)
        for path in (self.a, self.b):
            options.require_readable(path)
        for path in self.reports:
            if any(path.exists() and path.samefile(given) for given in (self.a, self.b)):
                raise UsageError(f"{path} is one of the two itself", "choose another --report")
            options.require_writable(path, force or options.is_stdout(path))

    def write(self, found: Difference) -> None:
        from prunecli.report.files import write_difference

        for path in self.reports:
            if not options.is_stdout(path):
                write_difference(found, path)


def _show(found: Difference, json: bool, quiet: bool) -> None:
    if quiet:
        output.text(found.relation)
        return
    output.notes(found.notes)
    if json:
        output.document(found.to_json())
        return
    from prunecli.report.beside import difference

    output.show(*difference(found))
