"""Small networks are traced, cut by half and held against the masked oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors
from prunecli.counting import count
from prunecli.coupling import trace
from prunecli.coupling.build import never
from prunecli.coupling.nodes import Atom, Node, Prod, normal
from prunecli.coupling.space import Group, Space
from prunecli.proofs import Keep, Subject, pruned
from prunecli.surgery import cut


class Net(nn.Module):
    """``forward`` is a plain function of the module and its inputs; layers and attributes by keyword."""

    def __init__(self, function: Callable[..., object], **members: object) -> None:
        super().__init__()
        for name, member in members.items():
            setattr(self, name, member)
        self.function = function
        self.eval()

    def forward(self, *inputs: Tensor) -> object:
        return self.function(self, *inputs)


def example(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def space_of(module: nn.Module, *shape: int) -> Space:
    return trace(module, (example(*shape),))


def half(space: Space) -> dict[str, list[int]]:
    """Every second unit of every group that may be cut, as far as bundles and guards allow."""
    keep: dict[str, list[int]] = {}
    for bundle in space.bundles:
        removals = bundle.removals(space.sizes)
        small = [gone for gone in removals if all(2 * n <= space.sizes[m.group] for n, m in
                 zip(gone, bundle.members, strict=True))]  # fmt: skip
        chosen = small[-1] if any(small[-1]) else removals[min(1, len(removals) - 1)]
        for member, gone in zip(bundle.members, chosen, strict=True):
            size = space.sizes[member.group]
            order = [*range(1, size, 2), *range(0, size, 2)]
            if gone:
                keep[member.group] = sorted(order[: size - gone])
    return keep


def subject(module: nn.Module, space: Space, *inputs: Tensor) -> Subject:
    return Subject(module, all_tensors(module), space, inputs, torch.float64)


def error(module: nn.Module, space: Space, *inputs: Tensor, keep: Keep | None = None) -> float:
    """The masked oracle's error for ``keep``, or for half of everything of which equality can be asked."""
    case = subject(module, space, *inputs)
    return case.error(case.keeps_values(half(space)) if keep is None else keep)


def check(module: nn.Module, *shape: int, thaw: Callable[[Group], bool] = never) -> Space:
    """The space of ``module``; half of it can be cut, and the rest is the masked network."""
    return check_on(module, example(*shape), thaw=thaw)


def check_on(module: nn.Module, *inputs: Tensor, thaw: Callable[[Group], bool] = never) -> Space:
    space = trace(module, inputs, free=thaw)
    assert half(space), "nothing can be cut"
    case = subject(module, space, *inputs)
    assert case.error(case.keeps_values(half(space))) < 1e-9
    dense, pruned = case.output({}), case.output(half(space))
    assert [t.shape for t in dense] == [t.shape for t in pruned]
    return space


def check_macs(module: nn.Module, space: Space, *inputs: Tensor, counter: str = "fvcore") -> None:
    """The formula is what ``counter`` counts, dense and at half of everything."""
    for keep in ({}, half(space)):
        sizes = {**space.sizes, **{name: len(kept) for name, kept in keep.items()}}
        smaller = pruned(module, space, cut(all_tensors(module), space, keep), keep)
        result = count(smaller, inputs, left_out=space.other_macs.value(sizes))
        assert (result.total, result.counter) == (space.macs.value(sizes), counter)


def group_of(space: Space, parameter: str, dim: int = 0) -> Group:
    """The only group in a dimension of a parameter."""
    found = [g for g in space.groups if any((s.parameter, s.dim) == (parameter, dim) for s in g.slots)]
    assert len(found) == 1, [g.name for g in found]
    return found[0]


def slots(group: Group) -> set[tuple[str, int]]:
    return {(slot.parameter, slot.dim) for slot in group.slots}


def reason(space: Space, parameter: str, dim: int = 0) -> str:
    """Why a dimension is pinned."""
    return next(p.reason for p in space.pinned if (p.parameter, p.dim) == (parameter, dim))


def free(space: Space) -> dict[str, int]:
    return {group.name: group.size for group in space.groups if group.frozen is None}


def strides(space: Space) -> list[dict[str, int]]:
    """The bundles of more than one member, or of larger steps than one unit."""
    return [
        {member.group: member.stride for member in bundle.members}
        for bundle in space.bundles
        if len(bundle.members) > 1 or bundle.members[0].stride > 1
    ]


def patches(space: Space, module: str) -> Mapping[tuple[str, int | None], int]:
    """Attributes of ``module`` that follow, with their values for half of everything."""
    sizes = {**space.sizes, **{name: len(kept) for name, kept in half(space).items()}}
    return {(p.attribute, p.index): p.value.value(sizes) for p in space.patches if p.module == module}


def named(groups: Sequence[Group]) -> list[str]:
    return [group.name for group in groups]


def shape_of(node: Node) -> str:
    """``node`` as text: ``a3`` an atom, ``#2`` a pinned one; the same atom has the same letter."""
    names: dict[int, str] = {}

    def text(node: Node) -> str:
        node = normal(node)
        if isinstance(node, Atom):
            if node.pinned is not None:
                return f"#{node.size}"
            return names.setdefault(id(node), chr(ord("a") + len(names))) + str(node.size)
        sign = "*" if isinstance(node, Prod) else "+"
        return "(" + sign.join(text(child) for child in node.children) + ")"

    return text(node)
