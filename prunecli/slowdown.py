"""Why a pruned network is not as much faster as its multiply-adds are fewer: where the time is lost, and what
would help. Works on figures alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prunecli.report.model import LayerRow
from prunecli.report.text import plural
from prunecli.report.timed import LayerLatency

BOUND = 0.7
"""The share of the MACs ratio that a measured speedup must reach."""
MULTIPLES = (8, 16, 32)
"""Widths that kernels compute in: a vector of float32 has 8 or 16 of them, a block of a matrix 32."""
MOST = 5
_SMALL = 0.05
"""Milliseconds of a layer below which calling it costs about as much as its arithmetic."""


@dataclass(frozen=True)
class Slowdown:
    """``slow``: names of layers, the worst first; ``advice`` in words."""

    slow: tuple[str, ...]
    advice: str


@dataclass(frozen=True)
class Between:
    """Milliseconds in the dense and the pruned network that belong to no layer."""

    before: float
    after: float


@dataclass(frozen=True)
class _Late:
    """A layer of which more time is left than its multiply-adds explain: ``lost`` milliseconds."""

    row: LayerRow
    after: float
    lost: float


def slowdown(
    rows: Sequence[LayerRow],
    layers: Sequence[LayerLatency],
    speedup: float,
    macs_ratio: float,
    between: Between = Between(0.0, 0.0),
    round_to: int = 1,
) -> Slowdown | None:
    """None where ``speedup`` is at least ``BOUND`` of ``macs_ratio``. ``round_to``: what widths were rounded
    to already.
    """
    if speedup >= BOUND * macs_ratio:
        return None
    late = _late({row.name: row for row in rows}, layers)
    worst = late[:MOST]
    advice = [_rounding(worst, round_to), _by_memory(worst), _small(worst)]
    lost_between = between.after - between.before / macs_ratio
    if lost_between > sum(layer.lost for layer in late):
        share = between.after / (between.after + sum(layer.after.median for layer in layers if layer.after))
        advice.append(
            f"{share:.0%} of the time is spent outside these layers (activations, sums, copies), where fewer "
            "MACs save little"
        )
    said = [words for words in advice if words]
    if not said:
        said = ["no --round-to would help here: what is left is memory traffic and the cost of calls"]
    return Slowdown(tuple(layer.row.name for layer in worst), "; ".join(said))


def _late(rows: Mapping[str, LayerRow], layers: Sequence[LayerLatency]) -> list[_Late]:
    found = []
    for layer in layers:
        row = rows.get(layer.name)
        if row is None or layer.after is None:
            continue
        expected = layer.before.median * max(1, row.macs_after) / max(1, row.macs_before)
        lost = layer.after.median - expected
        if lost > 0:
            found.append(_Late(row, layer.after.median, lost))
    return sorted(found, key=lambda layer: -layer.lost)


def _rounding(worst: Sequence[_Late], round_to: int) -> str | None:
    """The smallest multiple that some cut width is not one of, though it is wide enough: with less than two
    of them before the cut, rounding would leave nothing to cut. What is slow because it is tiny stays so.
    """
    large = [layer for layer in worst if layer.after >= _SMALL]
    for multiple in MULTIPLES:
        uneven = {
            after: None
            for layer in large
            for before, after in _cut_widths(layer.row)
            if before >= 2 * multiple and after % multiple
        }
        if uneven and multiple > round_to:
            shown = ", ".join(map(str, list(uneven)[:MOST]))
            return f"--round-to {multiple} makes widths there multiples of {multiple} (now {shown})"
    return None


def _cut_widths(row: LayerRow) -> list[tuple[int, int]]:
    """Outputs and inputs of a weight, before and after, where they were cut."""
    pairs = zip(row.shape_before[:2], row.shape_after[:2], strict=False)
    return [(before, after) for before, after in pairs if before != after]


def _by_memory(worst: Sequence[_Late]) -> str | None:
    found = [layer for layer in worst if _moves_more_than_it_computes(layer.row.shape_after)]
    if 2 * len(found) < len(worst) or not found:
        return None
    subject = "it is" if len(worst) == 1 else f"{len(found)} of them {'is' if len(found) == 1 else 'are'}"
    return f"{subject} bound by memory (depthwise or element by element), not by MACs"


def _moves_more_than_it_computes(shape: tuple[int, ...]) -> bool:
    """A norm or a scale, with one number per channel, and a depthwise convolution."""
    return len(shape) == 1 or (len(shape) > 2 and shape[1] == 1)


def _small(worst: Sequence[_Late]) -> str | None:
    found = [layer for layer in worst if layer.after < _SMALL]
    if 2 * len(found) < len(worst) or not found:
        return None
    takes = "takes" if len(found) == 1 else "take"
    return f"{plural(len(found), 'layer')} there {takes} under {_SMALL:g} ms, hardly more than a call costs"
