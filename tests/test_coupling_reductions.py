"""Rules of norms, reductions and pooling on networks with hand-worked groups."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations
from tracing import (
    Net,
    check,
    check_macs,
    error,
    example,
    free,
    group_of,
    half,
    reason,
    slots,
    space_of,
    subject,
)  # fmt: skip


def test_batch_norm_holds_statistics_but_scores_none_of_them() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    with torch.no_grad():
        net[1].running_mean += 1.0
        net[1].running_var *= 3.0
        net[1].bias += 0.5
    space = check(net, 2, 3, 4, 4)
    group = space.by_name["0"]
    assert {(s.parameter, s.role) for s in group.slots if s.parameter.startswith("1.")} == {
        ("1.weight", "norm"),
        ("1.bias", "norm"),
    }
    assert space.axes["1.running_mean"] == space.axes["1.weight"]
    # Two multiply-adds per element, as fvcore counts a batch norm with gamma and beta.
    elements = 2 * 4 * 4
    assert space.macs.value(space.sizes) == elements * (3 * 8 + 2 * 8 + 8 * 2)


def test_layer_norm_changes_values_and_still_runs() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    space = check(net, 2, 5, 4)
    assert space.by_name["0"].value_changing == "a LayerNorm averages over it"
    assert ("1.weight", 0) in slots(space.by_name["0"])
    assert space.patches and error(net, space, example(2, 5, 4), keep={"0": [0, 1]}) > 1e-3


def test_group_norm_keeps_its_number_of_groups() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1))
    space = check(net, 2, 3, 4, 4)
    kinds = {
        group.size: (group.kind, group.frozen is not None, group.value_changing) for group in space.groups
    }
    assert kinds[2][:2] == ("normalisation groups", True)
    assert kinds[4] == ("channels", False, "a GroupNorm averages over it")


@pytest.mark.parametrize(
    ("reduce", "mark"),
    [
        (lambda x: x.mean(1, keepdim=True), "a mean runs over it"),
        (lambda x: x.amax(1, keepdim=True), "a maximum runs over it"),
        (lambda x: x.var(1, keepdim=True), "a variance runs over it"),
        (lambda x: x.std(1, keepdim=True), "a standard deviation runs over it"),
        (lambda x: x.logsumexp(1, keepdim=True), "a log-sum-exp runs over it"),
        (lambda x: x.softmax(1), "a softmax runs over it"),
        (lambda x: x.sum(1, keepdim=True), "a sum runs over it"),
        (lambda x: x.norm(dim=1, keepdim=True), "a norm runs over it"),
    ],
)
def test_reductions(reduce: object, mark: str | None) -> None:
    """What is reduced over loses more than the unit: even a sum, where a silent unit is not zero."""
    net = Net(lambda m, x: m.b(m.a(x) * reduce(m.a(x))), a=nn.Linear(4, 6), b=nn.Linear(6, 3))  # type: ignore[operator]
    space = check(net, 2, 4)
    assert free(space) == {"a": 6}
    assert space.by_name["a"].value_changing == mark


@pytest.mark.parametrize("name", ["argmax", "prod", "all"])
def test_reductions_that_tell_indices_apart_pin(name: str) -> None:
    net = Net(
        lambda m, x: m.b(m.a(x) * getattr(m.a(x) if name != "all" else m.a(x) > 0, name)(1, keepdim=True)),
        a=nn.Linear(4, 6), b=nn.Linear(6, 3),
    )  # fmt: skip
    space = space_of(net, 2, 4)
    assert not free(space)
    assert reason(space, "a.weight", 0) == f"aten.{name} runs over it"


@pytest.mark.parametrize("change", [lambda x: x.flip(1), lambda x: x.roll(1, 1), lambda x: x.cumsum(1)])
def test_order_of_indices(change: object) -> None:
    net = Net(lambda m, x: m.b(change(m.a(x))), a=nn.Linear(4, 6), b=nn.Linear(6, 3))  # type: ignore[operator]
    space = space_of(net, 2, 4)
    assert not free(space)
    assert "depends on the order of its indices" in reason(space, "a.weight", 0)


def test_order_along_another_axis_leaves_this_one_free() -> None:
    net = Net(lambda m, x: m.b(m.a(x).flip(1).roll(2, 1)), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    assert free(check(net, 2, 5, 4)) == {"a": 6}


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(2),
        nn.AdaptiveMaxPool2d(2),
        nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1),
        nn.ZeroPad2d(1), nn.Upsample(size=5, mode="bicubic"),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_pooling_and_resizing_pass_channels(layer: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), layer, nn.Conv2d(6, 2, 1)).eval()
    space = check(net, 2, 3, 4, 4)
    assert free(space) == {"0": 6}
    assert not space.unknown_operators


def test_a_standardised_weight_averages_over_its_inputs() -> None:
    """Statistics of the weight itself: an input that goes changes what is left; an output does not."""

    def forward(m: Net, x: Tensor) -> Tensor:
        flat = m.b.weight.reshape(1, m.b.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True).reshape_as(m.b.weight)
        return m.c(F.conv2d(m.a(x), weight))

    net = Net(forward, a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 6, 3), c=nn.Conv2d(6, 2, 1))
    space = check(net, 2, 3, 6, 6)
    assert space.by_name["a"].value_changing == "batch statistics average over it"
    assert space.by_name["b"].value_changing is None


REPARAMETRISED = {
    "weight norm": parametrizations.weight_norm,
    "weight norm by hooks": nn.utils.weight_norm,
    "weight norm of everything": lambda layer: parametrizations.weight_norm(layer, dim=None),
    "spectral norm": parametrizations.spectral_norm,
    "spectral norm by hooks": nn.utils.spectral_norm,
}


def reparametrised(name: str, layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return REPARAMETRISED[name](layer)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", REPARAMETRISED)
@pytest.mark.parametrize("kind", ["linear", "convolution", "transposed"])
def test_weights_made_of_others(name: str, kind: str) -> None:
    """The weight is made anew in every forward, of parameters that are cut in its place."""
    layers, shape = {
        "linear": ((nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 3)), (2, 4)),
        "convolution": ((nn.Conv1d(4, 8, 1), nn.Conv1d(8, 6, 3), nn.Conv1d(6, 3, 1)), (2, 4, 5)),
        "transposed": ((nn.Conv1d(4, 8, 1), nn.ConvTranspose1d(8, 6, 3), nn.Conv1d(6, 3, 1)), (2, 4, 5)),
    }[kind]
    net = nn.Sequential(layers[0], nn.ReLU(), reparametrised(name, layers[1]), nn.ReLU(), layers[2]).eval()
    space = check(net, *shape)
    assert sorted(free(space).values()) == [6, 8]
    assert not space.unknown_operators
    check_macs(net, space, example(*shape))
    # What is divided by a length over units that go is not what it was.
    assert any(group.value_changing for group in space.groups)
    case = subject(net, space, example(*shape))
    if "everything" not in name:
        assert case.error(half(space)) < 1e-9, "but it is what it would be with their parameters at zero"


def test_a_direction_has_its_length_elsewhere() -> None:
    """The rows of a weight-normed layer are scored and silenced by their lengths alone; all are cut."""
    net = nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), parametrizations.weight_norm(nn.Linear(8, 6)), nn.Linear(6, 3)
    )
    space = check(net, 2, 4)
    direction, length = ("2.parametrizations.weight.original1", "2.parametrizations.weight.original0")
    group = group_of(space, length, 0)
    assert (direction, 0) not in slots(group)
    assert space.axes[direction][0] == space.axes[length][0]
    assert next(slot.role for slot in group.slots if slot.parameter == length) == "out"


def test_an_orthogonal_weight_keeps_its_parameters() -> None:
    net = nn.Sequential(
        nn.Linear(4, 8),
        nn.ReLU(),
        parametrizations.orthogonal(nn.Linear(8, 6)),
        nn.ReLU(),
        nn.Linear(6, 5),
        nn.Linear(5, 2),
    )
    space = check(net, 2, 4)
    assert "4" in free(space)
    parameter = "2.parametrizations.weight.original"
    assert {reason(space, parameter, dim) for dim in (0, 1)} == {
        "aten.tril depends on the order of its indices"
    }
    assert ("2.bias", 0) not in {slot for group in space.groups for slot in slots(group)}


class Standardised(nn.Conv2d):
    """A convolution of weights with mean zero and variance one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.var((1, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        return self._conv_forward(x, weight, self.bias)


def test_weight_standardisation_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), Standardised(8, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 2, 1))
    space = check(net, 2, 3, 5, 5)
    assert set(free(space).values()) == {4, 3}
    assert group_of(space, "1.weight", 1).value_changing == "a mean runs over it"
    assert space.by_name["1"].value_changing is None


@pytest.mark.parametrize("count", [2, 3])
def test_unpooling_and_sampling_pass_channels(count: int) -> None:
    conv = (nn.Conv2d, nn.Conv3d)[count - 2]
    pool, unpool = ((F.max_pool2d, F.max_unpool2d), (F.max_pool3d, F.max_unpool3d))[count - 2]

    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        pooled, places = pool(m.a(x), 2, return_indices=True)
        h = unpool(pooled, places, 2)
        grid = F.affine_grid(
            m.turn.expand(x.shape[0], -1, -1), [*x.shape[:1], 1, *x.shape[2:]], align_corners=False
        )
        return m.b(F.grid_sample(h, grid, align_corners=False))

    net = Net(
        forward, a=conv(3, 6, 1), b=conv(6, 2, 1), turn=nn.Parameter(torch.eye(count, count + 1)[None] + 0.1)
    )
    assert free(check(net, 2, 3, *(4,) * count)) == {"a": 6}
