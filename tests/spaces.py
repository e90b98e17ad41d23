"""Spaces of small networks, written by hand: what the tracer would say of them."""

from __future__ import annotations

import torch
from torch import Tensor

from prunecli.coupling.axes import Axis, Concat, Fixed, Product, Units, size_of
from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Bundle, Group, Guard, Member, Role, Slot, Space


class Sketch:
    """Collects layers, then makes a Space and random weights of them."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.axes: dict[str, tuple[Axis, ...]] = {}
        self.slots: dict[str, list[Slot]] = {}
        self.macs = Polynomial({})
        self.params = Polynomial({})
        self.frozen: dict[str, str] = {}
        self.kinds: dict[str, str] = {}

    def units(self, name: str, size: int, frozen: str | None = None, kind: str = "channels") -> Units:
        self.sizes[name] = size
        self.kinds[name] = kind
        self.slots[name] = []
        if frozen:
            self.frozen[name] = frozen
        return Units(name)

    def width(self, axis: Axis) -> Polynomial:
        if isinstance(axis, Fixed):
            return Polynomial.constant(axis.size)
        if isinstance(axis, Units):
            return Polynomial.variable(axis.group)
        if isinstance(axis, Concat):
            return Polynomial.sum(self.width(part) for part in axis.parts)
        result = Polynomial.constant(1)
        for factor in axis.factors:
            result = result * self.width(factor)
        return result

    def parameter(self, name: str, axes: tuple[Axis, ...], roles: tuple[Role, ...]) -> None:
        self.axes[name] = axes
        for dim, (axis, role) in enumerate(zip(axes, roles, strict=False)):
            for group in dict.fromkeys(_groups(axis)):
                self.slots[group].append(Slot(name, dim, role))

    def conv(self, name: str, out: Axis, into: Axis, *, kernel: int = 3, area: int = 16) -> None:
        axes = (out, into, Fixed(kernel), Fixed(kernel))
        self.parameter(f"{name}.weight", axes, ("out", "in"))
        count = self.width(out) * self.width(into) * Polynomial.constant(kernel * kernel)
        self.params += count
        self.macs += count * Polynomial.constant(area)

    def depthwise(self, name: str, axis: Axis, *, area: int = 16) -> None:
        self.parameter(f"{name}.weight", (axis, Fixed(1), Fixed(3), Fixed(3)), ("out",))
        self.params += self.width(axis) * Polynomial.constant(9)
        self.macs += self.width(axis) * Polynomial.constant(9 * area)

    def linear(self, name: str, out: Axis, into: Axis, *, tokens: int = 1) -> None:
        self.parameter(f"{name}.weight", (out, into), ("out", "in"))
        self.parameter(f"{name}.bias", (out,), ("bias",))
        self.params += self.width(out) * self.width(into) + self.width(out)
        self.macs += self.width(out) * self.width(into) * Polynomial.constant(tokens)

    def norm(self, name: str, axis: Axis, *, batch: bool = True) -> None:
        for leaf in ("weight", "bias"):
            self.parameter(f"{name}.{leaf}", (axis,), ("norm",))
        self.params += self.width(axis) * Polynomial.constant(2)
        if batch:
            self.axes |= {f"{name}.running_mean": (axis,), f"{name}.running_var": (axis,)}
            self.axes[f"{name}.num_batches_tracked"] = ()

    def space(self, bundles: tuple[Bundle, ...] | None = None, guards: tuple[Guard, ...] = ()) -> Space:
        groups = tuple(
            Group(name, size, tuple(self.slots[name]), self.kinds[name], self.frozen.get(name))
            for name, size in self.sizes.items()
        )
        if bundles is None:
            bundles = tuple(Bundle((Member(g.name, 1),)) for g in groups if g.frozen is None)
        return Space(groups, dict(self.axes), bundles, guards, (), (), self.macs, self.params)

    def tensors(self, seed: int = 0) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        shapes = {name: [size_of(axis, self.sizes) for axis in axes] for name, axes in self.axes.items()}
        return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _groups(axis: Axis) -> list[str]:
    if isinstance(axis, Units):
        return [axis.group]
    children = axis.factors if isinstance(axis, Product) else axis.parts if isinstance(axis, Concat) else ()
    return [name for child in children for name in _groups(child)]


def chain(*widths: int) -> Sketch:
    """Convolutions with BatchNorm in a row, groups g0, g1, ..., then a classifier of 10."""
    sketch = Sketch()
    before: Axis = Fixed(3)
    for index, width in enumerate(widths):
        axis = sketch.units(f"g{index}", width)
        sketch.conv(f"conv{index}", axis, before)
        sketch.norm(f"bn{index}", axis)
        before = axis
    sketch.linear("fc", Fixed(10), before)
    return sketch


def residual() -> Sketch:
    """A stem and two blocks on one residual stream."""
    sketch = Sketch()
    stream = sketch.units("stream", 16)
    sketch.conv("stem", stream, Fixed(3))
    sketch.norm("stem_bn", stream)
    for index in range(2):
        inner = sketch.units(f"inner{index}", 24)
        sketch.conv(f"block{index}.conv1", inner, stream)
        sketch.norm(f"block{index}.bn1", inner)
        sketch.conv(f"block{index}.conv2", stream, inner)
        sketch.norm(f"block{index}.bn2", stream)
    sketch.linear("fc", Fixed(10), stream)
    return sketch


def attention(heads: int = 4, head_dim: int = 6, frozen_heads: bool = True) -> Sketch:
    """q, k, v stacked as 3 x heads x d, a projection, and LayerNorm: no BatchNorm anywhere."""
    sketch = Sketch()
    width = sketch.units("width", 20)
    head = sketch.units("qkv:heads", heads, "head counts are kept" if frozen_heads else None, "heads")
    dims = sketch.units("head_dim", head_dim, kind="head dimension")
    sketch.norm("norm", width, batch=False)
    sketch.linear("qkv", Product((Fixed(3), head, dims)), width, tokens=9)
    sketch.linear("proj", width, Product((head, dims)), tokens=9)
    return sketch


def concatenation() -> Sketch:
    """Two branches, one of them followed by a depthwise convolution, concatenated with raw inputs between."""
    sketch = Sketch()
    a, b = sketch.units("a", 8), sketch.units("b", 12)
    sketch.conv("conv_a", a, Fixed(3))
    sketch.conv("conv_b", b, Fixed(3))
    sketch.depthwise("depthwise", b)
    sketch.norm("bn_b", b)
    sketch.conv("join", Fixed(7), Concat((a, Fixed(3), b, a)), kernel=1)
    return sketch
