"""An evaluation, and the quality of several networks side by side, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rich.console import RenderableType
from rich.text import Text

from prunecli.report.figures import Quality
from prunecli.report.measured import Evaluation
from prunecli.report.tables import grid, heading, pairs
from prunecli.report.text import plural, seconds
from prunecli.report.verdicts import verdicts


def evaluation(found: Evaluation) -> tuple[RenderableType, ...]:
    """The figures of the network, beside those of the dense one where there is one."""
    source = found.checkpoint.name if found.checkpoint else "module"
    labels = "" if found.data.labelled else ", without labels"
    facts = [("data", f"{found.data.origin}, {plural(found.data.samples, 'sample')}{labels}")]
    if found.against:
        facts.append(("against", found.against.name))
    facts.append(("time", seconds(sum(found.timings.values()))))
    columns = {"": found.quality} if found.dense is None else found.columns
    top = (heading(source, found.network), Text(), pairs(facts), Text(), quality(columns))
    return *top, *verdicts(found.gates)


def quality(columns: Mapping[str, Quality]) -> RenderableType:
    """One column per network, one line per figure that any of them has."""
    table = grid("quality", *(f">{name}" for name in columns))
    for row in figures(columns):
        table.add_row(*row)
    return table


def figures(columns: Mapping[str, Quality]) -> Iterator[tuple[str, ...]]:
    """Each figure that any of them has, in words, and how large it is in each."""
    for words, key, shown in FIGURES:
        values = [getattr(column, key) for column in columns.values()]
        if any(value is not None for value in values):
            yield words, *("-" if value is None else shown(value) for value in values)


def _share(value: float) -> str:
    return f"{value:.2%}"


def _small(value: float) -> str:
    return f"{value:.3g}"


FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("top-1", "top1", _share),
    ("top-5", "top5", _share),
    ("loss (cross-entropy)", "loss", _small),
    ("top-1 as the dense network", "agreement", _share),
    ("output error (relative)", "error", _small),
    ("KL divergence (nats)", "divergence", _small),
)
"""Each figure in words, its field of ``Quality``, and how it is written."""
