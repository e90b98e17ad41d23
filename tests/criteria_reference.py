"""Every criterion that reads data, as its formula says: float64, one sample at a time, explicit matrices.

Of the tool it takes the slots of a group and which unit owns which index of a dimension, nothing else.
Letters: ``n`` units, ``c`` samples, ``N`` all parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from criteria_networks import CLASSES, Case
from numpy.typing import NDArray
from sklearn.linear_model import lars_path
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel

from prunecli.coupling.axes import owners
from prunecli.coupling.space import Group, Slot

Array = NDArray[np.float64]
Loss = Callable[[Tensor, int], Tensor]
EPS32 = 2.0**-23


def cross_entropy(temperature: float = 1.0) -> Loss:
    """Of one sample's outputs ``[1, classes]`` and its label."""

    def loss(outputs: Tensor, label: int) -> Tensor:
        logits = outputs[0] / temperature
        return logits.exp().sum().log() - logits[label]

    return loss


def squared_error(outputs: Tensor, label: int) -> Tensor:
    """Against the label as ones and zeros."""
    wanted = F.one_hot(torch.tensor(label), CLASSES).to(outputs)
    return (outputs[0] - wanted).square().mean()


class Reference:
    """Scores of a case. Everything is worked out anew from the network, and remembered."""

    def __init__(self, case: Case, loss: Loss | None = None) -> None:
        self.case = case
        self.loss = loss or cross_entropy()
        self.parameters = dict(case.module.named_parameters())

    @cached_property
    def sample_gradients(self) -> list[dict[str, Tensor]]:
        found = []
        for x, label in zip(self.case.inputs, self.case.labels, strict=True):
            loss = self.loss(self.case.module(x), label)
            gradients = torch.autograd.grad(loss, list(self.parameters.values()))
            found.append(dict(zip(self.parameters, gradients, strict=True)))
        return found

    @cached_property
    def gradient(self) -> dict[str, Tensor]:
        return {
            name: torch.stack([g[name] for g in self.sample_gradients]).mean(0) for name in self.parameters
        }

    @cached_property
    def curvature(self) -> dict[str, Tensor]:
        """The Hessian of the mean loss, ``[N, N]``, times its gradient."""
        gradient = torch.cat([self.gradient[name].flatten() for name in self.parameters])
        product = self.hessian() @ gradient
        pieces = product.split([p.numel() for p in self.parameters.values()])
        return {
            name: piece.view_as(parameter)
            for (name, parameter), piece in zip(self.parameters.items(), pieces, strict=True)
        }

    def mean_loss(self, flat: Tensor) -> Tensor:
        """As a function of all parameters end to end."""
        pieces = flat.split([p.numel() for p in self.parameters.values()])
        tensors = {
            name: piece.view_as(parameter)
            for (name, parameter), piece in zip(self.parameters.items(), pieces, strict=True)
        }
        outputs = functional_call(self.case.module, tensors, (torch.cat(self.case.inputs),))
        losses = [self.loss(row[None], label) for row, label in zip(outputs, self.case.labels, strict=True)]
        return torch.stack(losses).mean()

    def flat(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.parameters.values()])

    def hessian(self) -> Tensor:
        """Row by row."""
        # The fused attention has no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            flat = self.flat().requires_grad_()
            (gradient,) = torch.autograd.grad(self.mean_loss(flat), flat, create_graph=True)
            rows = [torch.autograd.grad(entry, flat, retain_graph=True)[0] for entry in gradient]
        return torch.stack(rows)

    def per_unit(self, values: Tensor, slot: Slot, group: Group) -> Array:
        """``values`` (of the parameter's shape) added up over what each unit owns: ``[n]``."""
        totals = np.zeros(group.size)
        for index, unit in enumerate(self.owner(slot, group)):
            if unit >= 0:
                totals[unit] += float(values.select(slot.dim, index).sum())
        return totals

    def owner(self, slot: Slot, group: Group) -> list[int]:
        axis = self.case.space.axes[slot.parameter][slot.dim]
        return owners(axis, self.case.space.sizes, group.name).tolist()

    def weight(self, slot: Slot) -> Tensor:
        return self.parameters[slot.parameter].detach()

    def consumers(self, group: Group) -> list[Slot]:
        return [slot for slot in group.slots if slot.role == "in"]

    def module_of(self, slot: Slot) -> nn.Module:
        return self.case.module.get_submodule(slot.parameter.rpartition(".")[0])

    @cached_property
    def given(self) -> dict[nn.Module, list[Tensor]]:
        """What every weighted module is given, sample by sample."""
        found: dict[nn.Module, list[Tensor]] = {}
        handles = [
            module.register_forward_pre_hook(lambda m, args: found.setdefault(m, []).append(args[0]))
            for module in self.case.module.modules()
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        ]
        with torch.no_grad():
            for x in self.case.inputs:
                self.case.module(x)
        for handle in handles:
            handle.remove()
        return found

    def features(self, slot: Slot, group: Group) -> list[list[Tensor]]:
        """For every sample and unit, what the consumer is given of the unit: ``[features, ...]``."""
        places = self.places(slot, group)
        return [
            [_features_first(self.module_of(slot), x)[own] for own in places]
            for x in self.given[self.module_of(slot)]
        ]

    def places(self, slot: Slot, group: Group) -> list[list[int]]:
        """The features of the consumer's input that each unit owns."""
        module, owner = self.module_of(slot), self.owner(slot, group)
        if isinstance(module, nn.Conv2d):
            # Every group of a convolution reads its own input channels with the same columns.
            owner = owner * module.groups
        return [[place for place, unit in enumerate(owner) if unit == wanted] for wanted in range(group.size)]

    def contributions(self, group: Group) -> Array:
        """What each unit adds to all outputs of its consumers, sample by sample: ``[..., n]``."""
        blocks = []
        for slot in self.consumers(group):
            module = self.module_of(slot)
            for x in self.given[module]:
                columns = []
                for own in self.places(slot, group):
                    alone = torch.zeros_like(x)
                    dim = _feature_dim(module, x)
                    index = torch.tensor(own)
                    alone.index_copy_(dim, index, x.index_select(dim, index))
                    columns.append(_without_bias(module, alone).flatten())
                blocks.append(torch.stack(columns, 1).numpy())
        return np.concatenate(blocks)


