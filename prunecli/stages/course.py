"""What a run is asked to train, and where its state is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from prunecli.checkpoint.specs import InputSpec
from prunecli.clock import Clock
from prunecli.data import Samples
from prunecli.errors import UsageError
from prunecli.report.epochs import EpochRow
from prunecli.training.data import TrainingData
from prunecli.training.kept import Kept
from prunecli.training.settings import Settings
from prunecli.training.stage import Stage


@dataclass(frozen=True)
class Course:
    """Training on ``data``, as ``--data`` takes it; ``samples`` None for all of it. ``eval_data`` and
    ``transform`` as ``prune finetune`` takes them.
    """

    settings: Settings
    data: str | Samples
    eval_data: str | Samples | None = None
    samples: int | None = None
    transform: str | None = None
    kept: Kept = field(default_factory=Kept)
    on_epoch: Callable[[EpochRow], None] | None = None

    @staticmethod
    def of(
        epochs: int,
        arguments: Mapping[str, Any],
        *,
        data: str | Samples | None,
        seed: int,
        **more: Any,
    ) -> Course:
        """``arguments`` are the other settings of ``prune finetune``, and ``samples``. Raises
        ``UsageError``.
        """
        if data is None:
            raise UsageError("training needs data", "--data SPEC, like --data imagefolder:DIR")
        for name, other in (("epochs", "--finetune-epochs"), ("seed", "--seed")):
            if name in arguments:
                raise UsageError(f"--finetune-arg {name} is what {other} says", f"{other} {arguments[name]}")
        settings = {name: value for name, value in arguments.items() if name != "samples"}
        return Course(
            Settings.of({**settings, "epochs": epochs, "seed": seed}), data,
            samples=arguments.get("samples"), **more,
        )  # fmt: skip

    def opened(self, specs: tuple[InputSpec, ...], device: torch.device, clock: Clock) -> Stage:
        """Raises as :func:`prunecli.data.open_data`."""
        with clock.stage("data"):
            data = TrainingData.opened(
                self.data, self.eval_data, specs, self.samples, self.transform, self.settings.seed
            )
        return Stage(data, self.settings, device, clock, self.on_epoch)
