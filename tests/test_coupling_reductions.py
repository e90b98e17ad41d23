"""Rules of norms, reductions and pooling on networks with hand-worked groups."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, error, example, free, reason, slots, space_of


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
