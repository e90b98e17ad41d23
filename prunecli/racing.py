"""Networks timed in turns: first whole, then again with hooks on their layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from prunecli.inputs import Inputs

Now = Callable[[], float]


@dataclass(frozen=True)
class Effort:
    """How much is run: whole networks and layers for half of ``seconds`` each, but for ``least`` to ``most``
    runs; ``enough`` runs end it once they have taken ``brief`` seconds, which all but tiny networks' have.
    After ``longest`` seconds no more runs are begun, not even of the least.
    """

    seconds: float = 2.0
    least: int = 5
    enough: int = 20
    most: int = 200
    brief: float = 0.1
    longest: float = 10.0

    def goes_on(self, runs: int, spent: float, in_all: float) -> bool:
        """After ``runs`` that took ``spent`` seconds, and ``in_all`` since the networks first ran."""
        if runs < self.least:
            return runs == 0 or in_all < self.longest
        if runs >= self.most or spent >= self.seconds / 2:
            return False
        return runs < self.enough or spent < self.brief


@dataclass(frozen=True)
class Stopwatch:
    """``mark`` notes how far a device has come, ``settle`` waits until it has no work left; then ``between``
    says how many milliseconds lie between two marks.
    """

    mark: Callable[[], Any]
    settle: Callable[[], None]
    between: Callable[[Any, Any], float]


def stopwatch(device: torch.device, now: Now) -> Stopwatch:
    """Events in the queue of work where there is one that takes them, else ``now``."""

    def event() -> Any:
        made = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        made.record(torch.cuda.current_stream(device))
        return made

    def settled() -> float:
        torch.mps.synchronize()
        return now()

    def milliseconds(a: float, b: float) -> float:
        return 1000 * (b - a)

    if device.type == "cuda":
        return Stopwatch(event, lambda: torch.cuda.synchronize(device), lambda a, b: a.elapsed_time(b))
    if device.type == "mps":
        return Stopwatch(settled, torch.mps.synchronize, milliseconds)
    return Stopwatch(now, lambda: None, milliseconds)


@dataclass(frozen=True)
class Times:
    """Milliseconds of every run, by network. ``layers``: of each layer without those called in it, in the
    order of their first call, ``""`` being what is left of the whole; None where there was no time for them.
    """

    whole: list[list[float]]
    layers: list[dict[str, list[float]]] | None


@dataclass
class Race:
    """Networks that run in turns, so that whatever else the machine does hits all of them alike; hooks stay
    on them. ``warmed``: the times of their first runs.
    """

    networks: list[nn.Module]
    inputs: Inputs
    watch: Stopwatch
    effort: Effort
    now: Now
    began: float = 0.0
    warmed: list[list[float]] = field(default_factory=list)

    def warm(self) -> None:
        """Twice, since kernels are chosen in the first run; once where that took more than a second. Raises
        what a forward raises.
        """
        self.began = self.now()
        self.warmed = [[self._once(network)] for network in self.networks]
        for network, times in zip(self.networks, self.warmed, strict=True):
            if times[0] < 1000:
                times.append(self._once(network))

    def times(self, names: Iterable[str]) -> Times:
        """Of the warm networks, and of those of their layers. Where the first runs took too long already,
        they are all there is.
        """
        if self._is_late:
            return Times([times[-1:] for times in self.warmed], None)
        whole: list[list[float]] = [[] for _ in self.networks]
        self._turns(lambda index, time: whole[index].append(time))
        if self._is_late:
            return Times(whole, None)
        watched = {*names, ""}
        watches = [_watched(network, watched, self.watch) for network in self.networks]
        layers: list[dict[str, list[float]]] = [{} for _ in self.networks]

        def note(index: int, _: float) -> None:
            for name, time in watches[index].taken().items():
                layers[index].setdefault(name, []).append(time)

        self._turns(note)
        return Times(whole, layers)

    @property
    def _is_late(self) -> bool:
        return self.now() - self.began >= self.effort.longest

    def _turns(self, after_each: Callable[[int, float], None]) -> None:
        """``after_each`` gets the number of the network that ran, and milliseconds."""
        first, runs = self.now(), 0
        while self.effort.goes_on(runs, self.now() - first, self.now() - self.began):
            for index, network in enumerate(self.networks):
                after_each(index, self._once(network))
            runs += 1

    @torch.inference_mode()
    def _once(self, network: nn.Module) -> float:
        # A forward may change its inputs.
        inputs = self.inputs.map(lambda tensor: tensor.clone())
        self.watch.settle()
        began = self.watch.mark()
        inputs.run(network)
        ended = self.watch.mark()
        self.watch.settle()
        return self.watch.between(began, ended)


@dataclass
class _Visit:
    """One call of a layer, within the call number ``inside``."""

    layer: str
    inside: int | None
    began: Any = None
    ended: Any = None


@dataclass
class _Watch:
    """What hooks on the layers of one network see of a forward."""

    watch: Stopwatch
    visits: list[_Visit] = field(default_factory=list)
    open: list[int] = field(default_factory=list)

    def look_at(self, name: str, layer: nn.Module) -> None:
        def enter(*_: Any) -> None:
            self.visits.append(_Visit(name, self.open[-1] if self.open else None))
            self.open.append(len(self.visits) - 1)
            self.visits[-1].began = self.watch.mark()

        def leave(*_: Any) -> None:
            ended = self.watch.mark()
            self.visits[self.open.pop()].ended = ended

        try:
            layer.register_forward_pre_hook(enter)
            layer.register_forward_hook(leave)
        except RuntimeError:
            # TorchScript takes no hooks: its time is that of the layer around it.
            return

    def taken(self) -> dict[str, float]:
        """Milliseconds of each layer, of all its calls together; then everything is forgotten."""
        spent = [self.watch.between(visit.began, visit.ended) for visit in self.visits]
        own = list(spent)
        for visit, time in zip(self.visits, spent, strict=True):
            if visit.inside is not None:
                own[visit.inside] -= time
        found: dict[str, float] = {}
        for visit, time in zip(self.visits, own, strict=True):
            found[visit.layer] = found.get(visit.layer, 0.0) + time
        self.visits.clear()
        return found


def _watched(network: nn.Module, names: set[str], watch: Stopwatch) -> _Watch:
    made = _Watch(watch)
    for name, layer in network.named_modules():
        if name in names:
            made.look_at(name, layer)
    return made
