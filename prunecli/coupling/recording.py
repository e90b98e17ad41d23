"""What one trace writes down: the axes of tensors, how parameters are used, what operators cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch

from prunecli.coupling.algebra import Algebra
from prunecli.coupling.integers import IntegerLog, TracedInt
from prunecli.coupling.nodes import ONE, Node, fixed, fresh, is_pinned, normal
from prunecli.coupling.space import Role
from prunecli.errors import InputError

if TYPE_CHECKING:
    from prunecli.coupling.provenance import Provenance

_AXES = "_prunecli_axes"
_NAME = "_prunecli_name"

ROOT = "the network's forward"
CONSTANT = "it meets a constant tensor of the network"


@dataclass(frozen=True, slots=True)
class CostTerm:
    """``coefficient`` times the product of the sizes of ``nodes``: multiply-adds of one operator."""

    coefficient: int
    nodes: tuple[Node, ...]
    is_product: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """The axes of a tensor whose slices along dimension 0 have a last axis each, until somebody looks at them
    together (the final states of a recurrent network: one row per layer and direction).
    """

    batch: tuple[Node, ...]
    last: tuple[Node, ...]

    def row(self, index: int) -> list[Node]:
        return [*self.batch, self.last[index]]


class Recording:
    """The state that operator rules and function handlers work on.

    ``axes(tensor)`` gives one node per dimension; a tensor that came from nowhere (a constant) has only
    fixed axes.
    """

    def __init__(self, provenance: Provenance | None = None) -> None:
        self.provenance = provenance
        self.algebra = Algebra() if provenance is None else provenance.algebra(self)
        self.integers = IntegerLog(lambda: self.where)
        self.module_stack: list[str] = []
        self.parameter_axes: dict[str, list[Node]] = {}
        self.used: dict[str, None] = {}
        self.roles: dict[tuple[str, int], Role] = {}
        self.directions: set[tuple[str, int]] = set()
        self.costs: list[CostTerm] = []
        self.counting = True
        self.unknown: dict[str, None] = {}
        self.sliced_by_function = False
        self.conv_groups: Node = ONE
        self.functions_running = 0
        self._uniform: dict[int, Tensor] = {}

    @property
    def where(self) -> str:
        """The module whose ``forward`` is running, by its path."""
        return next((path for path in reversed(self.module_stack) if path), ROOT)

    def axes(self, tensor: Tensor) -> list[Node]:
        found: list[Node] | Rows | None = getattr(tensor, _AXES, None)
        if found is None:
            return [fixed(size, CONSTANT) for size in tensor.shape]
        return self._together(tensor, found) if isinstance(found, Rows) else found

    def rows(self, tensor: Tensor) -> Rows | None:
        """The rows of ``tensor``, if it has such and nobody looked at them together."""
        found = getattr(tensor, _AXES, None)
        return found if isinstance(found, Rows) else None

    def set_rows(self, tensor: Tensor, rows: Rows) -> None:
        setattr(tensor, _AXES, rows)

    def _together(self, tensor: Tensor, rows: Rows) -> list[Node]:
        for other in rows.last[1:]:
            self.algebra.unify(rows.last[0], other)
        axes = [fixed(len(rows.last), "layers and directions"), *rows.batch, normal(rows.last[0])]
        self.set_axes(tensor, axes)
        return axes

    def call_uniform(self, tensor: Tensor) -> None:
        """State that all values of ``tensor`` are the same, until an operator sees it."""
        self._uniform[id(tensor)] = tensor

    def is_uniform(self, tensor: object) -> bool:
        return id(tensor) in self._uniform

    def stand_in(self, tensor: Tensor) -> Tensor:
        """A constant as a stand-in, with the axes it may have."""
        if tensor.is_meta:
            return tensor
        placed = tensor.to("meta")
        if self.is_traced(tensor):
            self.set_axes(placed, self.axes(tensor))
        return placed

    def is_traced(self, tensor: Tensor) -> bool:
        return hasattr(tensor, _AXES)

    def set_axes(self, tensor: Tensor, axes: Iterable[Node]) -> None:
        setattr(tensor, _AXES, list(axes))

    def add_parameter(self, names: Sequence[str], tensor: Tensor) -> None:
        """Give a parameter or buffer its own axes; ``names`` are all it has (tied weights have several)."""
        known = next((self.parameter_axes[name] for name in names if name in self.parameter_axes), None)
        axes: list[Node] = known if known is not None else [fresh(size) for size in tensor.shape]
        for name in names:
            self.parameter_axes[name] = axes
        self.set_axes(tensor, axes)
        setattr(tensor, _NAME, names[0])

    def name_of(self, tensor: object) -> str | None:
        return getattr(tensor, _NAME, None)

    def use(self, tensor: Tensor) -> None:
        """Note the first use of a parameter (execution order), and that an operator sees the tensor."""
        if self._uniform:
            self._uniform.pop(id(tensor), None)
        name = self.name_of(tensor)
        if name is not None:
            self.used.setdefault(name)

    def role(self, tensor: object, *roles: Role) -> None:
        """State what dimensions 0, 1, ... of ``tensor`` are, if it is a parameter."""
        name = self.name_of(tensor)
        if name is not None:
            self.used.setdefault(name)
            for dim, role in enumerate(roles):
                self.roles.setdefault((name, dim), role)

    def has_length_elsewhere(self, tensor: object, dim: int) -> None:
        """Slices along ``dim`` of a parameter are divided by their own length: they are cut with their group,
        but neither scored nor silenced.
        """
        name = self.name_of(tensor)
        if name is not None:
            self.directions.add((name, dim))

    def cost(self, coefficient: int, nodes: Iterable[Node], *, is_product: bool = True) -> None:
        """Note multiply-adds; ``is_product``: of a convolution or matrix product, which every counter
        counts.
        """
        if self.counting:
            self.costs.append(CostTerm(coefficient, tuple(nodes), is_product))

    def pin_all(self, tensors: Iterable[Tensor], reason: str) -> None:
        for tensor in tensors:
            for node in self.axes(tensor):
                self.algebra.pin(node, reason)

    def pair(self, number: Any, node: Node) -> None:
        """``number``, written in ``forward``, is the size of ``node``."""
        if isinstance(number, TracedInt):
            self.integers.demand(number, node)
        elif not is_pinned(node):
            self.algebra.pin(node, f"its size is the plain number {int(number)} in {self.where}")


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a nest of tuples, lists, dicts and dataclass-like objects."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors_in(item)]
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in tensors_in(item)]
    if hasattr(value, "__dataclass_fields__"):
        return [tensor for name in value.__dataclass_fields__ for tensor in tensors_in(getattr(value, name))]
    return []


_NO_TENSOR = (str, bytes, int, float, complex, Enum, torch.dtype, torch.device)


def outputs_in(value: Any) -> list[Tensor]:
    """All tensors that ``forward`` returned, however deep. Raises ``InputError`` where something could hide
    one.
    """
    if isinstance(value, Tensor):
        return [value]
    if value is None or isinstance(value, _NO_TENSOR):
        return []
    if isinstance(value, Mapping):
        items: Iterable[Any] = value.values()
    elif isinstance(value, (tuple, list, set, frozenset)):
        items = value
    elif is_dataclass(value) and not isinstance(value, type):
        items = [getattr(value, item.name) for item in fields(value)]
    elif hasattr(value, "__dict__") and not callable(value):
        items = vars(value).values()
    else:
        raise InputError(
            f"forward returns a {type(value).__name__}, which cannot be searched for tensors",
            "return tensors, tuples, dicts or plain objects",
        )
    return [tensor for item in items for tensor in outputs_in(item)]


def numbers_in(value: Any) -> list[TracedInt]:
    """All traced numbers directly in an argument, or in a tuple, list or slice of it."""
    if type(value) is TracedInt:
        return [value]
    if isinstance(value, (tuple, list)):
        return [number for item in value for number in numbers_in(item)]
    if isinstance(value, slice):
        return [number for item in (value.start, value.stop, value.step) for number in numbers_in(item)]
    return []


def empty_stand_in(shape: Sequence[int], like: Tensor) -> Tensor:
    """A meta tensor that comes from no operator, so the rules do not see it made."""
    with no_dispatch():
        return torch.empty(tuple(shape), dtype=like.dtype, device="meta")


def to_meta(tensor: Tensor) -> Tensor:
    """A tensor of the same shape without storage; floating types all become float32."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype, device="meta")
