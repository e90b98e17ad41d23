"""One step: gradients of a batch, in as few pieces as memory allows, and the update."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from prunecli.coupling.recording import outputs_in
from prunecli.data.samples import Batch
from prunecli.errors import ImpossibleError
from prunecli.quality import logits_in
from prunecli.training import randomness
from prunecli.training.augment import augmented
from prunecli.training.distributed import ALONE, Team
from prunecli.training.hooks import Regularizer
from prunecli.training.objective import Objective
from prunecli.training.settings import Settings

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Sums:
    """Over ``seen`` samples: the ``loss``, and of ``scored`` ones how many were ``right``; float64 scalars
    on the device, so that a step need not wait for them.
    """

    loss: Tensor
    right: Tensor
    scored: int
    seen: int

    @staticmethod
    def none(device: torch.device) -> Sums:
        # MPS has no float64.
        kind = torch.float32 if device.type == "mps" else torch.float64
        return Sums(torch.zeros((), dtype=kind, device=device), torch.zeros((), device=device), 0, 0)

    def plus(self, other: Sums) -> Sums:
        return Sums(
            self.loss + other.loss, self.right + other.right, self.scored + other.scored,
            self.seen + other.seen,
        )  # fmt: skip

    def to_json(self) -> list[float]:
        return [float(self.loss), float(self.right), self.scored, self.seen]

    @staticmethod
    def from_json(given: list[float], device: torch.device) -> Sums:
        loss, right, scored, seen = given
        none = Sums.none(device)
        return Sums(none.loss + loss, none.right + right, int(scored), int(seen))


@dataclass
class Stepper:
    """``micro``: how many samples go through the network at once; it is halved where memory runs out.
    ``parallel``: the network as several processes train it, after :meth:`unite`.
    """

    network: nn.Module
    objective: Objective
    settings: Settings
    device: torch.device
    optimizer: Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler
    average: AveragedModel | None = None
    regularizer: Regularizer | None = None
    micro: int = 0
    notes: list[str] = field(default_factory=list)
    team: Team = ALONE
    parallel: nn.Module | None = None

    def unite(self, batch: Batch) -> None:
        """Train together with the other processes from here on. Parameters that get no gradient of ``batch``
        are not waited for.
        """
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        self.network.train()
        with randomness.kept():
            batch = self._placed(batch)
            self._backward(batch, len(batch))
        unused = any(part.requires_grad and part.grad is None for part in self.network.parameters())
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in self.network.named_buffers():
                buffer.copy_(buffers[name])
        self.parallel = self.team.parallel(self.network, self.device, unused)

    def step(self, batch: Batch, whole: float | None = None) -> Sums:
        """The sums of ``batch``. Of several processes, ``whole`` is how many samples each has on average.
        Raises ``ImpossibleError`` where not even one sample fits into memory, or where memory runs out in one
        of several processes.
        """
        whole = len(batch) if whole is None else whole
        batch = self._placed(augmented(batch, self.settings.augment))
        before = randomness.drawn_on()
        while (found := self._attempt(batch, whole)) is None:
            if self.parallel is not None:
                # The others are amid a step that this one would have to begin anew.
                raise ImpossibleError(
                    f"out of memory in process {self.team.rank} with {len(batch)} samples",
                    "more processes, with a smaller --batch-size each; --amp bf16",
                )
            self._halve(len(batch))
            randomness.restore(before)
        self._update()
        return found

    def _placed(self, batch: Batch) -> Batch:
        def place(tensor: Tensor) -> Tensor:
            moved = tensor.to(self.device, non_blocking=True)
            if self.settings.channels_last and moved.dim() == 4:
                moved = moved.contiguous(memory_format=torch.channels_last)
            return moved

        # Labels are looked at before they are used, which a device would have to be waited for.
        return Batch(batch.inputs.map(place), batch.labels)

    def _attempt(self, batch: Batch, whole: float) -> Sums | None:
        """None where memory ran out. The exception is let go of here, since it holds on to the tensors."""
        self.optimizer.zero_grad(set_to_none=True)
        total = Sums.none(self.device)
        try:
            pieces = list(_parts(batch, self.micro or len(batch), whole))
            for index, part in enumerate(pieces):
                with self._held_back(index + 1 < len(pieces)):
                    total = total.plus(self._backward(part, whole))
        except torch.OutOfMemoryError:
            return None
        return total

    def _held_back(self, more: bool) -> AbstractContextManager[object]:
        """Gradients of several pieces are averaged over the processes once, with those of the last."""
        if more and isinstance(self.parallel, DistributedDataParallel):
            return self.parallel.no_sync()
        return nullcontext()

    def _backward(self, part: Batch, whole: float) -> Sums:
        with self._precision():
            outputs = part.inputs.run(self.network if self.parallel is None else self.parallel)
            taught = self.objective.taught(part)
        loss = self.objective.value(self._full(outputs), part, self._full(taught))
        torch.autograd.backward(self.scaler.scale(loss / whole))
        return self._sums(loss, outputs, part)

    def _sums(self, loss: Tensor, outputs: Any, part: Batch) -> Sums:
        none = Sums.none(self.device)
        logits = logits_in(outputs_in(outputs), len(part))
        right, scored = none.right, 0
        if logits is not None and part.labels is not None:
            labels = part.labels.to(logits.device)
            right, scored = (logits.argmax(1) == labels).sum().to(none.right), len(part)
        return Sums(loss.detach().to(none.loss), right, scored, len(part))

    def _precision(self) -> AbstractContextManager[object]:
        half = _HALF.get(self.settings.amp)
        return nullcontext() if half is None else torch.autocast(self.device.type, half)

    def _full(self, outputs: Any) -> Any:
        """Losses are taken in full precision; what a function of the user's gets keeps its structure."""
        own = self.objective.loss is not None and self.objective.loss.function is not None
        if self.settings.amp == "none" or outputs is None or own:
            return outputs
        return [t.float() if t.is_floating_point() else t for t in outputs_in(outputs)]

    def _update(self) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        if self.regularizer is not None:
            self.regularizer.after_backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network)

    def _halve(self, size: int) -> None:
        now = min(self.micro or size, size)
        if now == 1:
            raise ImpossibleError("out of memory with a single sample", "--device cpu, or a smaller --input")
        self.micro = (now + 1) // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.notes[:] = [
            f"out of memory: batches of {self.settings.batch_size} went through the network {self.micro} "
            "samples at a time, their gradients added up (the same update; batch norms take the statistics "
            "of each piece)"
        ]


def _parts(batch: Batch, most: int, whole: float) -> Iterator[Batch]:
    """As few pieces as possible of at most ``most`` samples, as equal as possible. Processes that have
    ``whole`` samples on average all make the same number of them.
    """
    size = len(batch)
    number = min(-(-ceil(whole) // most), floor(whole))
    for index in range(number):
        yield batch[index * size // number : (index + 1) * size // number]
