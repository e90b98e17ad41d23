"""The loop: epochs of steps, figures after each, and a state from which it goes on bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from time import monotonic, perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors
from prunecli.errors import ImpossibleError, InputError, UsageError
from prunecli.report.figures import Quality
from prunecli.report.trained import EpochRow
from prunecli.training import journal, randomness
from prunecli.training.deck import Deck
from prunecli.training.events import write_events
from prunecli.training.hooks import Ending
from prunecli.training.kept import Keeping
from prunecli.training.order import epoch_order, places, steps_per_epoch
from prunecli.training.sharding import share
from prunecli.training.state import read_state, write_state
from prunecli.training.step import Stepper, Sums

_LOOK_EVERY = 16
"""On a device that computes by itself, a look at the loss waits for it: only so often."""
_SHOW_SECONDS = 0.2


@dataclass
class Loop:
    """``judge`` measures a network on the validation data. Whoever watches gets a line while an epoch runs
    (``progress``) and each epoch's row after it (``on_epoch``).
    """

    stepper: Stepper
    deck: Deck
    judge: Callable[[nn.Module], Quality | None]
    keeping: Keeping | None = None
    progress: Callable[[str], None] | None = None
    on_epoch: Callable[[EpochRow], None] | None = None
    rows: list[EpochRow] = field(default_factory=list)
    _epoch: int = 0
    _step: int = 0
    _seconds: float = 0.0
    _sums: Sums = field(init=False)
    _best: dict[str, Tensor] = field(default_factory=dict)
    _saved: float = field(default_factory=monotonic)
    _shown: float = 0.0

    def __post_init__(self) -> None:
        self._sums = self._total = Sums.none(self.stepper.device)
        self._team = self.stepper.team
        self._batch_size = self.stepper.settings.batch_size * self._team.size
        self._steps = steps_per_epoch(len(self.deck), self._batch_size)

    @property
    def result(self) -> nn.Module:
        """The network that is judged and written: the averaged one where there is an average."""
        average = self.stepper.average
        return self.stepper.network if average is None else average.module

    def run(self) -> nn.Module:
        """Train to the end and return :attr:`result`, in eval mode. Raises ``ImpossibleError`` where the loss
        is not finite, ``OutputError`` where the state cannot be written; in both cases the last state stays.
        """
        settings = self.stepper.settings
        with randomness.kept():
            randomness.seeded(self._team.seed(settings.seed))
            if self.keeping is not None and self.keeping.resume:
                self._load(self._team.told(read_state(self.keeping.path) if self._team.leads else {}))
            while self._epoch < settings.epochs and not self._stops_early():
                self._run_epoch()
        if self._best:
            _put(self.result, self._best)
        return self.result.eval()

    @property
    def best(self) -> int | None:
        """The epoch whose weights are the result, where that need not be the last."""
        return journal.best(self.rows).epoch if self._best else None

    def _run_epoch(self) -> None:
        settings = self.stepper.settings
        self.stepper.network.train()
        order = epoch_order(len(self.deck), settings.seed, self._epoch)
        while self._step < self._steps:
            began = perf_counter()
            part = share(places(order, self._step, self._batch_size), self._team.rank, self._team.size)
            batch = self.deck.take(part.places)
            rate = float(self.stepper.optimizer.param_groups[0]["lr"])
            sums = self.stepper.step(batch, part.whole)
            if part.counted:
                self._sums = self._sums.plus(sums)
            self._step += 1
            last = self._step == self._steps
            looks = last or self.stepper.device.type == "cpu" or self._step % _LOOK_EVERY == 0
            due = self._look() if looks else self._team.size == 1 and self._is_due()
            self._seconds += perf_counter() - began
            if last:
                self._finish_epoch(rate)
                return
            if due:
                self._save()
            else:
                self._show()

    def _look(self) -> bool:
        """Whether a state is due, by the clock of process 0. All processes see the loss of all."""
        if self._team.size == 1:
            self._require_finite()
            return self._is_due()
        *sums, due = self._team.added([*self._sums.to_json(), self._team.leads and self._is_due()])
        self._total = Sums.from_json(sums, self.stepper.device)
        self._require_finite()
        return due > 0

    def _finish_epoch(self, rate: float) -> None:
        self._require_finite(weights=True)
        loss, right, scored, seen = self._over_all.to_json()
        if self.stepper.regularizer is not None:
            self.stepper.regularizer.after_epoch(self._epoch + 1)
        for module in {id(module): module for module in (self.stepper.network, self.result)}.values():
            self._team.share_buffers(module)
        quality = self._judged()
        row = EpochRow(
            self._epoch + 1, loss / seen, right / scored if scored else None, rate, self._seconds, int(seen),
            quality,
        )  # fmt: skip
        self.rows.append(row)
        if self.stepper.settings.patience is not None and journal.best(self.rows) is row:
            self._best = {name: tensor.detach().cpu().clone() for name, tensor in _all(self.result).items()}
        self._epoch, self._step, self._seconds = self._epoch + 1, 0, 0.0
        self._sums = self._total = Sums.none(self.stepper.device)
        self._save()
        if self.on_epoch is not None:
            self.on_epoch(row)

    def _judged(self) -> Quality | None:
        try:
            return self.judge(self.result)
        except InputError as error:
            # The data was fine before training, so this is what training did.
            raise self._diverged(error.message) from None

    def _stops_early(self) -> bool:
        patience = self.stepper.settings.patience
        if isinstance(self.stepper.regularizer, Ending) and self.stepper.regularizer.ended:
            return True
        if patience is None or not self.rows:
            return False
        return self.rows[-1].epoch - journal.best(self.rows).epoch >= patience

    @property
    def _over_all(self) -> Sums:
        """The sums of all processes, as of the last look."""
        return self._sums if self._team.size == 1 else self._total

    def _require_finite(self, weights: bool = False) -> None:
        if not isfinite(float(self._over_all.loss)):
            raise self._diverged("the loss is not finite")
        if weights and not all(
            bool(tensor.isfinite().all())
            for tensor in self.stepper.network.parameters()
            if tensor.is_floating_point()
        ):
            raise self._diverged("weights are not finite")

    def _diverged(self, what: str) -> ImpossibleError:
        rate = self.stepper.optimizer.param_groups[0]["lr"]
        kept = ""
        if self.keeping is not None and self.keeping.path.exists():
            kept = f"; {self.keeping.path.name} is as it was before"
        where = f"epoch {self._epoch + 1}, step {max(1, self._step)} of {self._steps}"
        return ImpossibleError(
            f"training diverged: {what} in {where} (learning rate {rate:.3g}){kept}",
            "a lower --lr, --warmup 1 or --clip 1",
        )

    def _is_due(self) -> bool:
        return self.keeping is not None and monotonic() - self._saved >= self.keeping.seconds

    def _save(self) -> None:
        if self.keeping is None:
            return
        self._require_finite(weights=True)
        drawn = self._team.gathered(randomness.captured())
        if not self._team.leads:
            return
        write_state(self.keeping.path, {**self._state(self.keeping), "random": drawn[0], "others": drawn[1:]})
        if self.keeping.metrics is not None and self._step == 0:
            journal.write_metrics(self.keeping.metrics, self.rows)
            write_events(self.keeping.metrics, self.rows[-1])
        self._saved = monotonic()

    def _state(self, keeping: Keeping) -> dict[str, Any]:
        part = self.stepper
        return {
            "identity": dict(keeping.identity), "epoch": self._epoch, "step": self._step,
            "seconds": self._seconds, "sums": self._over_all.to_json(), "micro": part.micro,
            "notes": list(part.notes), "network": _all(part.network), "best": self._best,
            "average": {} if part.average is None else _all(part.average),
            "optimizer": part.optimizer.state_dict(), "schedule": part.schedule.state_dict(),
            "scaler": part.scaler.state_dict(), "rows": journal.to_state(self.rows),
            "regularizer": None if part.regularizer is None else dict(part.regularizer.state_dict()),
        }  # fmt: skip

    def _load(self, state: Mapping[str, Any]) -> None:
        assert self.keeping is not None
        _require_same(state["identity"], self.keeping.identity)
        part = self.stepper
        _put(part.network, state["network"])
        if part.average is not None:
            _put(part.average, state["average"])
        part.optimizer.load_state_dict(state["optimizer"])
        part.schedule.load_state_dict(state["schedule"])
        part.scaler.load_state_dict(state["scaler"])
        if part.regularizer is not None:
            part.regularizer.load_state_dict(state["regularizer"])
        part.micro, part.notes = state["micro"], list(state["notes"])
        self._epoch, self._step, self._seconds = state["epoch"], state["step"], state["seconds"]
        if self._team.leads:
            self._sums = Sums.from_json(state["sums"], part.device)
        self._best, self.rows = dict(state["best"]), journal.from_state(state["rows"])
        if self.keeping.metrics is not None and self._team.leads:
            journal.write_metrics(self.keeping.metrics, self.rows)
        self._restore_random([state["random"], *state.get("others", [])])

    def _restore_random(self, drawn: Sequence[dict[str, Any]]) -> None:
        """Processes that were not there before begin numbers of their own."""
        rank = self._team.rank
        if rank < len(drawn):
            randomness.restore(drawn[rank])
        else:
            place = self._epoch * self._steps + self._step
            randomness.seeded(self._team.seed(self.stepper.settings.seed + place))

    def _show(self) -> None:
        if self.progress is None or monotonic() - self._shown < _SHOW_SECONDS:
            return
        self._shown = monotonic()
        # Of several processes, what this one saw stands for all.
        loss, right, scored, seen = (figure * self._team.size for figure in self._sums.to_json())
        speed = seen / max(self._seconds, 1e-9)
        left = (self.stepper.settings.epochs - self._epoch) * len(self.deck) - seen
        parts = [
            f"epoch {self._epoch + 1} of {self.stepper.settings.epochs}, {seen / len(self.deck):.0%}",
            f"loss {loss / seen:.4g}", *([f"top-1 {right / scored:.2%}"] if scored else []),
            f"{speed:.0f} samples/s", f"{left / speed:.0f} s left",
        ]  # fmt: skip
        self.progress(", ".join(parts))


def _all(module: nn.Module) -> dict[str, Tensor]:
    """Also buffers that a state_dict leaves out."""
    return {name: tensor.detach() for name, tensor in all_tensors(module).items()}


@torch.no_grad()
def _put(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in all_tensors(module).items():
        tensor.copy_(tensors[name])


def _require_same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises ``UsageError`` naming what differs between the run that left a state and this one."""
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise UsageError(
                f"the state is of another run: {name} was {found.get(name)!s:.80}, "
                f"here it is {wanted.get(name)!s:.80}",
                "repeat the command as it was, or start anew: leave --resume out, with --force",
            )
