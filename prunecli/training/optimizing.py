"""The optimizer, its schedule, the loss scale and the average of the weights: torch's own, set up."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from prunecli.training.settings import Settings

_WARM_FROM = 0.01
"""The share of the learning rate that a warm-up starts from."""


def optimizer_for(network: nn.Module, settings: Settings) -> Optimizer:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if settings.optimizer == "adamw":
        return AdamW(parameters, lr=settings.rate, weight_decay=settings.decay)
    return SGD(
        parameters, lr=settings.rate, momentum=settings.momentum, weight_decay=settings.decay,
        nesterov=settings.nesterov and settings.momentum > 0,
    )  # fmt: skip


def schedule_for(optimizer: Optimizer, settings: Settings, steps: int) -> LRScheduler:
    """To be stepped after every step, of which an epoch has ``steps``."""
    warm = settings.warmup * steps
    after = _after_warmup(optimizer, settings, steps, warm)
    if not warm:
        return after
    return SequentialLR(optimizer, [LinearLR(optimizer, _WARM_FROM, total_iters=warm), after], [warm])


def _after_warmup(optimizer: Optimizer, settings: Settings, steps: int, warm: int) -> LRScheduler:
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimizer, settings.epochs * steps - warm)
    if settings.schedule == "multi-step":
        return MultiStepLR(optimizer, [at * steps - warm for at in settings.steps_down if at * steps > warm])
    return ConstantLR(optimizer, 1.0)


def scaler_for(device: torch.device, settings: Settings) -> torch.amp.GradScaler:
    """Half precision loses small gradients, unless the loss is scaled up; bfloat16 does not."""
    return torch.amp.GradScaler(device.type, enabled=settings.amp == "fp16")


def average_of(network: nn.Module, settings: Settings) -> AveragedModel | None:
    """Statistics of norms are averaged like the weights."""
    if settings.ema is None:
        return None
    averaging = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=averaging, use_buffers=True)
