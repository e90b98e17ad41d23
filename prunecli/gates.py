"""Limits that a result must keep, and whether it does. No torch: the command line asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

from prunecli.errors import GateError, UsageError, require_range, unknown_name
from prunecli.report.differences import Sizes
from prunecli.report.figures import Quality
from prunecli.report.gated import FRACTION, Gate, amount, passed
from prunecli.report.model import Totals
from prunecli.report.reading import is_report

SIZES = ("max_params", "max_macs", "max_bytes")
LABELLED = ("min_accuracy", "max_drop")
COMPARED = ("max_drop", "min_agreement")
JUDGED = ("min_accuracy", "max_drop", "min_agreement")

_UNITS = {
    "max_params": "parameters", "max_macs": "MACs", "max_bytes": "bytes", "max_latency": "ms",
    "min_accuracy": FRACTION, "max_drop": FRACTION, "min_agreement": FRACTION,
}  # fmt: skip
_PLACES = 12
"""What two fractions differ by is no fraction of theirs to the last bit: 0.99 - 0.98 is above 0.01."""


@dataclass(frozen=True)
class Figures:
    """What a network came to, in the units of :class:`Gates`; None where it was not taken."""

    params: int | None = None
    macs: int | None = None
    bytes: int | None = None
    latency: float | None = None
    accuracy: float | None = None
    drop: float | None = None
    agreement: float | None = None

    @staticmethod
    def of(
        totals: Totals | Sizes | None,
        quality: Quality | None = None,
        dense: Quality | None = None,
        latency: float | None = None,
    ) -> Figures:
        """``quality`` is that of the network, ``dense`` of the one it is compared with; ``latency`` in ms."""
        top1 = None if quality is None else quality.top1
        there = None if dense is None else dense.top1
        return Figures(
            None if totals is None else totals.params,
            None if totals is None else totals.macs,
            None if totals is None else totals.bytes,
            latency,
            top1,
            None if top1 is None or there is None else round(there - top1, _PLACES),
            None if quality is None else quality.agreement,
        )


@dataclass(frozen=True)
class Gates:
    """The limits, each named as its option and None where it is not set. ``max_bytes`` are those of the
    tensors of the state_dict, ``max_latency`` the median in ms. Accuracy is top-1, as a fraction like
    agreement with the dense network; ``max_drop`` is how far it may be below the dense network's.
    """

    max_params: int | None = None
    max_macs: int | None = None
    max_bytes: int | None = None
    max_latency: float | None = None
    min_accuracy: float | None = None
    max_drop: float | None = None
    min_agreement: float | None = None

    @staticmethod
    def of(given: Gates | Mapping[str, float] | None) -> Gates:
        """Limits by name, like ``{"max_params": 5e6}``. Raises ``UsageError``."""
        if isinstance(given, Gates):
            found = given
        else:
            known = [item.name for item in fields(Gates)]
            for name in given or {}:
                if name not in known:
                    raise unknown_name("gate", name, known)
            found = Gates(**dict(given or {}))  # type: ignore[arg-type]
        found.check()
        return found

    def check(self) -> None:
        """Raise ``UsageError`` for the first number out of range."""
        for name, limit in self.set.items():
            option, unit = option_of(name), _UNITS[name]
            if name == "max_drop":
                require_range(0 <= limit < 1, option, limit, "a fraction or in percent, like 0.01 or 1%")
            elif unit == FRACTION:
                require_range(0 <= limit <= 1, option, limit, "a fraction or in percent, like 0.92 or 92%")
            elif name == "max_latency":
                require_range(0 < limit < inf, option, limit, "a number of milliseconds above 0")
            else:
                require_range(1 <= limit < inf, option, limit, f"a number of {unit} from 1")

    @property
    def set(self) -> dict[str, float]:
        """The limits that there are."""
        all_ = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {name: limit for name, limit in all_ if limit is not None}

    @property
    def for_api(self) -> dict[str, Any]:
        """As the functions of the API take them."""
        return {"gates": self.set} if self.set else {}

    @property
    def asks_sizes(self) -> bool:
        return self._first(SIZES) is not None

    @property
    def asks_quality(self) -> bool:
        return self._first(JUDGED) is not None

    @property
    def of_sizes(self) -> Gates:
        """Those that are decided once it is known what is cut."""
        return Gates(self.max_params, self.max_macs, self.max_bytes)

    @property
    def before_training(self) -> Gates:
        """Those that do not depend on the weights."""
        return replace(self.of_sizes, max_latency=self.max_latency)

    @property
    def without_latency(self) -> Gates:
        return replace(self, max_latency=None)

    def require_data(self, data: object, eval_data: object = None, *, trains: bool = False) -> None:
        """Raise ``UsageError`` for a limit of quality without data to take it on (as ``--data`` takes it),
        and for one that needs labels on noise. What a network ``trains`` on is not what it is judged by.
        """
        labelled, first = self._first(LABELLED), self._first(JUDGED)
        if first is None:
            return
        if data is None:
            kind = "labelled data" if labelled == first else "data"
            raise UsageError(f"{first} needs {kind}", "--data SPEC, like --data imagefolder:DIR")
        on = _judged_on(data, eval_data) if trains else data
        if on is None:
            raise UsageError(
                f"{first} needs data to measure on, and --data has no test part", "--eval-data SPEC"
            )
        if labelled is not None and on == "noise":
            raise UsageError(f"{labelled} needs labels, and noise has none", "--data imagefolder:DIR")

    def require_dense(self, there: bool, hint: str) -> None:
        """Raise ``UsageError`` for a comparison with a dense network that is not there."""
        first = self._first(COMPARED)
        if first is not None and not there:
            raise UsageError(f"{first} compares with the dense network, and there is none", hint)

    def require_labels(self, labelled: bool, origin: str) -> None:
        """Raise ``UsageError`` once it is known that the data of ``origin`` has no labels."""
        first = self._first(LABELLED)
        if first is not None and not labelled:
            raise UsageError(f"{first} needs labels, and {origin} has none", "--data with labels")

    def judged(self, figures: Figures) -> tuple[Gate, ...]:
        """Each limit beside what was found; the limit itself is still within it."""
        return tuple(_gate(name, limit, figures) for name, limit in self.set.items())

    def _first(self, names: Iterable[str]) -> str | None:
        """The option of the first that is set."""
        there = self.set
        return next((option_of(name) for name in names if name in there), None)


def require_measurable(gates: Gates, a: Path, b: Path, data: object) -> None:
    """Of two that are compared: raise ``UsageError`` for a gate on figures that no report has and no data
    gives, and for data where nothing runs.
    """
    if data is not None and is_report(a) and is_report(b):
        raise UsageError("--data measures checkpoints, and both are reports", "leave --data out")
    if not is_report(b) or data is not None:
        gates.require_data(data)


def failure(gates: tuple[Gate, ...], resumable: bool = False, instead: str = "another target") -> GateError:
    """What to raise where a gate does not hold, named after the first. ``resumable``: what was trained is
    kept. ``instead`` may be asked of the command as well as another limit.
    """
    failed = [gate for gate in gates if not gate.passed]
    found = [gate for gate in failed if gate.found is not None]
    first = (found or failed)[0]
    if first.found is None:
        said = f"--{first.name} {amount(first.limit, first.unit)} could not be judged: there is no figure"
    else:
        here = amount(first.found, first.unit, first.limit)
        limit = amount(first.limit, first.unit, first.found)
        said = f"--{first.name} {limit} is not met: it is {here}"
    unknown = len(failed) - len(found)
    more = f", {unknown} not judged" if unknown and found else ""
    count = len(found) or len(failed)
    hint = "what was trained is kept: the same command with --resume and another limit goes on from there"
    return GateError(
        f"{said} ({count} of {len(gates)} gate{'' if len(gates) == 1 else 's'} failed{more})",
        hint if resumable else f"another limit, or {instead}",
        gates,
    )


def require_passed(gates: tuple[Gate, ...], resumable: bool = False, instead: str = "another target") -> None:
    """Raise ``GateError`` unless every gate holds; as :func:`failure`."""
    if not passed(gates):
        raise failure(gates, resumable, instead)


def _judged_on(data: object, eval_data: object) -> object:
    """What a training is judged by."""
    from prunecli.data.specs import is_divided

    if eval_data is not None:
        return eval_data
    return data if isinstance(data, str) and is_divided(data) else None


def option_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def unit_of(name: str) -> str:
    return _UNITS[name]


def _gate(name: str, limit: float, figures: Figures) -> Gate:
    kind, _, what = name.partition("_")
    found = getattr(figures, what)
    known = found is not None and isfinite(found)
    fits = known and (found <= limit if kind == "max" else found >= limit)
    return Gate(name.replace("_", "-"), limit, found if known else None, _UNITS[name], bool(fits))