def _feature_dim(module: nn.Module, x: Tensor) -> int:
    return x.dim() - 1 if isinstance(module, nn.Linear) else 1


def _features_first(module: nn.Module, x: Tensor) -> Tensor:
    return x[0].movedim(_feature_dim(module, x) - 1, 0)


def _without_bias(module: nn.Module, x: Tensor) -> Tensor:
    """The operation, by patches: every output position sees a window of (dilated) inputs."""
    weight = module.weight.detach()
    assert isinstance(weight, Tensor)
    if isinstance(module, nn.Linear):
        return x @ weight.T
    if isinstance(module, nn.ConvTranspose2d):
        return _transposed(module, x[0], weight)
    assert isinstance(module, nn.Conv2d)
    patches = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)[0]
    rows = weight.flatten(1).chunk(module.groups)
    return torch.cat([w @ p for w, p in zip(rows, patches.chunk(module.groups), strict=True)])


def _transposed(module: nn.ConvTranspose2d, x: Tensor, weight: Tensor) -> Tensor:
    """Every input position throws its kernel onto the output."""
    (high, wide), (pad, _), (more, _) = module.kernel_size, module.padding, module.output_padding
    stride, (rows, columns) = module.stride[0], x.shape[1:]
    pieces = []
    for part, w in zip(x.chunk(module.groups), weight.chunk(module.groups), strict=True):
        canvas = x.new_zeros(
            w.shape[1], (rows - 1) * stride + high + more, (columns - 1) * stride + wide + more
        )
        for i in range(rows):
            for j in range(columns):
                thrown = torch.einsum("c,cohw->ohw", part[:, i, j], w)
                canvas[:, i * stride : i * stride + high, j * stride : j * stride + wide] += thrown
        pieces.append(canvas[:, pad : canvas.shape[1] - pad, pad : canvas.shape[2] - pad])
    return torch.cat(pieces)


