"""What a result had to be, and what it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

FRACTION = "fraction"
_MOST_DIGITS = 17
"""More no floating number has."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit, named as its option without the dashes (``max-params``, ``min-accuracy``).

    ``unit`` is ``parameters``, ``MACs``, ``bytes`` (of the tensors), ``ms`` or ``fraction`` (0 to 1; what
    accuracy drops by is one too). ``found`` is in the unit of ``limit``, and None where the figure could not
    be taken, or was not any more once another gate had failed; then the gate is not ``passed``. A figure that
    equals the limit is within it.
    """

    name: str
    limit: float
    found: float | None
    unit: str
    passed: bool


def passed(gates: Iterable[Gate]) -> bool:
    """Whether every gate holds."""
    return all(gate.passed for gate in gates)


def amount(value: float, unit: str, beside: float | None = None) -> str:
    """With enough digits to be told from its limit or figure ``beside``: 12,700,100 parameters, 91.9444%,
    2.75 ms.
    """
    if unit == FRACTION:
        return f"{_digits(100 * value, 6, None if beside is None else 100 * beside)}%"
    if unit == "ms":
        return f"{_digits(value, 4, beside)} ms"
    return f"{_digits(value, 12, beside)} {unit.removesuffix('s') if value == 1 else unit}"


def _digits(value: float, least: int, beside: float | None) -> str:
    """At least so many, and as many more as it takes to differ from ``beside``."""
    for digits in range(least, _MOST_DIGITS):
        said = _fixed(value, digits)
        if beside is None or beside == value or said != _fixed(beside, digits):
            return said
    return _fixed(value, _MOST_DIGITS)


def _fixed(value: float, digits: int) -> str:
    """So many significant digits, all of those before the point, and no exponent."""
    found = Decimal(repr(value))
    if found.adjusted() >= digits:
        return f"{value:,.0f}"
    return f"{Decimal(f'{value:.{digits}g}'):,f}"


def rows(gates: Iterable[Gate]) -> Iterator[tuple[str, str, str, str]]:
    """In words: the option, what it was to be, what it is, and ``passed``, ``FAILED`` or ``not judged``."""
    for gate in gates:
        bound = "at least" if gate.name.startswith("min-") else "at most"
        limit = f"{bound} {amount(gate.limit, gate.unit, gate.found)}"
        if gate.found is None:
            yield f"--{gate.name}", limit, "-", "not judged"
        else:
            verdict = "passed" if gate.passed else "FAILED"
            yield f"--{gate.name}", limit, amount(gate.found, gate.unit, gate.limit), verdict
