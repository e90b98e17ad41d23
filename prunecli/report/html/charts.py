"""Pictures of figures that stand in a table as well. They have no colours of their own, only classes, and
lengths in whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor

from prunecli.report.html.markup import text

TALL = 24
BARS = 1200
"""On a strip, which is hardly wider than that in pixels."""
BAR = 10
"""Of a bar in a histogram, in pixels like ``TALL``; a strip is as wide as there is room."""
SLOT, EPOCHS_WIDE, PLOT_TALL = 96, 240, 150
_LEFT, _TOP, _BELOW = 56, 24, 44
_LABELS = _TOP + PLOT_TALL + 36


def skyline(values: Sequence[float], most: float, wide: int = 1) -> str:
    """The outline of bars ``wide`` and up to ``TALL`` high, next to each other from left to right."""
    heights = [round(TALL * value / most) if most else 0 for value in values]
    steps, level = [f"M0 {TALL}"], 0
    for height, together in groupby(heights):
        steps.append(f"v{level - height}" * (level != height) + f"h{wide * sum(1 for _ in together)}")
        level = height
    return f"{''.join(steps)}V{TALL}"


def strip(name: str, detail: str, before: Sequence[float], after: Sequence[float] | None = None) -> str:
    """One figure of every layer, in order: what it was, and in front of it what it is."""
    before, after = thinned(before), None if after is None else thinned(after)
    most = max(*before, *(after or ()), 0.0)
    front = "" if after is None else f'<path class="after" d="{skyline(after, most)}"/>'
    return (
        f'<div class="strip"><div class="what"><b>{text(name)}</b> {text(detail)}</div>'
        f'<svg viewBox="0 0 {len(before)} {TALL}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="before" d="{skyline(before, most)}"/>{front}</svg></div>'
    )


def thinned(values: Sequence[float]) -> Sequence[float]:
    """At most ``BARS``, each of them the largest of ``together`` neighbours."""
    step = together(len(values))
    return [max(values[first : first + step]) for first in range(0, len(values), step)]


def together(number: int) -> int:
    """How many of ``number`` share a bar."""
    return -(-number // BARS) or 1


def histogram(counts: Sequence[int], removed: Sequence[int]) -> str:
    """How many units there are in each part, with those in front that were removed."""
    most = max(*counts, 1)
    words = f"{' '.join(map(str, counts))}; removed {' '.join(map(str, removed))}"
    gone = f'<path class=gone d="{skyline(removed, most, BAR)}"/>' if any(removed) else ""
    return (
        f'<svg class=hist role=img aria-label="{words}">'
        f'<path class=after d="{skyline(counts, most, BAR)}"/>{gone}</svg>'
    )


@dataclass(frozen=True)
class Stop:
    """A network, with its figure; or a training, with one for each epoch."""

    name: str
    values: tuple[float, ...]

    @property
    def label(self) -> str:
        return self.name if len(self.values) == 1 else f"{self.name}, {len(self.values)} epochs"

    @property
    def width(self) -> int:
        """What its figures need, and its label."""
        return max(SLOT, 7 * len(self.label) + 16, min(EPOCHS_WIDE, 4 * len(self.values)))


def course(what: str, stops: Sequence[Stop]) -> str:
    """A figure between 0 and 1 from network to network, as a line through all of them."""
    values = [value for stop in stops for value in stop.values]
    low, high = floor(10 * min(values)) / 10, ceil(10 * max(values)) / 10
    high = high if high > low else low + 0.1
    width, height = _LEFT + sum(stop.width for stop in stops), _TOP + PLOT_TALL + _BELOW
    line, marks, left = [], [], _LEFT
    for index, stop in enumerate(stops):
        heights = [_y(value, low, high) for value in stop.values]
        line += [f"{x:.0f} {y:.0f}" for x, y in zip(_places(stop, left), heights, strict=True)]
        beside = (*stops[max(0, index - 1)].values[-1:], *stops[min(index + 1, len(stops) - 1)].values[:1])
        # Where the line comes down to it from one side at least, its figure is below.
        dips = stop.values[0] < max(beside) and stop.values[0] <= min(beside)
        marks.append(_trained(stop, left) if len(heights) > 1 else _marked(stop, left, heights[0], dips))
        left += stop.width
    said = "; ".join(f"{stop.name} {_exact(stop.values[-1])}" for stop in stops)
    return (
        f'<div class="scroll plain" role="region" tabindex="0" aria-label="{text(what)}">'
        f'<svg class="course" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{text(f"{what}: {said}")}">{_grid(low, high, width)}'
        f'<path class="line" d="M{"L".join(line)}"/>{"".join(marks)}</svg></div>'
    )


def _places(stop: Stop, left: int) -> list[float]:
    """Where its figures are: in the middle, or from end to end."""
    number = len(stop.values)
    if number == 1:
        return [left + stop.width / 2]
    return [left + stop.width * index / (number - 1) for index in range(number)]


def _y(value: float, low: float, high: float) -> float:
    return _TOP + PLOT_TALL * (high - value) / (high - low)


def _marked(stop: Stop, left: int, height: float, dips: bool) -> str:
    """A network: a point, with its figure below it where the line dips."""
    x, beside = left + stop.width // 2, height + (18 if dips else -9)
    return (
        f'<circle cx="{x}" cy="{height:.0f}" r="4"/>'
        f'<text class="figure" x="{x}" y="{beside:.0f}">{_exact(stop.values[0])}</text>'
        f'<text x="{x}" y="{_LABELS}">{text(stop.label)}</text>'
    )


def _trained(stop: Stop, left: int) -> str:
    """A training, between its first and its last epoch."""
    edge = f"M{left} {_TOP}v{PLOT_TALL}m{stop.width} 0v-{PLOT_TALL}"
    return (
        f'<path class="edge" d="{edge}"/>'
        f'<text x="{left + stop.width // 2}" y="{_LABELS}">{text(stop.label)}</text>'
    )


def _grid(low: float, high: float, width: int) -> str:
    """A line at each of a handful of round shares."""
    tenths = round(10 * (high - low))
    apart = 1 if tenths <= 5 else 2
    lines = []
    for tenth in range(0, tenths + 1, apart):
        value = low + tenth / 10
        y = round(_y(value, low, high))
        lines.append(
            f'<path class="rule" d="M{_LEFT - 8} {y}H{width}"/>'
            f'<text class="axis" x="{_LEFT - 12}" y="{y + 4}">{value:.0%}</text>'
        )
    return "".join(lines)


def _exact(value: float) -> str:
    return f"{value:.2%}"


def tiles(found: Iterable[tuple[str, int, str, str]]) -> str:
    """A tile per thing: its kind, how full it is in percent, the letter on it, and what is said where the
    pointer rests.
    """
    drawn = "".join(
        f'<i class="{kind} b{full}" title="{text(said)}">{text(letter)}</i>'
        for kind, full, letter, said in found
    )
    return f'<div class="tiles" aria-hidden="true">{drawn}</div>'
