"""How long a network takes, and the pruned one beside it: as figures for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy
import torch
from torch import nn

from prunecli import inputs as input_room
from prunecli.assembly import all_tensors, rebuilt
from prunecli.checkpoint.specs import InputSpec
from prunecli.clock import Clock
from prunecli.errors import first_line
from prunecli.racing import Effort, Now, Race, Times, stopwatch
from prunecli.report.model import LayerRow, Report
from prunecli.report.rows import layer_rows
from prunecli.report.text import seconds
from prunecli.report.timed import Latency, LayerLatency, Spread
from prunecli.report.trained import Finetuning
from prunecli.slowdown import BOUND, Between, Slowdown, slowdown

STAGE = "latency"
EFFORT = Effort()


@dataclass(frozen=True)
class Measured:
    """``latency`` is None where a network did not run, for the reason in ``notes``."""

    latency: Latency | None
    notes: tuple[str, ...] = ()


def measured(
    before: nn.Module,
    after: nn.Module | None,
    specs: Sequence[InputSpec],
    rows: Sequence[LayerRow],
    *,
    device: torch.device,
    macs: tuple[int, int] | None = None,
    round_to: int = 1,
    effort: Effort | None = None,
    now: Now = perf_counter,
) -> Measured:
    """Time both networks (or ``before`` alone) on the inputs that ``specs`` describe, with as many threads as
    torch has now; neither is touched. The layers are those of ``rows``, each without the layers in it.

    ``macs`` are those of both. With them it is found which layers are slow where the speedup is short of
    theirs, and what would help; ``round_to`` is what widths were rounded to.
    """
    networks = [before] if after is None else [before, after]
    problem = ""
    for dtype in dict.fromkeys((_dtype(before), torch.float32)):
        try:
            race = _race(networks, specs, device, dtype, effort or EFFORT, now)
            race.warm()
        # A forward is code of others, on a device that may lack what it needs: it may raise anything.
        except Exception as error:
            problem = problem or first_line(error)
            continue
        batch = specs[0].shape[0] if specs and specs[0].shape else 1
        facts = (str(device), torch.get_num_threads(), batch, str(dtype).removeprefix("torch."))
        return _told(race.times(row.name for row in rows), facts, rows, macs, round_to)
    return Measured(None, (f"latency was not measured: the network does not run on {device}: {problem}",))


def _race(
    networks: Sequence[nn.Module],
    specs: Sequence[InputSpec],
    device: torch.device,
    dtype: torch.dtype,
    effort: Effort,
    now: Now,
) -> Race:
    inputs = input_room.make(specs).cast(dtype).map(lambda tensor: tensor.to(device))
    copies = [_copy(network, device, dtype) for network in networks]
    return Race(copies, inputs, stopwatch(device, now), effort, now)


def _dtype(module: nn.Module) -> torch.dtype:
    floating = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    return next(floating, torch.float32)


def _copy(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """In eval mode, around the same parameters where they are in place; buffers may change in a forward."""
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    tensors = {
        name: tensor.detach().to(device, dtype if tensor.is_floating_point() else None, copy=name in buffers)
        for name, tensor in all_tensors(module).items()
    }
    return rebuilt(module, tensors).eval()


def _told(
    times: Times,
    facts: tuple[str, int, int, str],
    rows: Sequence[LayerRow],
    macs: tuple[int, int] | None,
    round_to: int,
) -> Measured:
    before, after = spread(times.whole[0]), spread(times.whole[1]) if len(times.whole) > 1 else None
    layers = () if times.layers is None else _layers(times.layers, {row.name for row in rows})
    speedup = None if after is None else before.median / max(after.median, 1e-9)
    ratio = None if after is None or macs is None else macs[0] / max(1, macs[1])
    why: Slowdown | None = None
    notes: list[str] = []
    if speedup is not None and ratio is not None:
        why = slowdown(rows, layers, speedup, ratio, _between(times.layers, rows), round_to)
        notes += [] if why is None else [_warning(speedup, ratio, why)]
    slow, advice = ((), None) if why is None else (why.slow, why.advice)
    latency = Latency(*facts, len(times.whole[0]), before, after, speedup, ratio, layers, slow, advice)
    if times.layers is None:
        one = seconds(sum(found[0] for found in times.whole) / 1000)
        notes.append(f"layers were not timed: {one} for one forward{'' if after is None else ' of both'}")
    return Measured(latency, tuple(notes))


def spread(times: Sequence[float]) -> Spread:
    """The median of ``times`` and their 10th and 90th percentile, between neighbours by proportion, to five
    digits: what follows is no measurement, and there are many layers.
    """
    low, median, high = (float(f"{time:.5g}") for time in numpy.percentile(times, (10, 50, 90)))
    return Spread(median, low, high)


def _layers(times: Sequence[Mapping[str, list[float]]], names: set[str]) -> tuple[LayerLatency, ...]:
    others = times[1:]
    return tuple(
        LayerLatency(name, spread(found), next((spread(t[name]) for t in others if name in t), None))
        for name, found in times[0].items()
        if name in names
    )


def _between(times: Sequence[Mapping[str, list[float]]] | None, rows: Sequence[LayerRow]) -> Between:
    if times is None or any(row.name == "" for row in rows):
        return Between(0.0, 0.0)
    return Between(*(spread(found[""]).median for found in times))


def _warning(speedup: float, ratio: float, why: Slowdown) -> str:
    lost = ", ".join(name or "the network itself" for name in why.slow)
    return (
        f"the measured speedup {speedup:.2f}x is below {BOUND:.0%} of the {ratio:.2f}x by MACs"
        f"{f'; slow: {lost}' if lost else ''}; {why.advice}"
    )


def with_latency(
    report: Report,
    before: nn.Module,
    after: nn.Module,
    specs: Sequence[InputSpec],
    device: torch.device,
    clock: Clock,
) -> Report:
    """``report`` of what became of ``before``, and how long both take."""
    with clock.stage(STAGE):
        round_to = report.options.get("round_to", 1)
        found = measured(
            before, after, specs, report.layers, device=device,
            macs=(report.before.macs, report.after.macs),
            round_to=round_to if isinstance(round_to, int) else 1,
        )  # fmt: skip
    return replace(
        report, latency=found.latency, notes=(*report.notes, *found.notes), timings=dict(clock.seconds)
    )


def with_trained_latency(
    report: Finetuning,
    dense: nn.Module | None,
    trained: nn.Module,
    specs: Sequence[InputSpec],
    device: torch.device,
    clock: Clock,
) -> Finetuning:
    """The same of a training: beside the ``dense`` network where there is one, else by itself."""
    first, second = (trained, None) if dense is None else (dense, trained)
    with clock.stage(STAGE):
        found = measured(first, second, specs, layer_rows(first, second, {}, {}), device=device)
    return replace(
        report, latency=found.latency, notes=(*report.notes, *found.notes), timings=dict(clock.seconds)
    )
