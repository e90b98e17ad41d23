"""``prune sparsify``: training that makes whole units small."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunecli.cli import names, options, settings, targets, training
from prunecli.cli.gates import (
    MaxBytes,
    MaxDrop,
    MaxLatency,
    MaxMacs,
    MaxParams,
    MinAccuracy,
    MinAgreement,
)
from prunecli.cli.options import (
    OUTPUT,
    Arch,
    ArchArg,
    Checkpoint,
    Data,
    Device,
    EvalData,
    Force,
    Ignore,
    Input,
    Json,
    Latency,
    Only,
    Quiet,
    Reports,
    Resume,
    SampleCount,
    SaveMinutes,
    Seed,
    Threads,
    Transform,
    UnsafeLoad,
)
from prunecli.cli.targets import TARGETS, Flops, Params, Protect, Ratio, Scheme, Speedup
from prunecli.cli.training import (
    Against,
    Amp,
    Augment,
    BatchSize,
    ChannelsLast,
    Clip,
    Distill,
    DistillTemperature,
    Ema,
    Epochs,
    LabelSmoothing,
    Loss,
    Lr,
    Milestones,
    Momentum,
    Optimizer,
    Patience,
    Recalibrate,
    Schedule,
    Warmup,
    WeightDecay,
)
from prunecli.errors import UsageError
from prunecli.training.launched import launched

if TYPE_CHECKING:
    from prunecli.sparsifying import Sparsified

REGULARIZER = "Regularizer"


# Long because Typer reads the options from the signature; everything after it is a few lines.
def sparsify(
    ctx: typer.Context,
    ckpt: Checkpoint,
    name: Annotated[
        str | None,
        typer.Option(
            "--sparsify", metavar="NAME", rich_help_panel=REGULARIZER, help="See prune ls regularizers."
        ),
    ] = None,
    numbers: Annotated[
        list[str] | None,
        typer.Option(
            "--sparsify-arg",
            metavar="K=V",
            rich_help_panel=REGULARIZER,
            help="A number of it, like strength=1e-3. Repeatable.",
        ),
    ] = None,
    speedup: Speedup = None,
    flops: Flops = None,
    params: Params = None,
    ratio: Ratio = None,
    scheme: Scheme = "protected",
    protect: Protect = 0.1,
    only: Only = None,
    ignore: Ignore = None,
    data: Data = None,
    eval_data: EvalData = None,
    samples: SampleCount = None,
    transform: Transform = None,
    augment: Augment = "none",
    epochs: Epochs = 10,
    batch_size: BatchSize = 128,
    optimizer: Optimizer = "sgd",
    lr: Lr = None,
    momentum: Momentum = 0.9,
    weight_decay: WeightDecay = None,
    schedule: Schedule = "constant",
    milestones: Milestones = None,
    warmup: Warmup = 0,
    clip: Clip = None,
    ema: Ema = None,
    patience: Patience = None,
    recalibrate: Recalibrate = False,
    loss: Loss = None,
    label_smoothing: LabelSmoothing = 0.0,
    against: Against = None,
    distill: Distill = 0.5,
    distill_temperature: DistillTemperature = 4.0,
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
            help="Default: STEM.sparse.safetensors beside CKPT, or DIR.sparse for a directory.",
        ),
    ] = None,
    report: Reports = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_bytes: MaxBytes = None,
    max_latency: MaxLatency = None,
    min_accuracy: MinAccuracy = None,
    max_drop: MaxDrop = None,
    min_agreement: MinAgreement = None,
    resume: Resume = False,
    save_minutes: SaveMinutes = 10.0,
    amp: Amp = "none",
    channels_last: ChannelsLast = False,
    latency: Latency = True,
    device: Device = "auto",
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Train so that whole units become small, before they are cut.

    greg-1 and greg-2 pick units for one target, and write them as OUT.plan.json, for prune run OUT --plan.

    On several GPUs or machines: torchrun --nproc-per-node N -m prunecli sparsify ...
    """
    with training.once():
        more = _regularized(name, numbers, ctx.params) | {
            "scheme": scheme, "protect": protect, "only": tuple(only or ()), "ignore": tuple(ignore or ()),
        }  # fmt: skip
        files = settings.files(ckpt, out, report, arch, settings.MADE["sparsify"])
        request = training.asked(ctx.params, files, against, more)
        request.check(launched().leads)
        if launched().leads:
            options.require_writable(request.kept.plan, force or resume)
    import prunecli

    def write(found: Sparsified) -> None:
        if found.plan is not None:
            from prunecli.report.files import write_plan

            write_plan(found.plan, request.kept.plan)

    training.carry_out(request, prunecli.sparsify, write)


def _regularized(name: str | None, numbers: list[str] | None, typed: Mapping[str, Any]) -> dict[str, Any]:
    """The regularizer, as ``prunecli.sparsify`` takes it. Raises ``UsageError``."""
    if name is None:
        raise UsageError("no regularizer given", "like --sparsify group-lasso; see prune ls regularizers")
    names.require_known("regularizer", name, names.REGULARIZERS, "prunecli.regularizers")
    target: dict[str, float] = {}
    if name in names.PICKING:
        target = targets.target(typed)
    elif name in names.REGULARIZERS and any(typed[kind] is not None for kind in TARGETS):
        raise UsageError(
            f"{name} makes all units small, whatever is cut later", "give the target to prune run"
        )
    return {"regularizer": name, "regularizer_args": _numbers(numbers or []), **target}


def _numbers(texts: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = float("nan")
        if not name or not isfinite(found[name]):
            raise UsageError(f"--sparsify-arg {text} is not K=NUMBER", "like --sparsify-arg strength=1e-3")
    return found
