"""``prune run``: the main job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunecli.cli import jobs, options, output, settings
from prunecli.cli.course import (
    Course,
    FinetuneArgs,
    FinetuneEpochs,
    Preset,
    PruneWhen,
    Rounds,
    Sparsify,
    SparsifyArgs,
    SparsifyEpochs,
    preset_for,
    trainings_of,
)
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
from prunecli.cli.options import (
    GROUPS,
    NETWORK,
    OUTPUT,
    RUNNING,
    Arch,
    ArchArg,
    CalibrationCount,
    Data,
    Device,
    EvalData,
    Force,
    Ignore,
    Input,
    Json,
    Latency,
    Loss,
    MaybeCheckpoint,
    Memory,
    Normalize,
    Only,
    Quiet,
    Reduce,
    Reports,
    Resume,
    SaveMinutes,
    Seed,
    Temperature,
    Threads,
    Transform,
    UnsafeLoad,
)
from prunecli.cli.settings import Printing, Request
from prunecli.cli.targets import METHOD, Flops, Params, Protect, Ratio, Scheme, Speedup, target
from prunecli.cli.training import once
from prunecli.errors import GateError
from prunecli.gates import require_passed
from prunecli.report.gated import passed
from prunecli.training.launched import ToldElsewhereError, launched

if TYPE_CHECKING:
    from prunecli.api import Result
    from prunecli.plan import Plan
    from prunecli.report.epochs import EpochRow
    from prunecli.report.model import Report

REPAIR = "Repair (--data: on real inputs; without, on noise)"


# Long because Typer reads the options from the signature; everything after it is a few lines.
def run(
    ctx: typer.Context,
    ckpt: MaybeCheckpoint = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="random",
            rich_help_panel=NETWORK,
            help="Instead of CKPT: --arch with weights drawn by --seed, to be trained here.",
        ),
    ] = None,
    speedup: Speedup = None,
    flops: Flops = None,
    params: Params = None,
    ratio: Ratio = None,
    criterion: Annotated[
        str,
        typer.Option(metavar="NAME", rich_help_panel=METHOD, help="Importance score; see prune ls criteria."),
    ] = "magnitude-l2",
    scheme: Scheme = "protected",
    protect: Protect = 0.1,
    max_ratio: Annotated[
        float,
        typer.Option(metavar="R", rich_help_panel=METHOD, help="Fraction of any group removed at most."),
    ] = 1.0,
    round_to: Annotated[
        int,
        typer.Option(metavar="N", rich_help_panel=METHOD, help="Make widths multiples of N where reachable."),
    ] = 1,
    steps: Annotated[
        int,
        typer.Option(metavar="N", rich_help_panel=METHOD, help="Prune in N rounds, scoring anew in each."),
    ] = 1,
    reduce: Reduce = None,
    normalize: Normalize = None,
    loss: Loss = None,
    temperature: Temperature = 1.0,
    repair: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=REPAIR,
            help="After the cut, without labels or training: lstsq (least squares), bn (statistics of "
            "norms), none.",
        ),
    ] = "lstsq",
    data: Data = None,
    samples: CalibrationCount = None,
    transform: Transform = None,
    memory: Memory = "4GB",
    repair_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            rich_help_panel=REPAIR,
            help="Do what takes about so long, estimated from sizes. Default: 60 on noise, no limit with "
            "--data.",
        ),
    ] = None,
    preset: Preset = None,
    sparsify: Sparsify = None,
    sparsify_epochs: SparsifyEpochs = None,
    sparsify_arg: SparsifyArgs = None,
    rounds: Rounds = None,
    prune_when: PruneWhen = None,
    finetune_epochs: FinetuneEpochs = None,
    finetune_arg: FinetuneArgs = None,
    eval_data: EvalData = None,
    heads: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            rich_help_panel=GROUPS,
            help="Remove this fraction of attention heads. Without a target nothing else is touched.",
        ),
    ] = None,
    only: Only = None,
    ignore: Ignore = None,
    ratio_for: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB=R",
            rich_help_panel=GROUPS,
            help="Remove this fraction of matching groups, 0 for none of them. Repeatable.",
        ),
    ] = None,
    round_to_for: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB=N",
            rich_help_panel=GROUPS,
            help="Make the units of matching groups multiples of N. Repeatable.",
        ),
    ] = None,
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
            help="Default: STEM.pruned.safetensors beside CKPT, or DIR.pruned for a directory.",
        ),
    ] = None,
    report: Reports = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", rich_help_panel=RUNNING, help="Print the plan and write nothing.")
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=RUNNING, help="Apply the plan that --dry-run --json printed."
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="F", rich_help_panel=RUNNING, help="How far from the target is still the target."
        ),
    ] = 0.005,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_bytes: MaxBytes = None,
    max_latency: MaxLatency = None,
    min_accuracy: MinAccuracy = None,
    max_drop: MaxDrop = None,
    min_agreement: MinAgreement = None,
    resume: Resume = False,
    save_minutes: SaveMinutes = 10.0,
    latency: Latency = True,
    device: Device = "auto",
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Prune a checkpoint into a smaller one that loads and runs.

    It takes one target, or --plan; or none where --heads or --ratio-for says what goes.

    Training on several GPUs or machines: torchrun --nproc-per-node N -m prunecli run ...
    """
    with once():
        with_preset = preset_for(ctx, preset)
        criterion, scheme, repair = (with_preset(name) for name in ("criterion", "scheme", "repair"))
        trainings = trainings_of(with_preset, sparsify_arg, finetune_arg)
        named = settings.groups(heads, only, ignore, ratio_for, round_to_for)
        request = settings.Request(
            files=settings.files(ckpt, out, report, arch, init=init),
            choices=settings.Choices(criterion, scheme, reduce, normalize, device, loss, temperature),
            repair=settings.Repair(repair, data, samples, transform, memory, repair_seconds),
            limits=settings.Limits(protect, max_ratio, round_to, steps, tolerance, seed, threads),
            groups=named,
            target=target(ctx.params, plan, named),
            network=options.network(arch, arch_arg, input, unsafe_load),
            plan_file=plan,
            printing=settings.Printing(as_json=json, quiet=quiet, force=force, dry_run=dry_run),
            course=Course(trainings, init, eval_data, resume, save_minutes),
            gates=gates(ctx.params),
            latency=latency,
        )
        request.check(launched().leads)
    _execute(request)
    if dry_run and report:
        output.notes(["--dry-run writes nothing, so no report either"])


