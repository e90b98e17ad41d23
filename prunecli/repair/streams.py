"""Where what an operation makes is added to a stream, as at the end of a residual branch.

The stream of the pruned network is not the dense one's any more, and what follows sees the sum: the last
operation of a branch can make up for what its stream has lost, if it is solved for the sum instead of for its
own output (He et al. 2017, section 3.2, "multi-branch": ``Y1 - Y1' + Y2``). Between the operation and the sum
there may be what multiplies each channel by a constant (a batch norm, a layer scale) and what only moves
dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from prunecli.coupling.recording import tensors_in
from prunecli.running.calls import Call, Parameters

_BRANCH = "_prunecli_branch"
_SAME = frozenset({"alias", "detach", "clone", "_to_copy"})
_SPLIT = frozenset({"view", "_unsafe_view", "_reshape_alias"})


@dataclass(eq=False)
class Uses:
    """How often something took a tensor, and the ones that it was made from."""

    before: Uses | None = None
    count: int = 0

    @property
    def alone(self) -> bool:
        """Whether each was taken once: nothing else has seen what the operation made."""
        return self.count == 1 and (self.before is None or self.before.alone)


@dataclass(eq=False)
class Branch:
    """A tensor that is ``scale`` (None: one) times the output of ``call``, the ``ordinal``-th of the run,
    plus a constant, channel by channel; channels are along ``dim``, everything else in the same order.
    ``version``: of the input of ``call``, when it was called.
    """

    ordinal: int
    call: Call
    version: int
    dim: int
    scale: Tensor | None = None
    uses: Uses = field(default_factory=Uses)

    @property
    def whole(self) -> bool:
        """Whether, so far, only this has been made of the output, and the input is still as it was."""
        return self.uses.alone and self.call.x._version == self.version


@dataclass(frozen=True)
class Sum:
    """The sum of ``branch`` and something else: ``rows [..., C]`` is a view of it."""

    branch: Branch
    rows: Tensor

    def call(self) -> Call:
        scale = self.branch.scale
        ones = torch.ones(self.rows.shape[-1], dtype=self.rows.dtype, device=self.rows.device)
        return Call("sum", self.rows, ones if scale is None else scale, None, self.branch.call.name)


@dataclass
class Branches:
    """Watches a run: :meth:`follow` is told of everything that is computed. ``wanted``: the ordinals of the
    operations to follow, None for all; ``ordinal``: that of the last one (norms are not counted).
    """

    known: Parameters
    wanted: frozenset[int] | None = None
    ordinal: int = -1

    def follow(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any, call: Call | None
    ) -> tuple[Sum, ...]:
        """The sums that ``out = func(*args)`` is, one for each branch that ends there."""
        given = [(tensor, _branch(tensor)) for tensor in tensors_in(args)]
        taken = [(tensor, branch) for tensor, branch in given if branch is not None]
        for _, branch in taken:
            branch.uses.count += 1
        made = tensors_in(out)
        if call is not None and call.kind != "norm":
            self.ordinal += 1
            followed = self.wanted is None or self.ordinal in self.wanted
            dim = -1 if call.kind == "product" else 1
            begun = Branch(self.ordinal, call, call.x._version, dim) if followed else None
            mark(made[0], _BRANCH, begun)
        elif (
            made
            and len(taken) == 1
            and (onward := self._onward(func, args, made[0], *taken[0], call)) is not None
        ):
            mark(made[0], _BRANCH, onward)
        else:
            for tensor in made:
                mark(tensor, _BRANCH, None)
            return _sums(func, given, kwargs, made)
        return ()

    def _onward(
        self, func: Any, args: Sequence[Any], out: Tensor, tensor: Tensor, branch: Branch, call: Call | None
    ) -> Branch | None:
        name = func.overloadpacket.__name__
        if call is not None:
            return _normed(branch, args)
        if name in _SAME:
            return _moved(branch, branch.dim)
        if name in _SPLIT:
            dim = _same_place(tensor.shape, branch.dim, out.shape)
            return None if dim is None else _moved(branch, dim)
        if name in ("permute", "transpose"):
            return _permuted(branch, tensor.dim(), name, args)
        if name in ("mul", "mul_"):
            return self._scaled(branch, tensor, args)
        if name in ("add", "add_") and self._per_channel(branch, tensor, args) is not None:
            return _moved(branch, branch.dim)
        return None

    def _scaled(self, branch: Branch, tensor: Tensor, args: Sequence[Any]) -> Branch | None:
        other = args[1] if args[0] is tensor else args[0]
        if isinstance(other, (int, float)):
            factor = torch.tensor(float(other), dtype=tensor.dtype, device=tensor.device)
            return _times(branch, factor.expand(tensor.shape[branch.dim]))
        factors = self._per_channel(branch, tensor, args)
        return None if factors is None else _times(branch, factors)

    def _per_channel(self, branch: Branch, tensor: Tensor, args: Sequence[Any]) -> Tensor | None:
        """The other operand, where it is a parameter with one number for every channel ``[C]``."""
        other = args[1] if args[0] is tensor else args[0]
        if not isinstance(other, Tensor) or self.known.name(other) is None:
            return None
        along = branch.dim % tensor.dim() - tensor.dim() + other.dim()
        size = tensor.shape[branch.dim]
        if along < 0 or other.numel() != size or other.shape[along] != size:
            return None
        return other.reshape(-1)


def _branch(tensor: Tensor) -> Branch | None:
    found: Branch | None = getattr(tensor, _BRANCH, None)
    return found


def mark(tensor: Tensor, key: str, value: object) -> None:
    """Say of ``tensor`` what it is, None for nothing known. An operation in place leaves the mark of what was
    there before.
    """
    if value is not None or hasattr(tensor, key):
        setattr(tensor, key, value)


def _sums(
    func: Any,
    given: Sequence[tuple[Tensor, Branch | None]],
    kwargs: Mapping[str, Any],
    made: Sequence[Tensor],
) -> tuple[Sum, ...]:
    if func.overloadpacket.__name__ not in ("add", "add_") or len(given) != 2 or kwargs:
        return ()
    (first, _), (second, _) = given
    if first is second or not first.shape == second.shape == made[0].shape or made[0].dim() < 2:
        return ()
    return tuple(
        Sum(branch, made[0].movedim(branch.dim, -1))
        for _, branch in given
        if branch is not None and branch.whole
    )


def _moved(branch: Branch, dim: int) -> Branch:
    return replace(branch, dim=dim, uses=Uses(branch.uses))


def _times(branch: Branch, factor: Tensor) -> Branch:
    scale = factor if branch.scale is None else branch.scale * factor
    return replace(branch, scale=scale, uses=Uses(branch.uses))


def _normed(branch: Branch, args: Sequence[Any]) -> Branch | None:
    """Behind a batch norm with running statistics (whose variance no repair of an operation changes)."""
    x, weight, variance, epsilon = args[0], args[1], args[4], args[-1]
    if branch.dim % x.dim() != 1:
        return None
    factor = (variance + epsilon).rsqrt()
    return _times(branch, factor if weight is None else factor * weight)


def _same_place(old: Sequence[int], dim: int, new: Sequence[int]) -> int | None:
    """Where dimension ``dim`` of ``old`` is in a view of shape ``new``."""
    dim %= len(old)
    before = torch.Size(old[:dim]).numel()
    for place, size in enumerate(new):
        if size == old[dim] and torch.Size(new[:place]).numel() == before:
            return place
    return None


def _permuted(branch: Branch, dims: int, name: str, args: Sequence[Any]) -> Branch | None:
    """None where more than the channels' dimension moves past others."""
    order = list(range(dims))
    if name == "permute":
        order = [place % dims for place in args[1]]
    else:
        first, second = args[1] % dims, args[2] % dims
        order[first], order[second] = order[second], order[first]
    old = branch.dim % dims
    rest = [place for place in order if place != old]
    return _moved(branch, order.index(old)) if rest == sorted(rest) else None
