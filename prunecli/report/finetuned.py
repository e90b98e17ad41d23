"""A finished training as tables for a terminal, and each epoch as a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from prunecli.report.evaluated import quality
from prunecli.report.figures import Quality
from prunecli.report.tables import grid, heading, pairs
from prunecli.report.text import one_line, plural, seconds, size
from prunecli.report.trained import EpochRow, Finetuning, Sparsity
from prunecli.report.verdicts import verdicts

MOST_EPOCHS = 20


def epoch_line(row: EpochRow, epochs: int) -> str:
    """What is said of an epoch once it is over."""
    parts = [f"epoch {row.epoch} of {epochs}: loss {row.loss:.4g}"]
    if row.top1 is not None:
        parts.append(f"top-1 {row.top1:.2%} in training")
    if row.quality is not None and row.quality.top1 is not None:
        parts.append(f"{row.quality.top1:.2%} after it")
    speed = row.samples / max(row.seconds, 1e-9)
    parts.append(f"{speed:.0f} samples/s")
    left = (epochs - row.epoch) * row.seconds
    return ", ".join((*parts, seconds(row.seconds), *([f"{seconds(left)} left"] if left else [])))


def finetuning(found: Finetuning) -> tuple[RenderableType, ...]:
    """The headline, how good it was and is, and the epochs (the last ones, where there are many)."""
    source = found.checkpoint.name if found.checkpoint else "module"
    written = f" -> {found.output.name}" if found.output else ""
    columns = {"dense": found.dense, "before": found.before, "after": found.after}
    known = {name: figures for name, figures in columns.items() if figures is not None}
    return (
        heading(source + written, found.network),
        Text(),
        pairs(_facts(found)),
        *verdicts(found.gates),
        *((Text(), quality(known)) if known else ()),
        *((Text(), epochs(found.epochs)) if found.epochs else ()),
    )


def _facts(found: Finetuning) -> list[tuple[str, str]]:
    data = found.data
    labels = "" if data.labelled else ", without labels"
    facts = [("data", f"{data.origin}, {plural(data.samples, 'sample')}{labels}")]
    if found.validation:
        judged = found.validation
        facts.append(("measured on", f"{judged.origin}, {plural(judged.samples, 'sample')}"))
    if found.against:
        facts.append(("learned from", found.against.name))
    together = f" in {found.processes} processes" if found.processes > 1 else ""
    facts.append(("settings", settings(found.settings) + together))
    if found.sparsity is not None:
        facts += sparsity(found.sparsity)
    if found.best is not None:
        facts.append(("weights of", f"epoch {found.best}"))
    if found.output:
        facts.append(("file", f"{size(found.output.bytes)}, sha256 {found.output.digest[:16]}..."))
    facts.append(("time", f"{seconds(sum(found.timings.values()))} on {one_line(found.device)}"))
    return facts


def sparsity(found: Sparsity) -> list[tuple[str, str]]:
    numbers = ", ".join(f"{name} {value:g}" for name, value in found.values.items())
    facts = [("regularizer", f"{found.regularizer} ({numbers})" if numbers else found.regularizer)]
    if found.picked is not None:
        facts.append(("picked", f"{plural(found.picked, 'unit')} for {found.target}"))
    told = [f"{name} {value:.4g}" for name, value in found.told.items() if not isinstance(value, (bool, str))]
    if told:
        facts.append(("reached", ", ".join(told)))
    return facts


def settings(chosen: Mapping[str, Any]) -> str:
    """The ones that matter most, in one line."""
    return (
        f"{chosen['optimizer']}, learning rate {chosen['lr']:g}, {chosen['schedule']}, "
        f"weight decay {chosen['weight_decay']:g}, batches of {chosen['batch_size']}"
    )


def epochs(rows: tuple[EpochRow, ...], stage: str = "") -> RenderableType:
    """The last of them, one per line; of ``stage``, where there are several."""
    titles = ("learning rate", "loss", "top-1 in training", "top-1", "loss there", "time")
    table = grid(f">{stage} epoch".replace("> ", ">"), *(f">{title}" for title in titles))
    if len(rows) > MOST_EPOCHS:
        table.add_row(f"... {len(rows) - MOST_EPOCHS} more")
    for row in rows[-MOST_EPOCHS:]:
        judged = row.quality or Quality(0)
        table.add_row(
            str(row.epoch), f"{row.lr:.3g}", f"{row.loss:.4g}", _share(row.top1), _share(judged.top1),
            "-" if judged.loss is None else f"{judged.loss:.4g}", seconds(row.seconds),
        )  # fmt: skip
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
