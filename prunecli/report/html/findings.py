"""What a checkpoint is, and how good it is, as pages."""

from __future__ import annotations

from prunecli.report.html import course, figures, groups, layers
from prunecli.report.html.charts import Stop
from prunecli.report.html.markup import Section, number, pairs, pointer, text
from prunecli.report.html.page import page
from prunecli.report.measured import Evaluation
from prunecli.report.model import Inspection


def inspection(found: Inspection) -> str:
    """A checkpoint: its layers, what can be removed of it and what cannot, and its zeros."""
    rest = [
        ("MACs counted by", text(found.counter)),
        ("not counted", figures.uncounted(found.unsupported)),
        ("time", figures.spent(found.timings)),
    ]
    sections = [
        layers.present(found.layers, found.latency),
        layers.latency(found.latency, ()),
        groups.groups(found.groups),
        layers.zeros(found.sparsity),
        groups.pinned(found.pinned),
        figures.notes((*found.network.notes, *found.notes)),
        figures.again(
            found.command, found.version, found.checkpoint, found.network, found.inputs, None,
            [(name, value) for name, value in rest if value],
        ),
    ]  # fmt: skip
    name = found.checkpoint.name if found.checkpoint else "module"
    head = figures.sizes(found.totals, found.latency, ())
    return page(name, found.network.spec, head, [each for each in sections if each is not None])


def evaluation(found: Evaluation) -> str:
    """How good a checkpoint is, beside the dense one where there is one."""
    networks = found.columns
    what, key = course.figure_of(networks.values())
    known = {name: getattr(quality, key) for name, quality in networks.items()}
    stops = [Stop(name, (value,)) for name, value in known.items() if value is not None]
    places = {name: pointer("quality" if name == "this" else name) for name in networks}
    sections = [
        figures.gates(found.gates),
        course.quality(networks, places, stops, what),
        Section("data", "Data", (pairs([("data", course.data(found.data, "/data")), *_against(found)]),)),
        figures.notes((*found.network.notes, *found.notes)),
        figures.again(
            found.command, found.version, found.checkpoint, found.network, found.inputs, None,
            [("time", figures.spent(found.timings))] if found.timings else [],
        ),
    ]  # fmt: skip
    name = found.checkpoint.name if found.checkpoint else "module"
    head = figures.verdict(None, (), found.gates) + figures.sizes(found.totals, None, _reached(found))
    return page(name, found.network.spec, head, [each for each in sections if each is not None])


def _against(found: Evaluation) -> list[tuple[str, str]]:
    if found.against is None:
        return []
    digest = f'<code class="digest">sha256 {text(found.against.digest)}</code>'
    return [("compared with", f"{text(found.against.name)}<br>{digest}")]


def _reached(found: Evaluation) -> list[str]:
    what, key = course.figure_of([found.quality])
    beside = ""
    if key == "top1" and found.dense is not None:
        beside = f"dense {number(found.dense.top1, '{:.2%}'.format, '/dense/top1')}"
    return figures.accuracy(what, getattr(found.quality, key), f"/quality/{key}", beside)