# Every criterion: from a reference, a group and the reduction over slots to scores, or None.
Score = Callable[[Reference, Group, str], "Array | None"]


def reduced(parts: Sequence[Array], slots: Sequence[Slot], rule: str) -> Array:
    stacked = np.stack(parts)
    if rule == "first":
        outs = [index for index, slot in enumerate(slots) if slot.role == "out"]
        return stacked[outs[0] if outs else 0]
    return {"sum": np.sum, "mean": np.mean, "max": np.max}[rule](stacked, axis=0)


def products(reference: Reference, slot: Slot, group: Group) -> Array:
    """Sum of w * gradient, per unit and sample: ``[n, c]``."""
    weight = reference.weight(slot)
    columns = [
        reference.per_unit(weight * gradients[slot.parameter], slot, group)
        for gradients in reference.sample_gradients
    ]
    return np.stack(columns, 1)


def taylor(reference: Reference, group: Group, rule: str) -> Array:
    parts = [products(reference, slot, group) for slot in group.slots]
    return (reduced(parts, group.slots, rule) ** 2).mean(1)


def fisher(reference: Reference, group: Group, rule: str) -> Array | None:
    slots = reference.consumers(group)
    if not slots:
        return None
    parts = [activation_products(reference, slot, group) for slot in slots]
    return 0.5 * (reduced(parts, slots, rule) ** 2).mean(1)


