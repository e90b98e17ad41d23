"""From a recording to a ``Space``: name the groups, read off the expressions, solve the sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.coupling import constraints
from prunecli.coupling.adapters import descriptive_patches
from prunecli.coupling.axes import Axis, Concat, Fixed, Product, Units
from prunecli.coupling.balance import balance
from prunecli.coupling.cost import Polynomial
from prunecli.coupling.nodes import TRIVIAL, Atom, Cat, Node, leaves, normal
from prunecli.coupling.operators import (
    CONV_GROUPS,
    HEAD_DIMENSION,
    HEADS,
    KV_HEADS,
    NORM_GROUPS,
    QUERY_HEADS,
    VALUE_CHANGING,
)
from prunecli.coupling.provenance import Provenance
from prunecli.coupling.recording import Recording
from prunecli.coupling.space import Group, PinnedDim, Role, Slot, Space, Use
from prunecli.coupling.tracer import record
from prunecli.inputs import Inputs

FROZEN_KINDS = {
    QUERY_HEADS: "heads are left whole unless asked for",
    KV_HEADS: "heads are left whole unless asked for",
    HEADS: "heads are left whole unless asked for",
    CONV_GROUPS: "group counts are left whole unless asked for",
    NORM_GROUPS: "group counts are left whole unless asked for",
}
_FORWARD_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


def never(group: Group) -> bool:
    """No group of a kind that is left whole is freed."""
    return False


def trace(
    module: nn.Module,
    inputs: Inputs | Sequence[Any],
    *,
    free: Callable[[Group], bool] = never,
    held: Mapping[str, str] | None = None,
) -> Space:
    """The ``Space`` of ``module``, learnt from one run on ``inputs`` (a sequence is positional ones; only
    shapes and types of the tensors count).

    The module is not changed and nothing is computed; its parameters may be on the meta device. Where
    forward looks at values, it runs on real tensors instead. Parameters that only train mode reaches
    (auxiliary heads) are traced in train mode as well. Heads, group counts and their like are frozen unless
    ``free`` says otherwise of the group; groups in ``held`` are frozen for the reason given there, and what
    is tied to them finds its sizes without them. Raises whatever forward raises on such inputs.
    """
    return _recorded(module, inputs, Recording(), free, held or {}).space()


def trace_with_uses(
    module: nn.Module, inputs: Inputs | Sequence[Any], *, free: Callable[[Group], bool] = never
) -> tuple[Space, Mapping[str, tuple[Use, ...]]]:
    """:func:`trace`, and per group the operators its units went through. Reasons for pinning say in which
    module the pin was met.
    """
    provenance = Provenance()
    builder = _recorded(module, inputs, Recording(provenance), free, {})
    space = builder.space()
    return space, provenance.uses(builder.names)


def _recorded(
    module: nn.Module,
    inputs: Inputs | Sequence[Any],
    recording: Recording,
    free: Callable[[Group], bool],
    held: Mapping[str, str],
) -> _Builder:
    inputs = Inputs.of(inputs)
    with torch.random.fork_rng(devices=[]):
        _record(module, inputs, recording)
        unused = [name for name, _ in module.named_parameters() if name not in recording.used]
        if unused and not module.training:
            _record_training(module, inputs, recording)
    return _Builder(module, recording, free, held)


def _record(module: nn.Module, inputs: Inputs, recording: Recording, counting: bool = True) -> None:
    marker = len(recording.costs)
    try:
        record(module, inputs, recording, counting=counting)
    except _FORWARD_ERRORS:
        # It looks at values, or does what only real tensors can.
        if any(p.is_meta for p in module.parameters()):
            raise
        del recording.costs[marker:]
        record(module, inputs, recording, on_meta=False, counting=counting)


def _record_training(module: nn.Module, inputs: Inputs, recording: Recording) -> None:
    """Auxiliary heads exist only in train mode; two samples, since batch statistics of one are refused.

    Where forward refuses (a detector without targets), what only train mode reaches stays whole.
    """
    doubled = inputs.map(lambda x: x.new_zeros((2, *x.shape[1:])))
    modes = [(child, child.training) for child in module.modules()]
    module.train()
    try:
        with suppress(*_FORWARD_ERRORS):
            _record(module, doubled, recording, counting=False)
    finally:
        for child, mode in modes:
            child.training = mode


class _Builder:
    def __init__(
        self,
        module: nn.Module,
        recording: Recording,
        free: Callable[[Group], bool],
        held: Mapping[str, str],
    ) -> None:
        self.free = free
        self.held = held
        self.module = module
        self.recording = recording
        self.names: dict[int, str] = {}
        self.atoms: dict[str, Atom] = {}
        self.slots: dict[str, list[Slot]] = {}
        self._polynomials: dict[int, tuple[Node, Polynomial]] = {}

    def space(self) -> Space:
        parameters = dict(self.module.named_parameters(remove_duplicate=False))
        balance(self.recording.integers, self.recording.algebra)
        self._pin_unused(parameters)
        self._collect_slots(parameters)
        groups = self._groups()
        sizes = {group.name: group.size for group in groups}
        frozen = {group.name: group.frozen for group in groups if group.frozen is not None}
        solution = constraints.solve(self.recording.integers, sizes, self.polynomial, frozen)
        free = frozenset(sizes) - solution.frozen.keys()
        axes = {
            name: tuple(self.axis(n) for n in nodes) for name, nodes in self.recording.parameter_axes.items()
        }
        tensor_sizes = {
            name: [self.polynomial(n).restricted(free, sizes) for n in nodes]
            for name, nodes in self.recording.parameter_axes.items()
        }
        products, others = (
            Polynomial.sum(
                self._term(term.coefficient, term.nodes)
                for term in self.recording.costs
                if term.is_product is wanted
            )
            for wanted in (True, False)
        )
        unique = {name for name, _ in self.module.named_parameters()}
        params = Polynomial.sum(self._term(1, self.recording.parameter_axes[name]) for name in sorted(unique))
        return Space(
            groups=tuple(_informed(group, solution) for group in groups),
            axes=axes,
            bundles=solution.bundles,
            guards=solution.guards,
            patches=(*solution.patches, *descriptive_patches(self.module, tensor_sizes, solution.patches)),
            pinned=tuple(self._pinned(parameters)),
            macs=products + others,
            params=params,
            other_macs=others,
            unknown_operators=tuple(self.recording.unknown),
            pieces=tuple(self._pieces(parameters)),
        )

    def _pin_unused(self, parameters: dict[str, nn.Parameter]) -> None:
        used_axes = {id(self.recording.parameter_axes[name]) for name in self.recording.used}
        for name in parameters:
            axes = self.recording.parameter_axes[name]
            if id(axes) not in used_axes:
                for node in axes:
                    self.recording.algebra.pin(node, "forward never uses it")

    def _collect_slots(self, parameters: dict[str, nn.Parameter]) -> None:
        order = {name: index for index, name in enumerate(self.recording.used)}
        unique = {id(tensor): name for name, tensor in reversed(parameters.items())}
        ranked = sorted(unique.values(), key=lambda name: order.get(name, len(order)))
        found: dict[int, tuple[Atom, list[Slot]]] = {}
        for name in ranked:
            for dim, node in enumerate(self.recording.parameter_axes[name]):
                atoms = list(leaves(node))
                distinct = dict.fromkeys(atoms)
                for atom in distinct:
                    if len(distinct) < len(atoms) and self._occurs_twice_in_product(node, atom):
                        self.recording.algebra.pin(atom, "it is multiplied with itself in one dimension")
                    if atom.pinned is None and (name, dim) not in self.recording.directions:
                        slot = Slot(name, dim, self._role(name, dim, parameters[name]))
                        found.setdefault(id(atom), (atom, []))[1].append(slot)
        for atom, slots in found.values():
            if atom.pinned is None:
                self._name(atom, slots)

    def _occurs_twice_in_product(self, node: Node, atom: Atom) -> bool:
        node = normal(node)
        if isinstance(node, Atom):
            return False
        if isinstance(node, Cat):
            return any(self._occurs_twice_in_product(child, atom) for child in node.children)
        return sum(any(leaf is atom for leaf in leaves(child)) for child in node.children) > 1

    def _role(self, name: str, dim: int, parameter: Tensor) -> Role:
        known = self.recording.roles.get((name, dim))
        if known is not None:
            return known
        if parameter.dim() >= 2 and name.rpartition(".")[2] == "weight" and dim < 2:
            return "out" if dim == 0 else "in"
        return "other"

    def _name(self, atom: Atom, slots: list[Slot]) -> None:
        """A group is called after the layer that produces it: the module of its first ``out`` slot."""
        first = next((slot for slot in slots if slot.role == "out"), slots[0])
        module = first.parameter.rpartition(".")[0]
        base = module if first.role == "out" and module else first.parameter
        kind = _kind(atom)
        base += f":{kind.split()[-1]}" if kind in FROZEN_KINDS else ""
        name, count = base, 1
        while name in self.atoms:
            count += 1
            name = f"{base}#{count}"
        self.names[id(atom)] = name
        self.atoms[name] = atom
        self.slots[name] = slots

    def _groups(self) -> list[Group]:
        result = []
        for name, atom in self.atoms.items():
            kind, marks = _kind(atom), atom.marks or {}
            frozen = f"{marks[kind]}; {FROZEN_KINDS[kind]}" if kind in FROZEN_KINDS else None
            group = Group(name, atom.size, tuple(self.slots[name]), kind, frozen, marks.get(VALUE_CHANGING))
            if frozen and self.free(group):
                frozen = None
            result.append(replace(group, frozen=frozen or self.held.get(name)))
        return result

    def axis(self, node: Node) -> Axis:
        """The immutable expression of ``node``; what reaches no parameter, or is pinned, is fixed."""
        node = normal(node)
        if isinstance(node, Atom):
            name = self.names.get(id(node))
            return Units(name) if name is not None and node.pinned is None else Fixed(node.size)
        children = tuple(self.axis(child) for child in node.children)
        if all(isinstance(child, Fixed) for child in children):
            return Fixed(node.size)
        return Concat(children) if isinstance(node, Cat) else Product(children)

    def polynomial(self, node: Node) -> Polynomial:
        """The size of ``node`` in the group sizes."""
        node = normal(node)
        known = self._polynomials.get(id(node))
        if known is None:
            known = self._polynomials[id(node)] = (node, self._polynomial(node))
        return known[1]

    def _polynomial(self, node: Node) -> Polynomial:
        if isinstance(node, Atom):
            name = self.names.get(id(node))
            return Polynomial.constant(node.size) if name is None else Polynomial.variable(name)
        if isinstance(node, Cat):
            return Polynomial.sum(self.polynomial(child) for child in node.children)
        return self._term(1, node.children)

    def _term(self, coefficient: int, nodes: Iterable[Node]) -> Polynomial:
        result = None
        for node in nodes:
            value = self.polynomial(node)
            if value.is_constant:
                coefficient *= value.value({})
            else:
                result = value if result is None else result * value
        constant = Polynomial.constant(coefficient)
        return constant if result is None else result if coefficient == 1 else result * constant

    def _pinned(self, parameters: dict[str, nn.Parameter]) -> Iterable[PinnedDim]:
        for name in parameters:
            for dim, node in enumerate(self.recording.parameter_axes[name]):
                atom = normal(node)
                if isinstance(atom, Atom) and atom.pinned is not None and atom.pinned not in TRIVIAL:
                    yield PinnedDim(name, dim, atom.pinned)

    def _pieces(self, parameters: dict[str, nn.Parameter]) -> Iterable[PinnedDim]:
        """The largest first: what it is for is what somebody wants to know."""
        for name in parameters:
            for dim, node in enumerate(self.recording.parameter_axes[name]):
                if isinstance(normal(node), Atom):
                    continue
                pinned = [(atom.size, atom.pinned) for atom in leaves(node) if atom.pinned is not None]
                reasons = (reason for _, reason in sorted(pinned, key=lambda piece: -piece[0]))
                for reason in dict.fromkeys(reasons):
                    if reason not in TRIVIAL:
                        yield PinnedDim(name, dim, reason)


def _kind(atom: Atom) -> str:
    marks = atom.marks or {}
    return next((kind for kind in (*FROZEN_KINDS, HEAD_DIMENSION) if kind in marks), "channels")


def _informed(group: Group, solution: constraints.Solution) -> Group:
    """``group`` with what the numbers in forward say of it."""
    return replace(
        group,
        frozen=group.frozen or solution.frozen.get(group.name),
        value_changing=group.value_changing or solution.scaling.get(group.name),
    )
