"""Calibration: the inputs that repair and criteria look at, from ``--data`` and what goes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from prunecli.checkpoint.specs import InputSpec
from prunecli.coupling import Space
from prunecli.criteria import Evidence, find, gather
from prunecli.data import Samples, noise, open_data
from prunecli.errors import UsageError, needs_data, require_range, unknown_name
from prunecli.losses import LOSSES, Loss, from_file, required_difference
from prunecli.proofs import FORWARD_ERRORS
from prunecli.repair.remembered import level

SAMPLES, NOISE_SAMPLES = 512, 32
MEMORY = 4 << 30


@dataclass(frozen=True)
class Calibration:
    """``data`` as ``--data`` takes it, None for noise; ``samples`` None for what suits that (512 with data,
    32 of noise).
    """

    data: str | Samples | None = None
    samples: int | None = None
    transform: str | None = None
    seed: int = 0

    @property
    def on_noise(self) -> bool:
        return self.data is None or self.data == "noise"

    def opened(self, network: nn.Module, specs: Sequence[InputSpec]) -> Samples:
        """The inputs for a network that takes ``specs``; noise as strong and as bright as its first norm
        remembers. Raises as :func:`prunecli.data.open_data`.
        """
        if isinstance(self.data, Samples):
            return self.data
        if self.data is not None and not self.on_noise:
            return open_data(
                self.data, tuple(specs), samples=self.samples or SAMPLES, seed=self.seed,
                transform=self.transform,
            )  # fmt: skip
        samples = noise(tuple(specs), samples=self.samples or NOISE_SAMPLES, seed=self.seed)
        return _as_remembered(network, samples)

    def judged(self, specs: Sequence[InputSpec]) -> Samples | None:
        """Samples to measure the quality on: those that data keeps for tests, None for noise."""
        if self.data is None or isinstance(self.data, Samples) or self.on_noise:
            return self.data if isinstance(self.data, Samples) else None
        return open_data(
            self.data, tuple(specs), samples=self.samples or SAMPLES, seed=self.seed,
            transform=self.transform, part="test",
        )  # fmt: skip


def _as_remembered(network: nn.Module, samples: Samples) -> Samples:
    first = next(iter(samples.chunks(8))).inputs
    try:
        with torch.no_grad():
            found = level(network, first)
    except FORWARD_ERRORS:
        return samples
    return samples if found is None else found.of(samples)


@dataclass(frozen=True)
class Gathering:
    """What criteria look at, for one run. ``loss`` is a name, ``FILE.py:function``, or None for what suits
    the network.
    """

    calibration: Calibration
    loss: str | None = None
    temperature: float = 1.0
    reduce: str | None = None
    memory: int = MEMORY
    device: torch.device | None = None
    teacher: nn.Module | None = None
    progress: Callable[[str], None] | None = None

    def check(self, criteria: Sequence[str]) -> None:
        """Raises ``UsageError`` for unknown names, numbers out of range, and criteria without their data."""
        needing = [name for name in criteria if find(name).needs]
        if needing and self.calibration.data is None:
            raise needs_data(needing[0])
        require_range(self.temperature > 0, "--temperature", self.temperature, "a number above 0")
        if self.loss is not None and self.loss not in LOSSES and ".py:" not in self.loss:
            raise unknown_name("loss", self.loss, LOSSES)
        if self.loss == "kd" and self.teacher is None and any(find(name).needs_loss for name in criteria):
            raise UsageError(
                "--loss kd compares with the dense network, and this one does not differ from it",
                "--loss cross-entropy, which draws labels from the network where there are none",
            )

    def evidence(
        self, criteria: Sequence[str], network: nn.Module, space: Space, specs: Sequence[InputSpec]
    ) -> Evidence | None:
        """What the calibration inputs say about ``network``; None where no criterion asks. Raises as
        :func:`prunecli.criteria.gather`.
        """
        self.check(criteria)
        if not any(find(name).needs for name in criteria):
            return None
        samples = self.calibration.opened(network, specs)
        return gather(
            network, space, samples, criteria, loss=self._loss(network), reduce=self.reduce,
            seed=self.calibration.seed, device=self.device, memory=self.memory, progress=self.progress,
        )  # fmt: skip

    def _loss(self, network: nn.Module) -> Loss | None:
        seed = self.calibration.seed
        if self.loss is None:
            return None if self.temperature == 1 else Loss("cross-entropy", self.temperature, seed)
        if self.loss == "kd" and self.teacher is not None:
            required_difference(network, self.teacher)
            return Loss("kd", self.temperature, seed, teacher=self.teacher)
        if self.loss in LOSSES:
            return Loss(self.loss, self.temperature, seed)
        return from_file(self.loss, self.temperature, seed)
