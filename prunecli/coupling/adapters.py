"""The only place that names module classes: attributes of torch's own layers that merely describe their
weights.

``forward`` does not read ``Linear.in_features``; a layer that says 512 while its weight has 256 columns
would still be a lie to whoever prints or exports it. Each entry says which size an attribute repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prunecli.coupling.cost import Polynomial, exact_quotient
from prunecli.coupling.space import Patch


@dataclass(frozen=True)
class LayerSizes:
    """The sizes of one layer's tensors, and of those of its attributes that forward names, as polynomials."""

    module: nn.Module
    path: str
    parameters: Mapping[str, Sequence[Polynomial]]
    patched: Mapping[tuple[str, str], Polynomial]

    def of(self, *names: str, dim: int) -> Polynomial | None:
        """Size of dimension ``dim`` of the first tensor in ``names`` that the layer has."""
        prefix = f"{self.path}." if self.path else ""
        found = next(
            (self.parameters[prefix + name] for name in names if prefix + name in self.parameters), None
        )
        return None if found is None else found[dim]

    def attribute(self, name: str) -> Polynomial:
        """The size an attribute follows, or its present value."""
        present = Polynomial.constant(int(getattr(self.module, name)))
        return self.patched.get((self.path, name), present)

    def of_all_groups(self, dim: int) -> Polynomial | None:
        """A convolution weight's per-group dimension, times the number of groups."""
        size = self.of("weight", dim=dim)
        return None if size is None else size * self.attribute("groups")

    def hidden_size(self) -> Polynomial | None:
        """Of a recurrent layer: what is projected, or what is fed back."""
        projected = self.of("weight_hr_l0", dim=1)
        return self.of("weight_hh_l0", dim=1) if projected is None else projected

    def head_size(self) -> Polynomial | None:
        inner = self.of("out_proj.weight", dim=1)
        return None if inner is None else exact_quotient(inner, self.attribute("num_heads"))


Described: TypeAlias = tuple[str, Callable[[LayerSizes], Polynomial | None]]

DESCRIPTIONS: dict[type[nn.Module], tuple[Described, ...]] = {
    nn.Linear: (
        ("out_features", lambda layer: layer.of("weight", dim=0)),
        ("in_features", lambda layer: layer.of("weight", dim=1)),
    ),
    _ConvTransposeNd: (
        ("in_channels", lambda layer: layer.of("weight", dim=0)),
        ("out_channels", lambda layer: layer.of_all_groups(1)),
    ),
    _ConvNd: (
        ("out_channels", lambda layer: layer.of("weight", dim=0)),
        ("in_channels", lambda layer: layer.of_all_groups(1)),
    ),
    _NormBase: (("num_features", lambda layer: layer.of("weight", "running_mean", dim=0)),),
    nn.GroupNorm: (("num_channels", lambda layer: layer.of("weight", dim=0)),),
    nn.Embedding: (("embedding_dim", lambda layer: layer.of("weight", dim=1)),),
    nn.EmbeddingBag: (("embedding_dim", lambda layer: layer.of("weight", dim=1)),),
    nn.Bilinear: (
        ("out_features", lambda layer: layer.of("weight", dim=0)),
        ("in1_features", lambda layer: layer.of("weight", dim=1)),
        ("in2_features", lambda layer: layer.of("weight", dim=2)),
    ),
    nn.RNNBase: (
        ("input_size", lambda layer: layer.of("weight_ih_l0", dim=1)),
        ("hidden_size", LayerSizes.hidden_size),
        ("proj_size", lambda layer: layer.of("weight_hr_l0", dim=0)),
    ),
    nn.RNNCellBase: (
        ("input_size", lambda layer: layer.of("weight_ih", dim=1)),
        ("hidden_size", lambda layer: layer.of("weight_hh", dim=1)),
    ),
    nn.PReLU: (("num_parameters", lambda layer: layer.of("weight", dim=0)),),
    nn.MultiheadAttention: (
        ("kdim", lambda layer: layer.of("k_proj_weight", "in_proj_weight", dim=1)),
        ("vdim", lambda layer: layer.of("v_proj_weight", "in_proj_weight", dim=1)),
        ("head_dim", LayerSizes.head_size),
    ),
}


def register_description(kind: type[nn.Module], *described: Described) -> None:
    """State which attributes of a module class repeat sizes of its parameters. Duplicates raise
    ``ValueError``.
    """
    if kind in DESCRIPTIONS:
        raise ValueError(f"{kind.__name__} is already described")
    DESCRIPTIONS[kind] = described


def descriptive_patches(
    module: nn.Module, parameters: Mapping[str, Sequence[Polynomial]], patches: Sequence[Patch]
) -> Iterator[Patch]:
    """A patch for every describing attribute whose size can change, beyond the ``patches`` forward needs."""
    patched = {(patch.module, patch.attribute): patch.value for patch in patches if patch.index is None}
    for path, child in module.named_modules():
        described = next((entry for kind, entry in DESCRIPTIONS.items() if isinstance(child, kind)), ())
        layer = LayerSizes(child, path, parameters, patched)
        for attribute, formula in described:
            if (path, attribute) in patched or type(getattr(child, attribute, None)) is not int:
                continue
            value = formula(layer)
            if value is not None and not value.is_constant:
                yield Patch(path, attribute, None, value)