def activation_products(reference: Reference, slot: Slot, group: Group) -> Array:
    """Sum over positions of x * dL/dx, the gradient through this consumer alone: ``[n, c]``."""
    module = reference.module_of(slot)
    caught: list[Tensor] = []

    def fork(_: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        # The consumer gets a copy of its own: the gradient of that copy is what flows through it alone.
        caught.append(args[0].clone())
        return (caught[-1],)

    columns = []
    handle = module.register_forward_pre_hook(fork)
    for x, label in zip(reference.case.inputs, reference.case.labels, strict=True):
        caught.clear()
        loss = reference.loss(reference.case.module(x), label)
        gradients = torch.autograd.grad(loss, caught)
        calls = [
            _features_first(module, given.detach() * g) for given, g in zip(caught, gradients, strict=True)
        ]
        places = reference.places(slot, group)
        columns.append([sum(float(values[own].sum()) for values in calls) for own in places])
    handle.remove()
    return np.array(columns).T


def _of_weights(statistic: Callable[[Reference, Slot], Tensor], reference: Reference, group: Group, rule: str,
                roles: Sequence[str] = ("out", "in", "norm", "bias", "other")) -> Array:  # fmt: skip
    slots = [slot for slot in group.slots if slot.role in roles]
    parts = [reference.per_unit(statistic(reference, slot), slot, group) for slot in slots]
    return reduced(parts, slots, rule)


def loss_preservation(reference: Reference, group: Group, rule: str) -> Array:
    def statistic(r: Reference, slot: Slot) -> Tensor:
        return r.weight(slot) * r.gradient[slot.parameter]

    return np.abs(_of_weights(statistic, reference, group, rule))


def loss_magnitude(reference: Reference, group: Group, rule: str) -> Array:
    def statistic(r: Reference, slot: Slot) -> Tensor:
        return r.weight(slot).abs() * (r.weight(slot) * r.gradient[slot.parameter]).abs()

    return _of_weights(statistic, reference, group, rule)


def grasp(reference: Reference, group: Group, rule: str) -> Array:
    def statistic(r: Reference, slot: Slot) -> Tensor:
        return r.weight(slot) * r.curvature[slot.parameter]

    return _of_weights(statistic, reference, group, rule)


def grasp_abs(reference: Reference, group: Group, rule: str) -> Array:
    return np.abs(grasp(reference, group, rule))


def _damage(reference: Reference, slot: Slot) -> Tensor:
    squares = torch.stack([g[slot.parameter] ** 2 for g in reference.sample_gradients])
    return reference.weight(slot) ** 2 * squares.mean(0)


def obd_c(reference: Reference, group: Group, rule: str) -> Array:
    return 0.5 * _of_weights(_damage, reference, group, rule, ("out",))


def obd_hessian(reference: Reference, group: Group, rule: str) -> Array:
    return 0.5 * _of_weights(_damage, reference, group, rule)


def activation(reference: Reference, group: Group, rule: str) -> Array | None:
    def one(slot: Slot) -> Array:
        samples = reference.features(slot, group)
        return np.array([
            np.mean([float(units[unit].abs().mean()) for units in samples]) for unit in range(group.size)
        ])  # fmt: skip

    return _of_consumers(one, reference, group, rule)


def wanda(reference: Reference, group: Group, rule: str) -> Array | None:
    def one(slot: Slot) -> Array:
        samples = reference.features(slot, group)
        squares = [sum(float((units[unit] ** 2).sum()) for units in samples) for unit in range(group.size)]
        return np.sqrt(squares) * reference.per_unit(reference.weight(slot).abs(), slot, group)

    return _of_consumers(one, reference, group, rule)


def hrank(reference: Reference, group: Group, rule: str) -> Array | None:
    def one(slot: Slot) -> Array | None:
        samples = reference.features(slot, group)
        if samples[0][0].dim() != 3:
            return None
        return np.array([
            np.mean([rank(each.numpy()) for units in samples for each in units[unit]])
            for unit in range(group.size)
        ])  # fmt: skip

    return _of_consumers(one, reference, group, rule)


def rank(values: Array) -> int:
    singular = np.linalg.svd(values, compute_uv=False)
    return int((singular > max(values.shape) * EPS32 * singular[0]).sum())


def _of_consumers(
    one: Callable[[Slot], Array | None], reference: Reference, group: Group, rule: str
) -> Array | None:
    pairs = [(slot, values) for slot in reference.consumers(group) if (values := one(slot)) is not None]
    return reduced([v for _, v in pairs], [s for s, _ in pairs], rule) if pairs else None


def cp(reference: Reference, group: Group, rule: str) -> Array | None:
    return entries(reference.contributions(group)) if reference.consumers(group) else None


def entries(columns: Array) -> Array:
    """The lambda at which each column first enters the LASSO path towards the sum of all of them."""
    lambdas, _, path = lars_path(columns, columns.sum(1), method="lasso")
    entered = np.zeros(columns.shape[1])
    for unit, coefficients in enumerate(path):
        (steps,) = coefficients.nonzero()
        if len(steps):
            # It is still 0 at the knot where it enters. lars_path divides by the number of rows.
            entered[unit] = lambdas[steps[0] - 1] * len(columns)
    return entered


def thinet(reference: Reference, group: Group, rule: str) -> Array | None:
    return thrown(reference.contributions(group)) if reference.consumers(group) else None


def thrown(columns: Array) -> Array:
    """When each column is thrown away: always the one with which the sum of the thrown stays smallest."""
    positions = np.zeros(columns.shape[1])
    total, left = np.zeros(len(columns)), list(range(columns.shape[1]))
    for position in range(columns.shape[1]):
        norms = [float(((total + columns[:, k]) ** 2).sum()) for k in left]
        chosen = left.pop(int(np.argmin(norms)))
        positions[chosen] = position
        total = total + columns[:, chosen]
    return positions


REFERENCES: dict[str, tuple[Score, str]] = {
    "taylor": (taylor, "sum"),
    "fisher": (fisher, "mean"),
    "loss-preservation": (loss_preservation, "sum"),
    "loss-magnitude": (loss_magnitude, "sum"),
    "grasp": (grasp, "sum"),
    "grasp-abs": (grasp_abs, "sum"),
    "obd-c": (obd_c, "sum"),
    "obd-hessian": (obd_hessian, "sum"),
    "activation": (activation, "mean"),
    "wanda": (wanda, "mean"),
    "hrank": (hrank, "mean"),
    "cp": (cp, "sum"),
    "thinet": (thinet, "sum"),
}
"""By name, with the reduction over slots that is the default."""


def scores_of(reference: Reference, criterion: str, rule: str | None = None) -> dict[str, Array]:
    """Of every group that can be scored."""
    score, default = REFERENCES[criterion]
    found = {group.name: score(reference, group, rule or default) for group in reference.case.groups}
    return {name: values for name, values in found.items() if values is not None}
