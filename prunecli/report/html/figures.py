"""What the page says first, and last: how far it came, what the limits say, how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prunecli.report import remarks
from prunecli.report.gated import Gate, amount
from prunecli.report.html.markup import (
    Section,
    number,
    pairs,
    percent,
    pointer,
    share,
    small_table,
    text,
)
from prunecli.report.model import Goal, Input, NetworkFacts, Output, Proof, Source, Totals
from prunecli.report.text import count, milliseconds, one_line, seconds, shape, size, times
from prunecli.report.timed import Latency


def small(value: float) -> str:
    return f"{value:.1e}"


def headline(before: Totals, after: Totals, latency: Latency | None, final: Iterable[str]) -> str:
    """The sizes, the time and the accuracy, large; ``final`` is what of the latter there is."""
    parts = [
        _figure(name, getattr(before, key), getattr(after, key), shown, f"/before/{key}", f"/after/{key}")
        for name, key, shown in _SIZES
    ]
    return f'<dl class="headline">{"".join((*parts, *timed(latency), *final))}</dl>'


_SIZES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("MACs", "macs", count), ("parameters", "params", count), ("bytes of weights", "bytes", size),
)  # fmt: skip


def sizes(totals: Totals | None, latency: Latency | None, final: Iterable[str]) -> str:
    """What there is of one network, large."""
    parts = []
    if totals is not None:
        parts += [_large(name, getattr(totals, key), shown, f"/totals/{key}") for name, key, shown in _SIZES]
    if latency is not None:
        parts.append(_large("latency", latency.before.median, milliseconds, "/latency/before/median"))
    return f'<dl class="headline">{"".join((*parts, *final))}</dl>'


def _large(name: str, value: float, shown: Callable[[Any], str], at: str) -> str:
    return f"<div><dt>{text(name)}</dt><dd><b>{number(value, shown, at)}</b></dd></div>"


def timed(latency: Latency | None) -> list[str]:
    """The medians of both networks, where there are two."""
    if latency is None or latency.after is None:
        return []
    where = "/latency/before/median", "/latency/after/median"
    was, now = latency.before.median, latency.after.median
    return [_figure("latency", was, now, milliseconds, *where, "faster")]


def _figure(
    name: str,
    before: float,
    after: float,
    shown: Callable[[Any], str],
    was_at: str,
    now_at: str,
    better: str = "smaller",
) -> str:
    left = percent(after / before) if before else 100
    return (
        f"<div><dt>{text(name)}</dt><dd><b>{number(after, shown, now_at)}</b> "
        f"<span>from {number(before, shown, was_at)}, {times(before, after)} {better}</span>"
        f'<i class="gauge a{left}"></i></dd></div>'
    )


def accuracy(name: str, value: float | None, at: str, beside: str) -> list[str]:
    """A headline figure of its own; ``beside`` is HTML."""
    if value is None:
        return []
    gauge = f'<i class="gauge a{percent(value)}"></i>'
    shown = number(value, "{:.2%}".format, at)
    return [f"<div><dt>{text(name)}</dt><dd><b>{shown}</b> <span>{beside}</span>{gauge}</dd></div>"]


def goal(target: Goal) -> str:
    """What was asked and what was reached, as HTML."""
    reached = number(target.reached, "{:.4g}".format, "/target/reached")
    if target.asked is None:
        return f"{remarks.without_target(target.kind)}: {reached} times fewer MACs"
    asked = number(target.asked, "{:g}".format, "/target/asked")
    tolerance = number(target.tolerance, "{:.2%}".format, "/target/tolerance")
    return f"{text(target.kind)} {asked} asked, {reached} reached (tolerance {tolerance})"


def verdict(target: Goal | None, proofs: Sequence[Proof], gates: Sequence[Gate]) -> str:
    """Whether it came out as asked, in a line for each who has a say in that."""
    lines = [] if target is None else [(target.met, "target", goal(target))]
    lines += _judged("proof", "proofs", [(proof.name, proof.passed) for proof in proofs])
    lines += _judged("gate", "gates", [(f"--{gate.name}", gate.passed) for gate in gates])
    items = "".join(f"<li><b>{name}</b> {mark(holds)} {said}</li>" for holds, name, said in lines)
    return f'<ul class="verdict">{items}</ul>' if items else ""


def _judged(one: str, many: str, found: Sequence[tuple[str, bool]]) -> list[tuple[bool, str, str]]:
    if not found:
        return []
    broken = [text(name) for name, passed in found if not passed]
    said = (
        f"{len(broken)} of {len(found)} failed: {', '.join(broken)}"
        if broken
        else (f"{'all ' if len(found) > 1 else ''}{len(found)} passed")
    )
    return [(not broken, one if len(found) == 1 else many, said)]


def mark(passed: bool) -> str:
    """In words too, for who sees no colours."""
    return f'<span class="{"pass" if passed else "fail"}">{"passed" if passed else "FAILED"}</span>'


def gates(found: Sequence[Gate]) -> Section | None:
    """The limits, those that do not hold first."""
    if not found:
        return None
    rows = []
    for index, gate in sorted(enumerate(found), key=lambda pair: pair[1].passed):
        at = pointer("gates", index)
        limit = _gate_figure(gate.limit, gate.unit, gate.found, f"{at}/limit")
        here = _gate_figure(gate.found, gate.unit, gate.limit, f"{at}/found")
        bound = "at least" if gate.name.startswith("min-") else "at most"
        said = "not judged" if gate.found is None else ""
        judged = f'<span class="fail">{said}</span>' if said else mark(gate.passed)
        rows.append((f"<code>--{text(gate.name)}</code>", f"{bound} {limit}", here, judged))
    return Section("gates", "Gates", (small_table("gates", ("gate", "limit", "found", "verdict"), rows),))


def _gate_figure(value: float | None, unit: str, beside: float | None, at: str) -> str:
    return number(value, lambda known: amount(known, unit, beside), at)


def proofs(found: Sequence[Proof]) -> Section | None:
    """Each check, and how near to its limit it came."""
    if not found:
        return None
    rows = [
        (
            text(proof.name), mark(proof.passed), number(proof.error, small, f"/proofs/{index}/error"),
            number(proof.tolerance, small, f"/proofs/{index}/tolerance"), text(proof.detail),
        )
        for index, proof in enumerate(found)
    ]  # fmt: skip
    return Section(
        "proofs", "Proofs", (small_table("proofs", ("proof", "verdict", "error", "limit", "detail"), rows),)
    )


def notes(found: Iterable[str]) -> Section | None:
    """What was said on the way."""
    items = "".join(f"<li>{text(note)}</li>" for note in dict.fromkeys(found))
    return Section("notes", "Notes", (f"<ul>{items}</ul>",)) if items else None


def again(
    command: Sequence[str], version: str, checkpoint: Source | None, network: NetworkFacts,
    inputs: Sequence[Input], output: Output | None, more: Iterable[tuple[str, str]],
) -> Section:  # fmt: skip
    """How to do it again, and how to tell that it is the same."""
    facts = [("prunecli", text(version)), ("network", _network(network))]
    if checkpoint:
        facts.append((checkpoint.name, f"{_digest(checkpoint.digest)}<br>{text(checkpoint.layout)}"))
        if checkpoint.dropped:
            facts.append(("left out of the file", text(", ".join(checkpoint.dropped))))
    if output:
        there = number(output.bytes, "{:,} bytes".format, "/output/bytes")
        facts.append((output.name, f"{_digest(output.digest)}<br>{there}"))
    facts.append(("input", "<br>".join(_input(each) for each in inputs) or "-"))
    return Section("again", "How to do it again", (typed(command), pairs((*facts, *more))))


def typed(command: Sequence[str]) -> str:
    """What was typed, to copy; nothing where it is not known."""
    if not command:
        return ""
    line = text(shlex.join(map(one_line, command)))
    return (
        f'<div class="command"><pre tabindex="0" role="region" aria-label="command"><code>{line}</code>'
        '</pre><button type="button" hidden>copy</button><output></output></div>'
    )


def settings(found: Mapping[str, Any], at: str) -> str:
    """Options or numbers by name, as they were."""
    rows = []
    for name, value in found.items():
        if value is None or value == () or value == []:
            continue
        rows.append((name, _setting(value, at + pointer(name))))
    return pairs(rows)


def _setting(value: Any, at: str) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(_setting(each, at + pointer(index)) for index, each in enumerate(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, "{:g}".format, at)
    return text({True: "yes", False: "no"}.get(value, value))


def spent(timings: Mapping[str, float]) -> str:
    """The stages and the sum of them."""
    rows = [(name, number(value, seconds, pointer("timings", name))) for name, value in timings.items()]
    return pairs([*rows, ("together", seconds(sum(timings.values())))] if rows else [])


def uncounted(found: Mapping[str, int]) -> str:
    """Operators that the counter skipped."""
    return ", ".join(
        f"{text(name)} {number(times_, '{}×'.format, pointer('unsupported', name))}"  # noqa: RUF001
        for name, times_ in found.items()
    )


def smaller(before: float, after: float) -> str:
    """What went, as a share."""
    return share(1 - after / before) if before else "-"


def _network(network: NetworkFacts) -> str:
    named = ", ".join(f"{name}={value}" for name, value in network.arguments.items())
    parts = [text(network.spec or "a module"), *([text(named)] if named else [])]
    if network.assumed:
        parts.append(text(f"assumed: {', '.join(network.assumed)}"))
    return "<br>".join(parts)


def _input(each: Input) -> str:
    return text(f"{each.name + ' ' if each.name else ''}{shape(each.shape)} {each.dtype}")


def _digest(value: str) -> str:
    return f'<code class="digest">sha256 {text(value)}</code>'
