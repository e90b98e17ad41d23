"""What the gates of a run look at: the data that figures are taken on, and what came of it."""

from __future__ import annotations

from dataclasses import replace

from prunecli.calibrating import Calibration
from prunecli.data import Samples
from prunecli.data.specs import shown
from prunecli.gates import Figures, Gates
from prunecli.report.gated import Gate, passed
from prunecli.report.measured import Evaluation
from prunecli.report.model import Report, Totals
from prunecli.report.timed import Latency
from prunecli.report.trained import Finetuning
from prunecli.selection import Target
from prunecli.subjects import Dense


def opened(gates: Gates, calibration: Calibration, dense: Dense) -> Samples:
    """What a run that trains nothing is measured on, before any work is done. Raises ``UsageError`` for data
    without the labels that a gate needs, and as :func:`prunecli.data.open_data`.
    """
    samples = calibration.judged(dense.specs)
    if samples is None:
        samples = calibration.opened(dense.module, dense.specs)
    require_labels(gates, samples)
    return samples


def require_labels(gates: Gates, samples: Samples | None) -> None:
    """Raises ``UsageError`` for samples that a gate cannot be judged on."""
    if samples is not None and gates.asks_quality:
        gates.require_labels(samples.labelled, shown(samples.origin))


def of_run(gates: Gates, report: Report) -> tuple[Gate, ...]:
    """The network that would be written is the last whose quality was taken."""
    last = list(report.quality)[-1:]
    quality = report.quality[last[0]] if last and last[0] != "dense" else None
    dense = report.quality.get("dense")
    return gates.judged(Figures.of(report.after, quality, dense, median(report.latency)))


_PICKED = 0.005
"""How near to its target a regularizer picks, whatever ``--tolerance`` is."""


def foretold(
    gates: Gates, target: Target | None, before: Totals, cut: Totals, tolerance: float
) -> Figures | None:
    """The size of ``cut``, made for ``target`` before training, where the cut after training is too large as
    well: as near to the target as that one, it is above a limit of ``gates``. None where that is open.
    """
    kind = (
        None if target is None else {"speedup": "macs", "flops": "macs", "params": "params"}.get(target.kind)
    )
    if target is None or kind is None:
        return None
    goal, found = target.goal(getattr(before, kind)), getattr(cut, kind)
    near = max(tolerance, _PICKED)
    # Widths so coarse that this cut misses the target may let another one miss it by more.
    if not goal * (1 - near) <= found <= goal * (1 + tolerance):
        return None
    least = Figures(**{kind: int(goal * (1 - near))})
    held = Gates(**{f"max_{kind}": getattr(gates, f"max_{kind}")})
    return None if passed(held.judged(least)) else Figures(**{kind: found})


def median(latency: Latency | None) -> float | None:
    """Of the network that gates are about: the pruned one where there are two."""
    return None if latency is None else (latency.after or latency.before).median


def of_training(gates: Gates, found: Finetuning, sizes: Figures) -> tuple[Gate, ...]:
    """``sizes`` has what does not depend on the weights."""
    quality = Figures.of(None, found.after, found.dense)
    return gates.judged(
        replace(sizes, accuracy=quality.accuracy, drop=quality.drop, agreement=quality.agreement)
    )


def of_evaluation(gates: Gates, found: Evaluation, latency: Latency | None) -> tuple[Gate, ...]:
    return gates.judged(Figures.of(found.totals, found.quality, found.dense, median(latency)))
