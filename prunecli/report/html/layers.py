"""Layer by layer: sizes, time, and zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prunecli.report.html.charts import strip, together
from prunecli.report.html.markup import Column, Section, Table, number, pairs, share, text
from prunecli.report.model import LayerRow
from prunecli.report.sparse import LayerSparsity
from prunecli.report.text import count, milliseconds, shape, times
from prunecli.report.timed import Latency, LayerLatency, Spread


def layers(rows: Sequence[LayerRow], latency: Latency | None) -> Section | None:
    """What became of each layer."""
    if not rows:
        return None
    body = (_profile(rows, latency), Table("layer", "/layers", _columns(rows), rows))
    return Section("layers", "Layers", body)


def present(rows: Sequence[LayerRow], latency: Latency | None) -> Section | None:
    """What each layer is, where there is one network."""
    if not rows:
        return None
    timed = {layer.name: layer for layer in latency.layers} if latency else {}
    figures: list[tuple[str, str, list[float]]] = [
        ("width", "units", [_width(row.shape_before) for row in rows]),
        ("parameters", "", [row.params_before for row in rows]),
        ("MACs", "", [row.macs_before for row in rows]),
    ]
    if timed:
        figures.append(("latency", "ms", [_median(timed, row.name, after=False) for row in rows]))
    drawn = [strip(name, _up_to(max(values), unit), values) for name, unit, values in figures]
    picture = (
        f'<figure class="profile">{"".join((*drawn, *_zeros(rows)))}<figcaption>{_bars(len(rows))}, from the '
        "first to the last. The figures are in the table.</figcaption></figure>"
    )
    return Section("layers", "Layers", (picture, Table("layer", "/layers", _present_columns(rows), rows)))


def _up_to(most: float, unit: str) -> str:
    return f"up to {milliseconds(most)}" if unit == "ms" else f"up to {count(most)} {unit}".rstrip()


def _zeros(rows: Sequence[LayerRow]) -> list[str]:
    zeros = [row.sparsity for row in rows]
    return [strip("zeros", f"dense, up to {share(max(zeros))}", zeros)] if any(zeros) else []


def _profile(rows: Sequence[LayerRow], latency: Latency | None) -> str:
    """Every layer is as wide as any other, from the first to the last."""
    figures: list[tuple[str, str, Sequence[float], Sequence[float]]] = [
        ("width", "units", [_width(r.shape_before) for r in rows], [_width(r.shape_after) for r in rows]),
        ("parameters", "", [r.params_before for r in rows], [r.params_after for r in rows]),
        ("MACs", "", [r.macs_before for r in rows], [r.macs_after for r in rows]),
    ]
    timed = {layer.name: layer for layer in latency.layers} if latency and latency.after else {}
    if timed:
        before = [_median(timed, row.name, after=False) for row in rows]
        figures.append(("latency", "ms", before, [_median(timed, row.name, after=True) for row in rows]))
    drawn = [strip(name, _up_to(max(was), unit), was, now) for name, unit, was, now in figures]
    drawn += _zeros(rows)
    return (
        f'<figure class="profile">{"".join(drawn)}<figcaption>{_bars(len(rows))}, from the first to '
        'the last: <span class="key before">before</span> <span class="key after">after</span>. '
        "The figures are in the table.</figcaption></figure>"
    )


def _bars(number: int) -> str:
    alike = together(number)
    return (
        "One bar per layer" if alike == 1 else f"One bar per {alike} layers, as high as the largest of them"
    )


def _median(timed: Mapping[str, LayerLatency], name: str, *, after: bool) -> float:
    found = timed.get(name)
    spread = None if found is None else found.after if after else found.before
    return 0.0 if spread is None else spread.median


def _width(sizes: tuple[int, ...]) -> int:
    return sizes[0] if sizes else 0


def _columns(rows: Sequence[LayerRow]) -> list[Column]:
    widest = max(_width(row.shape_before) for row in rows)
    largest, dearest = max(row.params_before for row in rows), max(row.macs_before for row in rows)
    return [
        Column("layer", "name", lambda name: name or "(root)", "name"),
        Column("type", "type", kind="words"),
        Column("before", "shape_before", shape, over="shape"),
        Column("after", "shape_after", shape, over="shape"),
        Column("before", "shape_before/0", "{:,}".format, over="width", most=widest, ink="before"),
        Column("after", "shape_after/0", "{:,}".format, over="width", most=widest),
        Column("before", "params_before", count, over="parameters", most=largest, ink="before"),
        Column("after", "params_after", count, over="parameters", most=largest),
        Column("before", "macs_before", count, over="MACs", most=dearest, ink="before"),
        Column("after", "macs_after", count, over="MACs", most=dearest),
        Column("zeros before", "sparsity", share),
    ]


def _present_columns(rows: Sequence[LayerRow]) -> list[Column]:
    widest = max(_width(row.shape_before) for row in rows)
    largest, dearest = max(row.params_before for row in rows), max(row.macs_before for row in rows)
    return [
        Column("layer", "name", lambda name: name or "(root)", "name"),
        Column("type", "type", kind="words"),
        Column("shape", "shape_before", shape),
        Column("width", "shape_before/0", "{:,}".format, most=widest),
        Column("parameters", "params_before", count, most=largest),
        Column("MACs", "macs_before", count, most=dearest),
        Column("zeros", "sparsity", share),
    ]


def latency(found: Latency | None, rows: Sequence[LayerRow]) -> Section | None:
    """How long both networks take, and what each layer has of it."""
    if found is None:
        return None
    at = "/latency"
    facts = [
        ("measured", f"{text(found.device)}, {_setting(found)}"),
        ("before" if found.after else "median", _spread(found.before, f"{at}/before")),
    ]
    if found.after is not None:
        facts.append(("after", _spread(found.after, f"{at}/after")))
    if found.speedup is not None:
        facts.append(("speedup", _speedup(found)))
    if found.slow:
        facts.append(("slow layers", ", ".join(f"<code>{text(name)}</code>" for name in found.slow)))
    if found.advice:
        facts.append(("advice", text(found.advice)))
    cheaper = {row.name: times(row.macs_before, row.macs_after) for row in rows if row.macs_before}
    return Section("latency", "Latency", (pairs(facts), _by_layer(found, cheaper)))


def _setting(found: Latency) -> str:
    figures = (
        ("threads", "threads"),
        ("batch", "batch"),
        ("runs", "runs in turns" if found.after else "runs"),
    )
    said = [
        f"{words} {number(getattr(found, key), '{:,}'.format, f'/latency/{key}')}" for key, words in figures
    ]
    return f"{text(found.dtype)}, {', '.join(said)}"


def _speedup(found: Latency) -> str:
    said = number(found.speedup, "{:.2f}x".format, "/latency/speedup")
    if found.macs_ratio is None:
        return said
    ratio = number(found.macs_ratio, "{:.2f}x".format, "/latency/macs_ratio")
    return f"{said}, where the MACs are {ratio} fewer"


def _spread(found: Spread, at: str) -> str:
    median, low, high = (
        number(value, milliseconds, f"{at}/{name}")
        for name, value in (("median", found.median), ("low", found.low), ("high", found.high))
    )
    return f"{median} (eight of ten runs between {low} and {high})"


def _by_layer(found: Latency, cheaper: Mapping[str, str]) -> Table:
    slowest = max((layer.before.median for layer in found.layers), default=0.0)
    over = "before, ms" if found.after else "ms"
    columns = [
        Column("layer", "name", lambda name: name or "(root)", "name"),
        Column("median", "before/median", _ms, over=over, most=slowest, ink="before"),
        Column("low", "before/low", _ms, over=over),
        Column("high", "before/high", _ms, over=over),
    ]
    if found.after is not None:
        columns += [
            Column("median", "after/median", _ms, over="after, ms", most=slowest),
            Column("low", "after/low", _ms, over="after, ms"),
            Column("high", "after/high", _ms, over="after, ms"),
            Column("faster", of=_faster),
            *([Column("fewer MACs", of=lambda layer: cheaper.get(layer.name))] if cheaper else []),
        ]
    return Table("timed layer", "/latency/layers", columns, found.layers)


def _ms(value: float) -> str:
    return milliseconds(value).removesuffix(" ms")


def _faster(layer: LayerLatency) -> str | None:
    return times(layer.before.median, layer.after.median) if layer.after else None


def zeros(rows: Sequence[LayerSparsity]) -> Section | None:
    """What is in the weights and does nothing."""
    if not rows:
        return None
    shares = [row.zeros / max(1, row.params) for row in rows]
    picture = strip("zeros", f"of all weights, up to {share(max(shares))}", shares) if any(shares) else ""
    columns = [
        Column("layer", "name", lambda name: name or "(root)", "name"),
        Column("parameters", "params", count),
        Column("zeros", "zeros", "{:,}".format),
        Column("near zeros", "near_zeros", "{:,}".format),
        Column("channels", "channels", "{:,}".format),
        Column("dead", "dead", "{:,}".format),
        Column("duplicates", "duplicates", "{:,}".format),
        Column("inactive", "inactive", "{:,}".format),
        Column("2:4", "two_four", share),
    ]
    figure = f'<figure class="profile">{picture}</figure>' if picture else ""
    return Section("zeros", "Zeros", (figure, Table("weighted layer", "/sparsity", columns, rows)))
