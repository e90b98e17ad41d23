"""Scores as tables for a terminal: one table per criterion, then how alike the criteria order the units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from rich.console import RenderableType
from rich.text import Text

from prunecli.report.histograms import Histogram
from prunecli.report.scored import CriterionFacts, RankCorrelation, Scoring
from prunecli.report.tables import grid, heading, pairs, safe
from prunecli.report.terminal import by_reason
from prunecli.report.text import gist, one_line, plural, seconds

# So many columns of a matrix fit beside the names on 80 columns.
_COLUMNS = 7


def scoring(found: Scoring, correlate: bool) -> tuple[RenderableType, ...]:
    """What was scored on what, every criterion's scores by group, and what has none, for which reason."""
    source = found.checkpoint.name if found.checkpoint else "module"
    frozen = Counter(gist(group.frozen) for group in found.groups if group.frozen)
    return (
        heading(source, found.network),
        Text(),
        pairs(_facts(found)),
        *(part for criterion in found.criteria for part in _criterion(found, criterion)),
        *(_correlations(found) if correlate else ()),
        *by_reason("groups left whole", frozen),
    )


def _facts(found: Scoring) -> Iterator[tuple[str, str]]:
    free = [group for group in found.groups if group.frozen is None]
    yield "scored", f"{plural(len(free), 'group')}, {plural(sum(g.size for g in free), 'unit')}"
    if found.data is not None:
        labels = "" if found.data.labelled else ", without labels"
        yield "data", f"{found.data.origin}, {plural(found.data.samples, 'sample')}{labels}"
    if found.against is not None:
        yield "against", found.against.name
    yield "time", seconds(sum(found.timings.values()))


def _criterion(found: Scoring, criterion: CriterionFacts) -> Iterator[RenderableType]:
    rows = [group for group in found.groups if criterion.name in group.scores]
    title = Text(one_line(criterion.name), style="bold")
    yield Text()
    yield title.append(f"   {_how(criterion)}", style="not bold dim")
    table = grid("group", "kind", ">units", ">min", ">median", ">max", "distribution")
    # "head dimension" on two lines leaves more for the name, which often has two anyway.
    table.columns[1].max_width = len("dimension")
    for group in rows:
        scores = group.scores[criterion.name]
        figures = (_figure(f(scores)) for f in _FIGURES)
        table.add_row(safe(group.name), safe(group.kind), str(group.size), *figures, Histogram(scores))
    if rows:
        yield table
    reasons = (group.not_scorable.get(criterion.name) for group in found.groups)
    yield from by_reason("groups not scorable", Counter(reason for reason in reasons if reason))


_FIGURES: tuple[Callable[[Sequence[float]], float], ...] = (min, median, max)


def _how(criterion: CriterionFacts) -> str:
    loss = f", loss {one_line(criterion.loss)}" if criterion.loss else ""
    return f"reduce {criterion.reduce}, normalize {criterion.normalize}{loss}"


def _figure(value: float) -> str:
    return f"{value:.3g}"


def _correlations(found: Scoring) -> Iterator[RenderableType]:
    names = [criterion.name for criterion in found.criteria]
    pairs = found.correlations
    groups, units = _range(row.groups for row in pairs), _range(row.units for row in pairs)
    yield from _matrix(f"rank correlation inside groups (mean over {groups} groups, by units)", names,
                       {_pair(row): row.within for row in pairs})  # fmt: skip
    yield from _matrix(f"rank correlation over all {units} units (as normalized above)", names,
                       {_pair(row): row.across for row in pairs})  # fmt: skip


def _pair(row: RankCorrelation) -> frozenset[str]:
    return frozenset((row.first, row.second))


def _range(numbers: Iterator[int]) -> str:
    """``12``, or ``3 to 12`` where it depends on the pair."""
    every = sorted(set(numbers))
    return " to ".join(dict.fromkeys(str(number) for number in (*every[:1], *every[-1:]))) or "0"


def _matrix(
    title: str, names: Sequence[str], values: dict[frozenset[str], float | None]
) -> Iterator[RenderableType]:
    """The lower triangle, columns called by the numbers of the rows."""
    yield Text()
    yield Text(title, style="bold")
    for start in range(0, len(names) - 1, _COLUMNS):
        columns = range(start, min(start + _COLUMNS, len(names) - 1))
        table = grid(">", "", *(f">{column + 1}" for column in columns))
        for row in range(start, len(names)):
            cells = [_cell(values, names[row], names[column]) if column < row else "" for column in columns]
            table.add_row(str(row + 1), safe(names[row]), *cells)
        yield table


def _cell(values: dict[frozenset[str], float | None], first: str, second: str) -> str:
    value = values.get(frozenset((first, second)))
    return "-" if value is None else f"{value:.2f}"
