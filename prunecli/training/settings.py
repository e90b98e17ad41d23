"""What training is asked to do, checked without torch, so that the command line can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from prunecli.errors import UsageError, require_range, unknown_name

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "multi-step", "cosine")
AMP = ("none", "bf16", "fp16")
AUGMENTS = ("none", "flip", "crop", "imagenet")

LEARNING_RATES: Mapping[str, float] = {"sgd": 0.01, "adamw": 1e-4}
WEIGHT_DECAYS: Mapping[str, float] = {"sgd": 5e-4, "adamw": 0.01}


@dataclass(frozen=True)
class Settings:
    """All that shapes the weights besides the network and the data.

    ``lr`` and ``weight_decay`` None for what is usual with the optimizer. ``milestones`` are the epochs after
    which ``multi-step`` divides the learning rate by ten (None: at three and four fifths); ``warmup`` the
    epochs in which it grows to ``lr``. ``clip`` bounds the norm of the gradient, ``ema`` is the decay of an
    average of the weights, which is then what is written. ``patience``: epochs without a better accuracy on
    the validation data, after which training ends with the weights of the best.

    With a dense network to learn from, ``distill`` is the share of that in the loss (1 leaves the labels
    out), ``distill_temperature`` divides the scores of both. ``loss`` is a name, ``FILE.py:function``, or
    None for what suits the network. ``recalibrate``: norms are recomputed on training data at the end.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float | None = None
    schedule: str = "multi-step"
    milestones: tuple[int, ...] | None = None
    warmup: int = 0
    loss: str | None = None
    label_smoothing: float = 0.0
    distill: float = 0.5
    distill_temperature: float = 4.0
    augment: str = "none"
    clip: float | None = None
    ema: float | None = None
    patience: int | None = None
    amp: str = "none"
    channels_last: bool = False
    recalibrate: bool = False
    seed: int = 0

    @staticmethod
    def of(given: Mapping[str, Any]) -> Settings:
        """Raises ``UsageError`` for a name that is no setting, or a value out of range."""
        known = [item.name for item in fields(Settings)]
        for name in given:
            if name not in known:
                raise unknown_name("setting", name, known)
        settings = Settings(**given)
        settings.check()
        return settings

    @property
    def rate(self) -> float:
        return LEARNING_RATES[self.optimizer] if self.lr is None else self.lr

    @property
    def decay(self) -> float:
        return WEIGHT_DECAYS[self.optimizer] if self.weight_decay is None else self.weight_decay

    @property
    def steps_down(self) -> tuple[int, ...]:
        """The epochs after which ``multi-step`` divides the learning rate."""
        if self.milestones is not None:
            return self.milestones
        return tuple(dict.fromkeys(at for at in (self.epochs * 3 // 5, self.epochs * 4 // 5) if at))

    def to_json(self) -> dict[str, Any]:
        """With the values that None stands for."""
        named: dict[str, Any] = asdict(self)
        down = list(self.steps_down) if self.schedule == "multi-step" else None
        return named | {"lr": self.rate, "weight_decay": self.decay, "milestones": down}

    def check(self) -> None:
        """Raises ``UsageError`` for the first name or number that cannot be."""
        for kind, name, known in (
            ("optimizer", self.optimizer, OPTIMIZERS), ("schedule", self.schedule, SCHEDULES),
            ("amp", self.amp, AMP), ("augment", self.augment, AUGMENTS),
        ):  # fmt: skip
            if name not in known:
                raise unknown_name(kind, name, known)
        self._check_counts()
        self._check_numbers()

    def _check_counts(self) -> None:
        require_range(self.epochs >= 1, "--epochs", self.epochs, "a whole number from 1")
        require_range(self.batch_size >= 1, "--batch-size", self.batch_size, "a whole number from 1")
        fits = 0 <= self.warmup < self.epochs
        require_range(fits, "--warmup", self.warmup, "a number of epochs, fewer than --epochs")
        patience = self.patience is None or self.patience >= 1
        require_range(patience, "--patience", self.patience, "a number of epochs from 1")
        require_range(0 <= self.seed < 2**32, "--seed", self.seed, "between 0 and 4294967295")
        down = self.steps_down
        if any(at < 1 for at in down) or list(down) != sorted(set(down)):
            shown = ",".join(map(str, down))
            raise UsageError(f"--milestones {shown} are no epochs in order", "like --milestones 60,80")

    def _check_numbers(self) -> None:
        require_range(self.rate > 0, "--lr", self.rate, "a number above 0")
        require_range(0 <= self.momentum < 1, "--momentum", self.momentum, "a number from 0, below 1")
        require_range(self.decay >= 0, "--weight-decay", self.decay, "a number from 0")
        smooth = self.label_smoothing
        require_range(0 <= smooth < 1, "--label-smoothing", smooth, "a share from 0, below 1")
        require_range(0 <= self.distill <= 1, "--distill", self.distill, "a share, 0 to 1")
        hot = self.distill_temperature
        require_range(hot > 0, "--distill-temperature", hot, "a number above 0")
        require_range(self.clip is None or self.clip > 0, "--clip", self.clip, "a norm above 0")
        require_range(self.ema is None or 0 < self.ema < 1, "--ema", self.ema, "a decay between 0 and 1")
