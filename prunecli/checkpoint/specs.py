"""``InputSpec``: one input of a network, as the recipe records it and ``--input`` gives it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from prunecli.checkpoint.validation import Fields, bounds, list_of, shape, text
from prunecli.errors import InputError

Scalar: TypeAlias = str | int | float | bool | None

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
MAX_INPUTS = 64
MAX_ELEMENTS = 2**28
"""Of all inputs together: a GiB in float32."""
MAX_LEVELS = 8
"""Of containers around one tensor."""


@dataclass(frozen=True)
class InputSpec:
    """One input of ``forward``: ``shape`` includes the batch; ``name`` is None for a positional argument.

    A name may lead into a container by dots (``images.0``, ``batch.mask``). ``bounds`` are the smallest and
    largest value of an integer input (a vocabulary), where they are known.
    """

    name: str | None
    dtype: str
    shape: tuple[int, ...]
    bounds: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "bounds": None if self.bounds is None else list(self.bounds),
        }

    @staticmethod
    def from_json(data: object, where: str) -> InputSpec:
        fields = Fields(data, where, ("name", "dtype", "shape", "bounds"))
        name = fields.take("name", lambda value, at: None if value is None else _name(value, at))
        dtype = fields.take("dtype", text)
        if dtype not in DTYPES:
            raise InputError(f"not a recipe: {where}.dtype is '{dtype[:60]}'", f"known: {', '.join(DTYPES)}")
        return InputSpec(name, dtype, fields.take("shape", shape), fields.take("bounds", bounds))


def _name(value: object, where: str) -> str:
    """An argument of ``forward``, and where in it."""
    name = text(value, where)
    parts = name.split(".")
    if not parts[0].isidentifier() or parts[0].startswith("__") or len(parts) > MAX_LEVELS or "" in parts:
        raise InputError(f"not a recipe: {where} is no argument of a forward: '{name[:60]}'")
    return name


def checked_inputs(value: object, where: str) -> tuple[InputSpec, ...]:
    """The inputs of a recipe: none given twice or inside another, together no larger than can be made."""
    specs = list_of(InputSpec.from_json, MAX_INPUTS)(value, where)
    names = [spec.name for spec in specs if spec.name is not None]
    paths = {name for spec in names for name in _around(spec)}
    if len(set(names)) < len(names) or paths & set(names):
        raise InputError(f"not a recipe: {where} gives one argument twice")
    elements = sum(math.prod(spec.shape) for spec in specs)
    if elements > MAX_ELEMENTS:
        raise InputError(
            f"refused recipe: its inputs have {elements} elements, more than {MAX_ELEMENTS}",
            "name smaller ones when the network is pruned: --input 3,224,224",
        )
    return specs


def _around(name: str) -> list[str]:
    """``batch`` and ``batch.images`` for ``batch.images.0``."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
