"""What a result had to be, and what it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

FRACTION = "fraction"


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


def amount(value: float, unit: str) -> str:
    """With enough digits to be told from the limit: 12,700,100 parameters, 91.9444%, 2.75 ms."""
    if unit == FRACTION:
        return f"{100 * value:.6g}%"
    return f"{value:.4g} ms" if unit == "ms" else f"{value:,.0f} {unit}"


def rows(gates: Iterable[Gate]) -> Iterator[tuple[str, str, str, str]]:
    """In words: the option, what it was to be, what it is, and ``passed``, ``FAILED`` or ``not judged``."""
    for gate in gates:
        limit = f"{'at least' if gate.name.startswith('min-') else 'at most'} {amount(gate.limit, gate.unit)}"
        if gate.found is None:
            yield f"--{gate.name}", limit, "-", "not judged"
        else:
            verdict = "passed" if gate.passed else "FAILED"
            yield f"--{gate.name}", limit, amount(gate.found, gate.unit), verdict
