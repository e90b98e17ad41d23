"""Where the queries of attention meet the keys, and which outputs of which projection they are.

Between a projection and the logits there may be whatever moves elements about without changing them, and
products with one number. Each such tensor is described by the moves that led to it: done again on the numbers
of the projection's outputs, they tell where every element came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from prunecli.coupling.recording import tensors_in
from prunecli.repair.streams import mark
from prunecli.running.calls import Call, Heads, Parameters

_TRAIL = "_prunecli_trail"
_VIEWS = frozenset({"view", "_unsafe_view", "_reshape_alias", "reshape"})
_MOVES = frozenset(
    {
        "permute", "transpose", "t", "expand", "squeeze", "unsqueeze", "clone", "alias", "detach", "select",
        "slice", "narrow", "split", "split_with_sizes", "chunk", "unbind", "contiguous",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Trail:
    """A tensor that holds outputs of the ``ordinal``-th operation of the run (weight ``name``, output
    ``shape`` with channels along ``dim``), all times one number. ``moves`` lead from the output to the
    tensor; ``added``: the parameter (name, first element) that was added on the way.
    """

    ordinal: int
    name: str | None
    shape: tuple[int, ...]
    dim: int
    moves: tuple[Callable[[Tensor], Tensor], ...] = ()
    added: tuple[str, int] | None = None

    def numbers(self) -> Tensor:
        """Which element of the output each element of the tensor is (shaped as the tensor, on the CPU)."""
        count = math.prod(self.shape)
        found = torch.arange(count, dtype=torch.int32 if count < 2**31 else torch.int64).view(self.shape)
        for move in self.moves:
            found = move(found)
        return found

    def channels(self, numbers: Tensor) -> Tensor:
        return numbers // self._inner % self.shape[self.dim]

    def rows(self, numbers: Tensor) -> Tensor:
        """The output position, of samples and space together."""
        inner = self._inner
        return numbers // (inner * self.shape[self.dim]) * inner + numbers % inner

    @property
    def _inner(self) -> int:
        return math.prod(self.shape[self.dim % len(self.shape) + 1 :])


@dataclass(frozen=True)
class Meeting:
    """Queries ``q [..., h, L, d]``, which have a ``trail``, and keys ``k [..., g, S, d]``, each for h/g
    heads: logits are ``scale q k^T``.
    """

    trail: Trail
    q: Tensor
    k: Tensor
    scale: float

    def call(self) -> Call:
        found = self._blocks()
        rows, channels = self.trail.rows(found[..., 0]).long(), self.trail.channels(found[:, 0]).long()
        return Call("logits", self.q, self.k, None, self.trail.name, heads=Heads(channels, rows, self.scale))

    def without_data(self) -> Meeting:
        return replace(self, q=self.q.to("meta"), k=self.k.to("meta"))

    def channels(self) -> Tensor | None:
        """The channels of every head, ``[heads, d]``; None where the queries of a head are not the same whole
        outputs at every position, or share some with another head.
        """
        found = self._blocks()
        rows, channels = self.trail.rows(found), self.trail.channels(found)
        if bool((rows != rows[..., :1]).any()) or bool((channels != channels[:, :1]).any()):
            return None
        heads, blocks = channels[:, 0].unique(dim=0, return_counts=True)  # type: ignore[no-untyped-call]
        if not _distinct(heads) or not _distinct(found):
            return None
        return heads if bool((blocks == blocks[0]).all()) else None

    def _blocks(self) -> Tensor:
        return self.trail.numbers().reshape(-1, *self.q.shape[-2:])


@dataclass
class Queries:
    """Watches a run: :meth:`meeting` is asked before an operation, :meth:`follow` told of it afterwards.
    ``wanted``: the ordinals of the projections to follow, None for all. ``ends``: the trails of what was used
    for something else than to move it (kept only where all are followed).
    """

    known: Parameters
    wanted: frozenset[int] | None = None
    ends: list[Trail] = field(default_factory=list)

    def meeting(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Meeting | None:
        """The logits that ``func(*args)`` computes from queries that are followed."""
        reader = _READERS.get(func.overloadpacket.__name__)
        if reader is None:
            return None
        q, k, scale = reader(args, kwargs)
        trail = _trail(q)
        if trail is None or not q.numel() or not k.numel():
            return None
        if q.shape[:-3] != k.shape[:-3] or q.shape[-3] % k.shape[-3]:
            return None
        return Meeting(trail, q, k, scale)

    def follow(
        self,
        func: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        out: Any,
        call: Call | None,
        ordinal: int,
    ) -> None:
        """``ordinal``: that of the last weighted operation, of ``call`` itself where it is one."""
        given = [*tensors_in(args), *tensors_in(list(kwargs.values()))]
        taken = [(tensor, trail) for tensor in given if (trail := _trail(tensor)) is not None]
        made = tensors_in(out)
        onward: Sequence[Trail | None] = [None] * len(made)
        single = call is None and len(taken) == 1 and taken[0][0] is args[0]
        if single and made and made[0].dtype == args[0].dtype:
            onward = self._onward(func, args, kwargs, made, taken[0][1])
        if self.wanted is None and not any(onward):
            self.ends.extend(trail for _, trail in taken)
        if call is not None and call.kind != "norm" and (self.wanted is None or ordinal in self.wanted):
            dim = -1 if call.kind == "product" else 1
            onward = [Trail(ordinal, call.name, tuple(made[0].shape), dim)]
        for tensor, trail in zip(made, onward, strict=False):
            mark(tensor, _TRAIL, trail)

    def end(self, tensors: Sequence[Tensor]) -> None:
        """The network gives these away."""
        self.ends.extend(trail for tensor in tensors if (trail := _trail(tensor)) is not None)

    def _onward(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], made: Sequence[Tensor], trail: Trail
    ) -> Sequence[Trail | None]:
        name = func.overloadpacket.__name__
        if name in _VIEWS:
            return [_moved(trail, partial(_viewed, shape=tuple(made[0].shape)))]
        if name in _MOVES:
            again = partial(_again, func, args[1:], kwargs)
            return [_moved(trail, partial(again, position)) for position in range(len(made))]
        if (
            name in ("mul", "mul_", "div", "div_", "neg")
            and all(map(self._is_number, args[1:]))
            and not kwargs
        ):
            return [trail]
        if name == "add" and trail.added is None and not kwargs and isinstance(args[1], Tensor):
            known = self.known.name(args[1])
            added = None if known is None else (known, int(args[1].storage_offset()))
            return [None if added is None else replace(trail, added=added)]
        return [None] * len(made)

    def _is_number(self, value: object) -> bool:
        """With more samples too."""
        if not isinstance(value, Tensor):
            return isinstance(value, (int, float))
        return value.dim() == 0 or (value.numel() == 1 and self.known.name(value) is not None)


def alone(channels: Tensor, meeting: Meeting, ends: Sequence[Trail]) -> bool:
    """Whether nothing but the one ``meeting`` has seen these outputs of the projection."""
    others = [end for end in ends if end.ordinal == meeting.trail.ordinal]
    seen = [end.channels(end.numbers()) for end in others if end is not meeting.trail]
    once = sum(end is meeting.trail for end in others) == 1
    return once and not any(bool(torch.isin(channels, some).any()) for some in seen)


def _distinct(numbers: Tensor) -> bool:
    ordered = numbers.flatten().sort().values
    return not bool((ordered[1:] == ordered[:-1]).any())


def _trail(tensor: Tensor) -> Trail | None:
    found: Trail | None = getattr(tensor, _TRAIL, None)
    return found


def _moved(trail: Trail, move: Callable[[Tensor], Tensor]) -> Trail:
    return replace(trail, moves=(*trail.moves, move))


def _viewed(numbers: Tensor, shape: tuple[int, ...]) -> Tensor:
    return numbers.reshape(shape)


def _again(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], position: int, numbers: Tensor
) -> Tensor:
    return tensors_in(func(numbers, *args, **kwargs))[position]


def _bmm(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor, float]:
    return args[0], args[1].mT, 1.0


def _baddbmm(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor, float]:
    return args[1], args[2].mT, float(kwargs.get("alpha", 1))


def _fused(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor, float]:
    scale = kwargs.get("scale")
    return args[0], args[1], 1 / math.sqrt(args[0].shape[-1]) if scale is None else float(scale)


_READERS: dict[str, Callable[[Sequence[Any], Mapping[str, Any]], tuple[Tensor, Tensor, float]]] = {
    "bmm": _bmm,
    "baddbmm": _baddbmm,
    "_scaled_dot_product_flash_attention_for_cpu": _fused,
    "_scaled_dot_product_flash_attention": _fused,
    "_scaled_dot_product_efficient_attention": _fused,
    "_scaled_dot_product_cudnn_attention": _fused,
    "_scaled_dot_product_fused_attention_overrideable": _fused,
}
