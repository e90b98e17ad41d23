"""Where the scores of a group lie, in one short line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement

BINS = 12
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:-=+*#@"


def counts(
    values: Sequence[float], bins: int = BINS, low: float | None = None, high: float | None = None
) -> list[int]:
    """How many of ``values`` lie in each of ``bins`` equal parts from ``low`` to ``high`` (the lowest and the
    highest of them, unless given); all in the first where the two are equal.
    """
    low, high = min(values) if low is None else low, max(values) if high is None else high
    found = [0] * bins
    for value in values:
        # Halves, so that a range beyond the largest float is no infinity.
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.0
        found[min(bins - 1, int(share * bins))] += 1
    return found


class Histogram:
    """``values`` as blocks, the fullest part as high as the line; a part with anything in it shows."""

    def __init__(self, values: Sequence[float]) -> None:
        self._counts = counts(values)

    def line(self, blocks: str = _BLOCKS) -> str:
        most, levels = max(self._counts), len(blocks) - 1
        return "".join(blocks[-(-count * levels // most)] for count in self._counts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        yield Text(self.line(_ASCII if options.ascii_only else _BLOCKS), no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement(BINS, BINS)
