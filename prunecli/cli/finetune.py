"""``prune finetune``: a checkpoint trained on data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunecli.cli import settings, training
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
    Input,
    Json,
    Latency,
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
from prunecli.training.launched import launched


# Long because Typer reads the options from the signature; everything after it is a few lines.
def finetune(
    ctx: typer.Context,
    ckpt: Checkpoint,
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
    schedule: Schedule = "multi-step",
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
            help="Default: STEM.finetuned.safetensors beside CKPT, or DIR.finetuned for a directory.",
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
    """Train a checkpoint on data; a pruned one stays small.

    On several GPUs or machines: torchrun --nproc-per-node N -m prunecli finetune ...
    """
    with training.once():
        files = settings.files(ckpt, out, report, arch, settings.MADE["finetune"])
        request = training.asked(ctx.params, files, against)
        request.check(launched().leads)
    import prunecli

    training.carry_out(request, prunecli.finetune)
