"""How good the networks are, from the dense one to the last, and the trainings between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prunecli.report.epochs import EpochRow, Sparsity, TrainedStage
from prunecli.report.evaluated import FIGURES
from prunecli.report.figures import DataFacts, Quality
from prunecli.report.html.charts import Stop, course
from prunecli.report.html.figures import settings
from prunecli.report.html.markup import (
    NOTHING,
    Column,
    Section,
    Table,
    folded,
    number,
    pairs,
    pointer,
    small_table,
    text,
)
from prunecli.report.text import plural, seconds


def quality(
    networks: Mapping[str, Quality], places: Mapping[str, str], stops: Sequence[Stop], what: str
) -> Section | None:
    """A line through the figure of every network, if there are two, and all figures; ``places`` are where
    each network is in the report.
    """
    if not networks:
        return None
    picture = ""
    if sum(len(stop.values) for stop in stops) > 1:
        picture = (
            f"<figure>{course(what, stops)}<figcaption>{text(what)} of each network</figcaption></figure>"
        )
    rows = [
        (
            words,
            *(
                number(getattr(found, key), shown, f"{places[name]}/{key}")
                for name, found in networks.items()
            ),
        )
        for words, key, shown in FIGURES
        if any(getattr(found, key) is not None for found in networks.values())
    ]
    seen = [
        number(found.samples, "{:,}".format, f"{places[name]}/samples") for name, found in networks.items()
    ]
    known = [
        number(found.classes, "{:,}".format, f"{places[name]}/classes") for name, found in networks.items()
    ]
    rows += [("samples", *seen), *([("classes", *known)] if any(one != NOTHING for one in known) else [])]
    return Section(
        "quality", "Quality", (picture, small_table("quality", ("", *networks), rows, figures=True))
    )


def figure_of(networks: Iterable[Quality]) -> tuple[str, str]:
    """What is drawn, in words and as a field: accuracy where there are labels, else nearness."""
    labelled = any(found.top1 is not None for found in networks)
    return ("Top-1 accuracy", "top1") if labelled else ("Top-1 as the dense network", "agreement")


def stops(networks: Mapping[str, Quality], trainings: Sequence[TrainedStage], key: str) -> list[Stop]:
    """The networks in order, each training before the network that came of it, or before the cut."""
    found: list[Stop] = []
    left = list(trainings)
    for name, there in networks.items():
        before = [
            stage for stage in left if stage.name == name or (name == "cut" and stage.name not in networks)
        ]
        left = [stage for stage in left if stage not in before]
        found += [stop for stage in before for stop in epochs_of(stage.name, stage.epochs, key)]
        value = getattr(there, key)
        found += [] if value is None else [Stop(name, (value,))]
    return found


def epochs_of(name: str, rows: Sequence[EpochRow], key: str) -> list[Stop]:
    """The figure after every epoch, where it was taken then; one alone is that of the network behind it."""
    values = [getattr(row.quality, key) for row in rows if row.quality is not None]
    known = tuple(value for value in values if value is not None)
    return [Stop(name, known)] if len(known) > 1 else []


def training(found: Sequence[TrainedStage]) -> Section | None:
    """Each training with its settings and its epochs."""
    if not found:
        return None
    body = (part for index, stage in enumerate(found) for part in _stage(stage, index))
    return Section("training", "Training", tuple(body))


def _stage(stage: TrainedStage, index: int) -> tuple[str | Table, ...]:
    at = pointer("training", index)
    facts = [
        ("data", data(stage.data, f"{at}/data")),
        *([("measured on", data(stage.validation, f"{at}/validation"))] if stage.validation else []),
        *([("learned from", "the data and the dense network")] if stage.distilled else []),
        ("on", where(stage.device, stage.threads, at)),
        ("time", number(stage.seconds, seconds, f"{at}/seconds")),
        *best(stage.best, at),
        *regularizer(stage.sparsity, f"{at}/sparsity"),
    ]
    options = folded("settings", settings(stage.settings, f"{at}/settings"))
    return f"<h3>{text(stage.name)}</h3>", pairs(facts), options, epochs(stage.epochs, f"{at}/epochs")


def best(epoch: int | None, at: str) -> list[tuple[str, str]]:
    return [] if epoch is None else [("weights of epoch", number(epoch, str, f"{at}/best"))]


def where(device: str, threads: int, at: str) -> str:
    return f"{text(device)}, {number(threads, lambda value: plural(value, 'thread'), f'{at}/threads')}"


def data(found: DataFacts, at: str) -> str:
    """Where samples come from, and how many there are."""
    labels = "" if found.labelled else ", without labels"
    return f"{text(found.origin)}, {number(found.samples, '{:,} samples'.format, f'{at}/samples')}{labels}"


def regularizer(found: Sparsity | None, at: str) -> list[tuple[str, str]]:
    """What it was set to, what it says of itself, what it picked."""
    if found is None:
        return []
    told = settings(found.values, f"{at}/values") + settings(found.told, f"{at}/told")
    facts = [("regularizer", f"{text(found.regularizer)}{told}")]
    if found.picked is not None:
        picked = number(found.picked, "{:,} units".format, f"{at}/picked")
        facts.append(("picked", f"{picked} for {text(found.target)}"))
    return facts


_AFTERWARDS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    *FIGURES, ("samples", "samples", "{:,}".format), ("classes", "classes", "{:,}".format),
)  # fmt: skip


def epochs(rows: Sequence[EpochRow], at: str) -> Table:
    """A row each, with the figures that were taken afterwards of any."""
    taken = [row.quality for row in rows if row.quality is not None]
    columns = [
        Column("epoch", "epoch"),
        Column("learning rate", "lr", "{:.4g}".format),
        Column("loss", "loss", "{:.4g}".format, over="training"),
        Column("top-1", "top1", "{:.2%}".format, over="training"),
        *(
            Column(words, f"quality/{key}", shown, over="afterwards")
            for words, key, shown in _AFTERWARDS
            if any(getattr(quality, key) is not None for quality in taken)
        ),
        Column("samples", "samples", "{:,}".format),
        Column("time", "seconds", seconds),
    ]
    return Table("epoch", at, columns, rows)
