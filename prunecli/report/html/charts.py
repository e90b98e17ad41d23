"""Pictures of figures that stand in a table as well. They have no colours of their own, only classes, and
lengths in whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor

from prunecli.report.html.markup import text

TALL = 32
SLOT, EPOCHS_WIDE, PLOT_TALL = 96, 240, 150
_LEFT, _TOP, _BELOW = 56, 24, 36


def skyline(values: Sequence[float], most: float) -> str:
    """The outline of bars one wide and up to ``TALL`` high, next to each other from left to right."""
    heights = [round(TALL * value / most) if most else 0 for value in values]
    steps, level = [f"M0 {TALL}"], 0
    for height, together in groupby(heights):
        steps.append(f"v{level - height}h{sum(1 for _ in together)}")
        level = height
    return f"{''.join(steps)}V{TALL}z"


def strip(name: str, detail: str, before: Sequence[float], after: Sequence[float] | None = None) -> str:
    """One figure of every layer, in order: what it was, and in front of it what it is."""
    most = max(*before, *(after or ()), 0.0)
    front = "" if after is None else f'<path class="after" d="{skyline(after, most)}"/>'
    return (
        f'<div class="strip"><div class="what"><b>{text(name)}</b> {text(detail)}</div>'
        f'<svg viewBox="0 0 {len(before)} {TALL}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="before" d="{skyline(before, most)}"/>{front}</svg></div>'
    )


def histogram(counts: Sequence[int], removed: Sequence[int]) -> str:
    """How many units there are in each part, with those in front that were removed."""
    most = max(*counts, 1)
    words = f"{' '.join(map(str, counts))}; removed {' '.join(map(str, removed))}"
    gone = f'<path class="gone" d="{skyline(removed, most)}"/>' if any(removed) else ""
    return (
        f'<svg class="hist" viewBox="0 0 {len(counts)} {TALL}" preserveAspectRatio="none" role="img" '
        f'aria-label="{words}"><path class="after" d="{skyline(counts, most)}"/>{gone}</svg>'
    )


@dataclass(frozen=True)
class Stop:
    """Networks one after the other: one of a ``name`` with its figure, or a training without a name of its
    own, with one figure per epoch.
    """

    name: str
    values: tuple[float, ...]

    @property
    def width(self) -> int:
        return SLOT if len(self.values) == 1 else min(EPOCHS_WIDE, SLOT + 4 * len(self.values))


def course(what: str, stops: Sequence[Stop]) -> str:
    """A figure between 0 and 1 from network to network, as a line through all of them."""
    values = [value for stop in stops for value in stop.values]
    low, high = floor(10 * min(values)) / 10, ceil(10 * max(values)) / 10
    high = high if high > low else low + 0.1
    width, height = _LEFT + sum(stop.width for stop in stops), _TOP + PLOT_TALL + _BELOW
    line, marks, left = [], [], float(_LEFT)
    for stop in stops:
        places = _places(stop, left)
        line += [f"{x:.0f} {_y(value, low, high):.0f}" for x, value in zip(places, stop.values, strict=True)]
        marks.append(_named(stop, places, left, low, high))
        left += stop.width
    said = "; ".join(f"{stop.name} {', '.join(map(_exact, stop.values[-1:]))}" for stop in stops)
    return (
        f'<div class="scroll plain" role="region" tabindex="0" aria-label="{text(what)}">'
        f'<svg class="course" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{text(f"{what}: {said}")}">{_grid(low, high, width)}'
        f'<path class="line" d="M{"L".join(line)}"/>{"".join(marks)}</svg></div>'
    )


def _places(stop: Stop, left: float) -> list[float]:
    """Where its figures are: in the middle, or from end to end."""
    number = len(stop.values)
    if number == 1:
        return [left + stop.width / 2]
    return [left + stop.width * index / (number - 1) for index in range(number)]


def _y(value: float, low: float, high: float) -> float:
    return _TOP + PLOT_TALL * (high - value) / (high - low)


def _named(stop: Stop, places: Sequence[float], left: float, low: float, high: float) -> str:
    middle, base = left + stop.width / 2, _TOP + PLOT_TALL + 20
    if len(stop.values) > 1:
        edge = f"M{left:.0f} {_TOP}v{PLOT_TALL}m{stop.width} 0v-{PLOT_TALL}"
        label = f"{stop.name}, {len(stop.values)} epochs"
        return f'<path class="edge" d="{edge}"/><text x="{middle:.0f}" y="{base}">{text(label)}</text>'
    value = stop.values[0]
    top = _y(value, low, high)
    return (
        f'<circle cx="{middle:.0f}" cy="{top:.0f}" r="4"/>'
        f'<text class="figure" x="{middle:.0f}" y="{top - 9:.0f}">{_exact(value)}</text>'
        f'<text x="{middle:.0f}" y="{base}">{text(stop.name)}</text>'
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
