"""Numbers and names in words. Names come from files other people wrote, so nothing in them reaches a
terminal raw.
"""

from __future__ import annotations

from collections import Counter

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def one_line(value: object) -> str:
    """``value`` without anything a terminal would act on: line breaks become spaces, the rest is escaped."""
    return escaped(" ".join(str(value).split()))


def escaped(text: str) -> str:
    """``text`` with a backslash and a code for whatever does not print, line breaks among it."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def shortened(text: str, longest: int) -> str:
    """``text``, or its first ``longest`` characters and how many there are more."""
    more = len(text) - longest
    return text if more <= 0 else f"{text[:longest]}... ({more:,} more characters)"


def count(value: float) -> str:
    """Three significant digits with a decimal unit: 4.09 G, 25.6 M, 512."""
    for scale, unit in _UNITS:
        # 999.95 k would print as 1000 k, so a unit starts half a last digit early.
        if abs(value) >= 0.9995 * scale:
            return f"{value / scale:#.3g}".rstrip(".") + f" {unit}"
    return f"{value:.0f}"


def size(value: int) -> str:
    """Bytes with a decimal unit: 97.8 MB, 512 B."""
    return count(value) + ("B" if value >= 999.5 else " B")


def times(before: float, after: float) -> str:
    """How many times smaller: 2.00x; '-' when nothing is left to divide by."""
    return f"{before / after:.2f}x" if after else "-"


def gist(reason: str) -> str:
    """A reason without the place it applies to, where that only says which of many heads or groups it is."""
    policy = reason.rpartition("; ")[2]
    return policy if policy.endswith("unless asked for") else reason


def reasons_in_words(reasons: Counter[str], most: int = 2) -> str:
    """The commonest reasons, each with how often it applies where that is not once."""
    alike: Counter[str] = Counter()
    for reason, number in reasons.items():
        alike[gist(reason)] += number
    shown = [why if number == 1 else f"{why} ({number}x)" for why, number in alike.most_common(most)]
    more = len(alike) - most
    return "; ".join(shown) + (f"; and {plural(more, 'more reason')}" if more > 0 else "")


def shape(sizes: tuple[int, ...]) -> str:
    """64x3x7x7, or '-' for a module without parameters."""
    return "x".join(map(str, sizes)) or "-"


def seconds(value: float) -> str:
    """12.3 s, 0.04 s."""
    return f"{value:.1f} s" if value >= 1 else f"{value:.2f} s"


def milliseconds(value: float) -> str:
    """Three significant digits, or all before the point: 1234 ms, 12.3 ms, 0.0412 ms."""
    return f"{value:.0f} ms" if value >= 99.95 else f"{value:#.3g} ms"


def plural(number: int, noun: str) -> str:
    """1 group, 2 groups."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