def _execute(request: Request) -> None:
    plan = settings.read_plan(request.plan_file)
    printing, files = request.printing, request.files
    leads, failed = launched().leads, None
    with output.epochs(printing.quiet or not leads) as (progress, line):
        result = _prune(request, plan, progress, line)
        try:
            done = result.report if printing.dry_run else result.save(files.output, force=printing.force)
        except GateError as error:
            done, failed = files.beside(result.report), error
    if not leads:
        if failed is not None:
            raise ToldElsewhereError
        return
    done = replace(done, command=jobs.command_line())
    output.notes(() if printing.quiet else (*done.network.notes, *done.notes))
    if printing.dry_run:
        _show_plan(result.plan, done, printing)
        require_passed(done.gates)
        return
    from prunecli.report.files import write_report

    for path in files.reports:
        if not options.is_stdout(path):
            write_report(done, path)
    _show_result(done, request)
    if failed is not None:
        raise failed


def _prune(
    request: Request,
    plan: Plan | None,
    progress: Callable[[str], None] | None,
    line: Callable[[str], None],
) -> Result:
    import prunecli

    def told(row: EpochRow, stage: str, epochs: int) -> None:
        from prunecli.report.finetuned import epoch_line

        line(f"{stage}: {epoch_line(row, epochs)}")

    # A dry run asks for the plan alone.
    trains = request.course.trainings.any and not request.printing.dry_run
    asked: dict[str, Any] = dict(request.target)
    held = request.gates if not request.printing.dry_run else request.gates.of_sizes
    if trains:
        if launched().leads:
            request.course.begin(request.files.output)
        asked |= {**request.course.for_api(request.files.output), "on_epoch": told}

    choices, limits, network, groups = request.choices, request.limits, request.network, request.groups
    repair = request.repair
    return prunecli.prune(
        request.files.checkpoint,
        init=request.course.init,
        **asked,
        arch=network.arch,
        arch_args=network.arguments,
        inputs=network.inputs,
        unsafe_load=network.unsafe_load,
        heads=groups.heads,
        only=groups.only,
        ignore=groups.ignore,
        ratio_for=groups.ratio_for,
        round_to_for=groups.round_to_for,
        criterion=choices.criterion,
        scheme=choices.scheme,
        reduce=choices.reduce,
        normalize=choices.normalize,
        loss=choices.loss,
        temperature=choices.temperature,
        repair=repair.method,
        data=repair.data,
        samples=repair.samples,
        transform=repair.transform,
        memory=repair.bytes,
        repair_seconds=repair.seconds,
        device=choices.device,
        protect=limits.protect,
        max_ratio=limits.max_ratio,
        round_to=limits.round_to,
        steps=limits.steps,
        tolerance=limits.tolerance,
        seed=limits.seed,
        threads=limits.threads,
        plan=plan,
        latency=request.latency and not request.printing.dry_run,
        progress=progress,
        **held.for_api,
    )


def _show_plan(plan: Plan, report: Report, printing: Printing) -> None:
    if printing.as_json:
        from prunecli.report.files import plan_document

        output.document(plan_document(plan, report))
    elif not printing.quiet:
        from prunecli.report.terminal import planned

        output.show(*planned(report))


def _show_result(report: Report, request: Request) -> None:
    if request.printing.as_json:
        output.document(report.to_json())
    elif request.printing.quiet:
        if passed(report.gates):
            output.path(request.files.output)
    else:
        from prunecli.report.terminal import result

        output.show(*result(report))
