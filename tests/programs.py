"""Random small networks for the property test of the axis algebra, and the oracle they are held against.

A program is a list of steps over live tensors ``[batch, ...]``; every number a step needs comes from
``x.shape`` or from one of its attributes (or, now and then, from a :class:`Hidden` literal that no tracer can
follow).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prunecli.assembly import all_tensors
from prunecli.coupling.space import Bundle, Space
from prunecli.proofs import Keep, Subject, masked, pruned, relative_error
from prunecli.surgery import cut

BATCH = 2
LARGEST = 600
"""Elements per sample beyond which a step is refused: the programs stay tiny."""


@dataclass
class Hidden:
    """A plain number the tracer does not see as an attribute."""

    value: int


class Linear(nn.Module):
    def __init__(self, size: int, out: int, bias: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(size, out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Matmul(nn.Module):
    """``x @ W`` (or einsum) with a bare parameter."""

    def __init__(self, size: int, out: int, einsum: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, out))
        self.einsum = einsum

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...c,co->...o", x, self.weight) if self.einsum else x @ self.weight


class Conv(nn.Module):
    def __init__(self, size: int, out: int, kernel: int, groups: int, bias: bool, rank: int) -> None:
        super().__init__()
        kind = nn.Conv1d if rank == 3 else nn.Conv2d
        self.layer = kind(size, out, kernel, padding=kernel // 2, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Norm(nn.Module):
    """BatchNorm in eval mode, with statistics that are not 0 and 1."""

    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        self.layer = nn.BatchNorm2d(size) if rank == 4 else nn.BatchNorm1d(size)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class LayerNorm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = nn.LayerNorm(size)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Scale(nn.Module):
    """A parameter along one axis, multiplied or added by broadcasting."""

    def __init__(self, size: int, behind: int, add: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(size, *[1] * behind))
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale if self.add else x * self.scale


class Function(nn.Module):
    """Something without parameters or numbers of its own."""

    def __init__(self, name: str, function: Callable[..., Tensor | list[Tensor]]) -> None:
        super().__init__()
        self.name = name
        self.function = function

    def forward(self, *tensors: Tensor) -> Tensor | list[Tensor]:
        return self.function(*tensors)


class Split(nn.Module):
    """``x.split(sizes, dim)``, or slices at ``first`` by brackets or ``narrow``."""

    def __init__(self, sizes: list[int], dim: Hidden, form: str, hidden: bool) -> None:
        super().__init__()
        self.first = sizes[0]
        self.sizes = tuple(sizes)
        self.plain = [Hidden(size) for size in sizes] if hidden else None
        self.dim = dim
        self.form = form

    def forward(self, x: Tensor) -> list[Tensor]:
        dim = self.dim.value
        sizes = self.sizes if self.plain is None else [number.value for number in self.plain]
        if self.form == "split":
            return list(x.split(list(sizes), dim))
        first = self.first if self.plain is None else sizes[0]
        if self.form == "narrow":
            return [x.narrow(dim, 0, first), x.narrow(dim, first, x.shape[dim] - first)]
        every = (slice(None),) * dim
        return [x[(*every, slice(None, first))], x[(*every, slice(first, None))]]


class Unmerge(nn.Module):
    """One dimension as ``outer x inner``; the number of either is an attribute."""

    def __init__(self, outer: int, inner: int, dim: int, form: str) -> None:
        super().__init__()
        self.outer, self.inner = outer, inner
        self.plain = Hidden(outer)
        self.dim = Hidden(dim)
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        dim = self.dim.value
        head, tail, size = x.shape[:dim], x.shape[dim + 1 :], x.shape[dim]
        if self.form == "outer":
            return x.reshape(*head, self.outer, size // self.outer, *tail)
        if self.form == "inner":
            return x.reshape(*head, size // self.inner, self.inner, *tail)
        if self.form == "both":
            return x.reshape(*head, self.outer, self.inner, *tail)
        if self.form == "unflatten":
            return x.unflatten(dim, (-1, self.inner))
        return x.reshape(*head, self.plain.value, -1, *tail)


class Merge(nn.Module):
    """Two adjacent dimensions as one."""

    def __init__(self, dim: int, form: str) -> None:
        super().__init__()
        self.dim = Hidden(dim)
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        dim = self.dim.value
        if self.form == "flatten":
            return x.flatten(dim, dim + 1)
        head, tail = x.shape[:dim], x.shape[dim + 2 :]
        size = -1 if self.form == "open" else x.shape[dim] * x.shape[dim + 1]
        return x.reshape(*head, size, *tail)


class Shuffle(nn.Module):
    """The channel shuffle of ShuffleNet on dimension 1."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        rest = x.shape[2:]
        x = x.view(batch, self.groups, channels // self.groups, *rest).transpose(1, 2)
        return x.reshape(batch, channels, *rest)


class Attention(nn.Module):
    """``[batch, tokens, channels]``: heads split off one fused or three separate layers."""

    def __init__(self, size: int, heads: int, head_size: int, form: str, bias: bool) -> None:
        super().__init__()
        inner = heads * head_size
        self.num_heads, self.head_size, self.form = heads, head_size, form
        count = 1 if form == "fused" else 3
        self.project = nn.ModuleList(nn.Linear(size, inner * 3 // count, bias) for _ in range(count))
        self.out = nn.Linear(inner, size, bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        if self.form == "fused":
            parts = self.project[0](x).reshape(batch, tokens, 3, self.num_heads, self.head_size)
            q, k, v = parts.permute(2, 0, 3, 1, 4)
        else:
            q, k, v = (
                layer(x).view(batch, tokens, self.num_heads, -1).transpose(1, 2) for layer in self.project
            )
        if self.form == "sdpa":
            mixed = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        else:
            mixed = (q @ k.transpose(-2, -1)) * 0.1 @ v
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, -1))


class Expand(nn.Module):
    """A new dimension of equal copies in front of ``dim``, merged into it or not."""

    def __init__(self, times: int, dim: int, merge: bool) -> None:
        super().__init__()
        self.times, self.merge = times, merge
        self.dim = Hidden(dim)

    def forward(self, x: Tensor) -> Tensor:
        dim = self.dim.value
        head, tail = x.shape[:dim], x.shape[dim:]
        x = x.unsqueeze(dim).expand(*head, self.times, *tail)
        return x.flatten(dim, dim + 1) if self.merge else x


class Pad(nn.Module):
    def __init__(self, left: int, right: int, behind: int) -> None:
        super().__init__()
        self.amounts = [Hidden(0)] * (2 * behind) + [Hidden(left), Hidden(right)]

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, [number.value for number in self.amounts])


class Branch(nn.Module):
    """What is done depends on a size: a guard."""

    def __init__(self, limit: int, dim: int, divides: bool) -> None:
        super().__init__()
        self.limit, self.divides = limit, divides
        self.dim = Hidden(dim)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[self.dim.value]
        if size % 2 == 0 if self.divides else size > self.limit:
            return x.relu()
        return x.tanh()


class Program(nn.Module):
    """``steps[i]`` works on the live tensors ``picks[i]``; the results are appended."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        self.picks: list[tuple[int, ...] | None] = []
        self.heads = nn.ModuleList()
        self.ends: list[tuple[int, ...] | None] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        live = [x]
        for step, picks in zip(self.steps, self.picks, strict=True):
            live += _as_list(step(*[live[index] for index in picks or ()]))
        return [
            head(live[(end or (0,))[0]].flatten(1)) for head, end in zip(self.heads, self.ends, strict=True)
        ]


def _as_list(value: Tensor | list[Tensor]) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


class Author:
    """Writes one program: ``random_program(seed)`` is the entrance.

    A removed unit is silent everywhere only if every step maps zero to zero. A ``biased`` program has steps
    that do not, so there units may only be read by weights; the others may also be summed over and multiplied
    together.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.biased = self.random.random() < 0.6
        self.program = Program()
        self.live: list[Tensor] = []
        self.origin: list[set[int]] = []
        self.read: set[int] = set()

    def write(self) -> tuple[Program, Tensor]:
        x = torch.zeros(self._input_shape())
        self.live = [x]
        self._begin()
        wanted = self.random.randint(2, 7)
        for _ in range(40):
            if len(self.program.steps) > wanted:
                break
            self._try_one()
        self._finish()
        return self.program, x

    def _input_shape(self) -> tuple[int, ...]:
        return self.random.choice([(BATCH, 5), (BATCH, 3, 4), (BATCH, 3, 2, 2), (BATCH, 4, 3, 2)])

    def _begin(self) -> None:
        """The input is pinned, so every program starts with layers that make axes that are not."""
        for _ in range(self.random.randint(1, 2)):
            makers = [self.linear] if self.live[0].dim() == 2 else [self.linear, self.conv]
            made = self.random.choice(makers)(self.live[0])
            assert made is not None
            self._add(made, (0,))
        tokens = len(self.live) == 2 and self.live[0].dim() == 3 and isinstance(self.program.steps[0], Linear)
        if tokens and self.random.random() < 0.5:
            # Whatever is biased, these tokens are the input's and stay.
            self._add(self._attention(self.live[1]), (1,))

    def _add(self, step: nn.Module, picks: tuple[int, ...]) -> None:
        with torch.no_grad():
            made = _as_list(step(*[self.live[index] for index in picks]))
        if any(prod(t.shape[1:]) > LARGEST or t.dim() > 6 or 0 in t.shape for t in made):
            return
        self.program.steps.append(step.eval())
        self.program.picks.append(picks)
        self.read.update(picks)
        self.live += made

    def _try_one(self) -> None:
        index = self._any()
        x = self.live[index]
        if self.random.random() < 0.35:
            self._two(index)
            return
        made = self.random.choice(self.MAKERS)(self, x)
        if made is not None:
            self._add(made, (index,))

    def _any(self) -> int:
        """Mostly something nobody has read yet."""
        unread = [i for i in range(1, len(self.live)) if i not in self.read]
        if unread and self.random.random() < 0.8:
            return self.random.choice(unread)
        return self.random.randrange(1, len(self.live))

    def _width(self) -> int:
        return self.random.choice([3, 4, 6, 6, 8, 9, 12])

    def _bias(self) -> bool:
        return self.biased and self.random.random() < 0.7

    def _dim(self, x: Tensor) -> int:
        return self.random.randrange(1, x.dim())

    # Steps on one tensor; None where the tensor does not suit.

    def linear(self, x: Tensor) -> nn.Module | None:
        return Linear(x.shape[-1], self._width(), self._bias())

    def matmul(self, x: Tensor) -> nn.Module | None:
        return Matmul(x.shape[-1], self._width(), self.random.random() < 0.3)

    def conv(self, x: Tensor) -> nn.Module | None:
        if x.dim() not in (3, 4):
            return None
        size, kernel, bias = x.shape[1], self.random.choice([1, 1, 3]), self._bias()
        form = self.random.choice(["plain", "plain", "depthwise", "grouped"])
        divisors = [g for g in (2, 3, 4) if size % g == 0 and size > g]
        if form == "depthwise":
            return Conv(size, size * self.random.choice([1, 1, 2]), kernel, size, bias, x.dim())
        if form == "grouped" and divisors:
            groups = self.random.choice(divisors)
            return Conv(size, groups * self.random.randint(1, 4), kernel, groups, bias, x.dim())
        return Conv(size, self._width(), kernel, 1, bias, x.dim())

    def norm(self, x: Tensor) -> nn.Module | None:
        return Norm(x.shape[1], x.dim()) if x.dim() in (2, 3, 4) and self.biased else None

    def layer_norm(self, x: Tensor) -> nn.Module | None:
        return LayerNorm(x.shape[-1]) if self.biased and self.random.random() < 0.3 else None

    def scale(self, x: Tensor) -> nn.Module | None:
        dim = self._dim(x)
        return Scale(x.shape[dim], x.dim() - 1 - dim, self._bias())

    def activation(self, x: Tensor) -> nn.Module | None:
        names = ["relu", "gelu", "tanh", "silu", "hardswish", "relu_", "square"]
        name = self.random.choice([*names, *["sigmoid", "cos", "add"] * self.biased])
        functions: dict[str, Callable[..., Tensor]] = {
            "relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh, "silu": F.silu, "hardswish": F.hardswish,
            "relu_": lambda x: x.clone().relu_(), "square": lambda x: x * x,
            "sigmoid": torch.sigmoid, "cos": torch.cos, "add": lambda x: 1.5 - x,
        }  # fmt: skip
        return Function(name, functions[name])

    def split(self, x: Tensor) -> nn.Module | None:
        dim = self._dim(x)
        size = x.shape[dim]
        if size < 3:
            return None
        first = self.random.randint(1, size - 1)
        sizes = [first, size - first]
        if size - first > 2 and self.random.random() < 0.3:
            sizes = [first, 1, size - first - 1]
        form = self.random.choice(["split", "brackets", "narrow"])
        return Split(sizes, Hidden(dim), form, self.random.random() < 0.1)

    def chunk(self, x: Tensor) -> nn.Module | None:
        dim = self._dim(x)
        counts = [n for n in (2, 3) if x.shape[dim] > n]
        if not counts:
            return None
        count = self.random.choice(counts)
        return Function(f"chunk({count}, {dim})", lambda x: list(x.chunk(count, dim)))

    def glu(self, x: Tensor) -> nn.Module | None:
        dim = self._dim(x)
        return Function(f"glu({dim})", lambda x: F.glu(x, dim)) if x.shape[dim] % 2 == 0 else None

    def unmerge(self, x: Tensor) -> nn.Module | None:
        dim = self._dim(x)
        outers = [n for n in range(2, x.shape[dim]) if x.shape[dim] % n == 0]
        if not outers or x.dim() > 4:
            return None
        outer = self.random.choice(outers)
        form = self.random.choice(["outer", "inner", "both", "unflatten", "outer", "inner", "plain"])
        return Unmerge(outer, x.shape[dim] // outer, dim, form)

    def merge(self, x: Tensor) -> nn.Module | None:
        if x.dim() < 3:
            return None
        return Merge(
            self.random.randrange(1, x.dim() - 1), self.random.choice(["flatten", "open", "product"])
        )

    def permute(self, x: Tensor) -> nn.Module | None:
        order = [0, *self.random.sample(range(1, x.dim()), x.dim() - 1)]
        return Function(f"permute{order}", lambda x: x.permute(order)) if x.dim() > 2 else None

    def shuffle(self, x: Tensor) -> nn.Module | None:
        counts = [n for n in (2, 3, 4) if x.shape[1] % n == 0 and x.shape[1] > n]
        if not counts or not x.is_contiguous():
            return None
        return Shuffle(self.random.choice(counts))

    def attention(self, x: Tensor) -> nn.Module | None:
        return None if x.dim() != 3 or x.shape[1] > 12 or self.biased else self._attention(x)

    def _attention(self, x: Tensor) -> nn.Module:
        form = self.random.choice(["fused", "separate", "sdpa"])
        return Attention(
            x.shape[2], self.random.choice([2, 3]), self.random.choice([2, 4]), form, self._bias()
        )

    def expand(self, x: Tensor) -> nn.Module | None:
        # A copy is not silent when it is removed, so only weights may read copies.
        return (
            None
            if not self.biased
            else Expand(self.random.choice([2, 3]), self._dim(x), self.random.random() < 0.6)
        )

    def pad(self, x: Tensor) -> nn.Module | None:
        return Pad(self.random.randint(0, 2), self.random.randint(0, 2), x.dim() - 1 - self._dim(x))

    def reduce(self, x: Tensor) -> nn.Module | None:
        if x.dim() < 3:
            return None
        dim, keep = self._dim(x), self.random.random() < 0.5
        if self.biased or self.random.random() < 0.1:
            return Function(f"mean({dim})", lambda x: x.mean(dim, keepdim=keep))
        return Function(f"sum({dim})", lambda x: x.sum(dim, keepdim=keep))

    def order(self, x: Tensor) -> nn.Module | None:
        if self.random.random() < 0.5:
            return None
        dim = self._dim(x)
        name = self.random.choice(["roll", "flip", "cumsum", "select"])
        functions: dict[str, Callable[[Tensor], Tensor]] = {
            "roll": lambda x: x.roll(1, dim), "flip": lambda x: x.flip(dim),
            "cumsum": lambda x: x.cumsum(dim), "select": lambda x: x.select(dim, 0).unsqueeze(dim),
        }  # fmt: skip
        return Function(f"{name}({dim})", functions[name])

    def branch(self, x: Tensor) -> nn.Module | None:
        dim = self._dim(x)
        return Branch(self.random.randint(1, x.shape[dim]), dim, self.random.random() < 0.3)

    def pool(self, x: Tensor) -> nn.Module | None:
        if x.dim() != 4 or min(x.shape[2:]) < 2:
            return None
        return Function("avg_pool2d", lambda x: F.avg_pool2d(x, 2, stride=1))

    MAKERS = (
        linear, matmul, conv, conv, norm, layer_norm, scale, activation, activation, split, split, chunk, glu,
        unmerge, unmerge, merge, merge, permute, shuffle, attention, expand, pad, reduce, order, pool, branch,
    )  # fmt: skip

    # Steps on two tensors, or a layer applied a second time.

    def _two(self, index: int) -> None:
        x = self.live[index]
        same = [i for i in range(1, len(self.live)) if self.live[i].shape == x.shape and i != index]
        form = self.random.choice(["add", "mul", "cat", "cat", "stack", "again", "broadcast", "product"])
        if form == "again":
            self._again(index)
        elif form == "cat":
            self._cat(index)
        elif form in ("broadcast", "product"):
            if not self.biased:
                (self._broadcast if form == "broadcast" else self._product)(index)
        elif same:
            other, dim = self.random.choice(same), self._dim(x)
            functions: dict[str, Callable[..., Tensor]] = {
                "add": torch.add, "mul": torch.mul, "stack": lambda x, y: torch.stack([x, y], dim)
            }  # fmt: skip
            self._add(Function(form, functions[form]), (index, other))

    def _again(self, index: int) -> None:
        """A layer that has been applied before: its weights are shared by two places."""
        for position, picks in enumerate(self.program.picks):
            step = self.program.steps[position]
            weighted = isinstance(step, (Linear, Conv, Matmul, Scale)) and picks and picks != (index,)
            if weighted and self.live[picks[0]].shape == self.live[index].shape:
                self._add(step, (index,))
                return

    def _cat(self, index: int) -> None:
        x = self.live[index]
        dim = self._dim(x)

        def rest(t: Tensor) -> tuple[int, ...]:
            return (*t.shape[:dim], *t.shape[dim + 1 :])

        fitting = [i for i, t in enumerate(self.live) if t.dim() == x.dim() and rest(t) == rest(x)]
        picks = [index, *(self.random.choice(fitting) for _ in range(self.random.randint(1, 2)))]
        self.random.shuffle(picks)
        self._add(Function(f"cat({dim})", lambda *tensors: torch.cat(tensors, dim)), tuple(picks))

    def _broadcast(self, index: int) -> None:
        """``x * y.sum(dim, keepdim=True)``: squeeze and excitation, without the sigmoid."""
        x = self.live[index]
        if x.dim() > 2:
            dim = self._dim(x)
            self._add(Function(f"x * x.sum({dim})", lambda x: x * x.sum(dim, keepdim=True).tanh()), (index,))

    def _product(self, index: int) -> None:
        """A product of two activations over their last axes."""
        x = self.live[index]
        same = [
            i for i, t in enumerate(self.live)
            if t.dim() == x.dim() == 3 and t.shape[2] == x.shape[2] and i > 0
        ]  # fmt: skip
        if same:
            self._add(
                Function("x @ y.mT", lambda x, y: x @ y.transpose(1, 2)), (index, self.random.choice(same))
            )

    def _finish(self) -> None:
        """Everything that nobody read is put out through a linear layer; now and then two heads read one."""
        ends = [i for i in range(1, len(self.live)) if i not in self.read] or [len(self.live) - 1]
        if self.random.random() < 0.2:
            ends.append(self.random.choice(ends))
        for end in ends:
            self.program.heads.append(nn.Linear(prod(self.live[end].shape[1:]), 3))
            self.program.ends.append((end,))


def random_program(seed: int) -> tuple[Program, Tensor]:
    """A network with random float64 weights in eval mode, and an input for it: one for each ``seed``."""
    program, x = Author(seed).write()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in all_tensors(program).items():
            if tensor.is_floating_point():
                tensor.data = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.5
                if name.endswith("running_var"):
                    tensor.data = tensor.data.abs() + 0.5
        x = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return program.eval(), x


def countable(program: nn.Module) -> bool:
    """Whether torch's counter sees all that is counted: no norms, no einsum (no product at width 1)."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)
    return not any(isinstance(m, norms) or getattr(m, "einsum", False) for m in program.modules())


def random_keep(space: Space, rng: random.Random) -> dict[str, list[int]]:
    """Kept units of some groups, in steps of their bundles, such that every guard holds."""
    for share in (0.8, 0.5, 0.25):
        keep: dict[str, list[int]] = {}
        for bundle in space.bundles:
            if rng.random() < share:
                keep.update(_keep_of(space, bundle, rng))
        sizes = {**space.sizes, **{name: len(kept) for name, kept in keep.items()}}
        if all(guard.holds(sizes) for guard in space.guards):
            return keep
    return {}


def _keep_of(space: Space, bundle: Bundle, rng: random.Random) -> Iterator[tuple[str, list[int]]]:
    removals = bundle.removals(space.sizes)
    chosen = removals[rng.randint(1, len(removals) - 1)] if len(removals) > 1 else removals[0]
    for member, gone in zip(bundle.members, chosen, strict=True):
        size = space.sizes[member.group]
        if gone:
            yield member.group, sorted(rng.sample(range(size), size - gone))


def outputs(module: nn.Module, tensors: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    once = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    with torch.no_grad():
        return functional_call(module, {name: tensors[name] for name in once}, (x,), tie_weights=False)


def flops(module: nn.Module, tensors: dict[str, Tensor], x: Tensor) -> int:
    """Multiply-adds of convolutions and products by torch's own counter (it counts two for each)."""
    # Before torch 2.15 the counter does not know fused attention on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outputs(module, tensors, x)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


@dataclass
class Trial:
    """One program, its space, and one random plan for it."""

    program: Program
    x: Tensor
    space: Space
    keep: Keep

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in all_tensors(self.program).items()}

    @property
    def exact(self) -> dict[str, list[int]]:
        """The part of the plan of which equality is asked."""
        subject = Subject(self.program, {}, self.space, (self.x,), torch.float64)
        return {name: list(kept) for name, kept in subject.keeps_values(self.keep).items()}

    def pruned(self, keep: Keep) -> tuple[nn.Module, dict[str, Tensor]]:
        tensors = cut(self.tensors, self.space, keep)
        return pruned(self.program, self.space, tensors, keep).eval(), tensors

    def error(self, keep: Keep) -> float:
        """The masked oracle."""
        wanted = outputs(self.program, masked(self.tensors, self.space, keep), self.x)
        return relative_error(wanted, outputs(*self.pruned(keep), self.x))
