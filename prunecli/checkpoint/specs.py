"""``InputSpec``: one input of a network, as the recipe records it and ``--input`` gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from prunecli.checkpoint.validation import Fields, bounds, shape, text
from prunecli.errors import InputError

Scalar: TypeAlias = str | int | float | bool | None

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


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
        name = fields.take("name", lambda value, at: None if value is None else text(value, at))
        dtype = fields.take("dtype", text)
        if dtype not in DTYPES:
            raise InputError(f"not a recipe: {where}.dtype is '{dtype}'", f"known: {', '.join(DTYPES)}")
        return InputSpec(name, dtype, fields.take("shape", shape), fields.take("bounds", bounds))
