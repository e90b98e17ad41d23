"""Operator rules on small networks with hand-worked groups, each held against the masked oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, error, example, free, reason, slots, space_of

from prunecli.coupling import trace
from prunecli.coupling.operators import _FORGOTTEN, RULES, register_operator, torch_tag_says_pointwise


def test_a_chain_of_linear_layers() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 3))
    space = check(net, 2, 4)
    assert free(space) == {"0": 6, "2": 8}
    assert slots(space.by_name["0"]) == {("0.weight", 0), ("0.bias", 0), ("2.weight", 1)}
    assert {slot.role for slot in space.by_name["0"].slots} == {"out", "bias", "in"}
    assert reason(space, "0.weight", 1) == "the network's input"
    assert reason(space, "4.weight", 0) == "the network's output"
    assert space.macs.value(space.sizes) == 2 * (4 * 6 + 6 * 8 + 8 * 3)
    assert space.macs.value({"0": 3, "2": 4}) == 2 * (4 * 3 + 3 * 4 + 4 * 3)
    assert space.params.value(space.sizes) == 4 * 6 + 6 + 6 * 8 + 8 * 3 + 3


def test_a_residual_stream_is_one_group() -> None:
    net = Net(
        lambda m, x: m.out(F.relu(m.stem(x) + m.b(F.relu(m.a(m.stem(x)))))),
        stem=nn.Conv2d(3, 8, 3, padding=1), a=nn.Conv2d(8, 6, 1), b=nn.Conv2d(6, 8, 3, padding=1),
        out=nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 5, 5)
    assert free(space) == {"stem": 8, "a": 6}
    assert slots(space.by_name["stem"]) >= {
        ("stem.weight", 0),
        ("a.weight", 1),
        ("b.weight", 0),
        ("out.weight", 1),
    }


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


def test_depthwise_convolution_has_as_many_groups_as_channels() -> None:
    net = Net(
        lambda m, x: m.out(m.depthwise(m.stem(x))),
        stem=nn.Conv2d(3, 8, 1), depthwise=nn.Conv2d(8, 8, 3, groups=8), out=nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 5, 5)
    assert free(space) == {"stem": 8}
    assert ("depthwise.weight", 0) in slots(space.by_name["stem"])
    assert space.by_name["stem"].kind == "channels"
    assert any((p.module, p.attribute) == ("depthwise", "groups") for p in space.patches)


def test_depthwise_convolution_with_a_multiplier() -> None:
    """Channel c makes outputs 3c, 3c + 1, 3c + 2; the three are groups of their own."""
    net = Net(
        lambda m, x: m.out(m.depthwise(m.stem(x))),
        stem=nn.Conv2d(3, 4, 1), depthwise=nn.Conv2d(4, 12, 3, groups=4), out=nn.Conv2d(12, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 5, 5)
    assert sorted(free(space).values()) == [3, 4]
    assert ("depthwise.weight", 0) in slots(space.by_name["stem"])


def test_grouped_convolution_keeps_its_number_of_groups() -> None:
    """6 = 3 x 2 inputs, 12 = 3 x 4 outputs: every group of the three loses the same ones."""
    net = Net(
        lambda m, x: m.out(m.grouped(m.stem(x))),
        stem=nn.Conv2d(3, 6, 1), grouped=nn.Conv2d(6, 12, 3, groups=3), out=nn.Conv2d(12, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 5, 5)
    assert sorted(free(space).values()) == [2, 4]
    held = [group for group in space.groups if group.frozen is not None]
    assert [(group.size, group.kind) for group in held] == [(3, "convolution groups")]
    assert "the number of groups of the convolution grouped" in (held[0].frozen or "")


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(groups: int) -> None:
    net = Net(
        lambda m, x: m.out(m.up(m.stem(x))),
        stem=nn.Conv2d(3, 8, 1), up=nn.ConvTranspose2d(8, 6, 2, stride=2, groups=groups),
        out=nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 3, 3)
    assert sorted(free(space).values()) == ([6, 8] if groups == 1 else [3, 4])


def test_one_dimensional_and_three_dimensional_convolution() -> None:
    one = nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 1))
    assert free(check(one, 2, 3, 6)) == {"0": 8}
    three = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU(), nn.Conv3d(4, 2, 1))
    assert free(check(three, 1, 3, 2, 2, 2)) == {"0": 4}


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


IN_PLACE = ["relu_", "hardswish_", "silu_", "sigmoid_", "tanh_", "clamp_", "mul_", "add_"]


@pytest.mark.parametrize("name", IN_PLACE)
def test_pointwise_in_place(name: str) -> None:
    """Some in-place variants carry no tag in torch's table."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x)
        if name in ("mul_", "add_"):
            getattr(h, name)(2.0)
        elif name == "clamp_":
            h.clamp_(min=-1.0)
        else:
            getattr(F, name.rstrip("_"))(h, inplace=True) if name in ("hardswish_", "silu_") else getattr(
                h, name
            )()
        return m.b(h)

    net = Net(forward, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1))
    space = check(net, 2, 3, 4, 4)
    assert free(space) == {"a": 6}
    assert not space.unknown_operators


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU(), nn.ReLU6(inplace=True), nn.Hardswish(inplace=True), nn.SiLU(), nn.GELU(),
        nn.Mish(), nn.ELU(),
        nn.Hardtanh(), nn.Hardsigmoid(), nn.LeakyReLU(0.1), nn.Softplus(), nn.LogSigmoid(),
        nn.SELU(), nn.CELU(),
        nn.Softsign(), nn.Tanhshrink(), nn.Threshold(0.1, 0.0), nn.PReLU(), nn.PReLU(6), nn.Dropout(0.5),
        nn.Dropout2d(0.5), nn.Identity(),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_activations_pass(layer: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), layer, nn.Conv2d(6, 2, 1)).eval()
    space = check(net, 2, 3, 4, 4)
    assert free(space)["0"] == 6
    assert not space.unknown_operators


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


def test_broadcasting_aligns_from_the_right() -> None:
    """Squeeze and excitation: the gate's channels are the stream's."""
    net = Net(
        lambda m, x: m.out(
            m.stem(x) * torch.sigmoid(m.up(F.relu(m.down(m.stem(x).mean((2, 3))))))[..., None, None]
        ),
        stem=nn.Conv2d(3, 8, 1), down=nn.Linear(8, 4), up=nn.Linear(4, 8), out=nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 4, 4)
    assert free(space) == {"stem": 8, "down": 4}
    assert {("up.weight", 0), ("up.bias", 0)} <= slots(space.by_name["stem"])


def test_layer_scale_is_a_slot_of_another_kind() -> None:
    net = Net(
        lambda m, x: m.b(m.gamma * m.a(x)),
        a=nn.Linear(4, 6),
        b=nn.Linear(6, 3),
        gamma=nn.Parameter(torch.rand(6)),
    )
    space = check(net, 2, 4)
    assert [(s.parameter, s.role) for s in space.by_name["a"].slots if s.parameter == "gamma"] == [
        ("gamma", "other")
    ]


def test_embedding_pins_its_entries_only() -> None:
    net = Net(lambda m, x: m.b(m.a(x)), a=nn.Embedding(10, 6), b=nn.Linear(6, 3))
    ids = torch.tensor([[1, 2, 9]])
    space = trace(net, (ids,))
    assert free(space) == {"a": 6}
    assert "chosen by number" in reason(space, "a.weight", 0)
    assert error(net, space, ids) < 1e-9


def test_matrix_products_without_a_layer() -> None:
    for function in (
        lambda m, x: m.b(m.a(x) @ m.weight),
        lambda m, x: m.b(torch.einsum("bnc,co->bno", m.a(x), m.weight)),
        lambda m, x: m.b(torch.bmm(m.a(x), m.weight.expand(x.shape[0], -1, -1))),
    ):
        net = Net(function, a=nn.Linear(4, 6), b=nn.Linear(8, 3), weight=nn.Parameter(torch.randn(6, 8)))
        space = check(net, 2, 5, 4)
        assert sorted(free(space).values()) == [6, 8]


def test_the_batch_of_a_product_counts_heads() -> None:
    """[heads, 4, 5] x [heads, 5, 6]: how often it is done is left whole."""
    net = Net(
        lambda m, x: m.b(torch.einsum("bc,hcd->bhd", m.a(x), m.weight).flatten(1)),
        a=nn.Linear(4, 6), weight=nn.Parameter(torch.randn(3, 6, 5)), b=nn.Linear(15, 2),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert sorted(free(space).values())[-2:] == [5, 6]


@torch.library.custom_op("prunecli_tests::mystery", mutates_args=())
def mystery(x: Tensor) -> Tensor:
    return x * 2


@mystery.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_an_unknown_operator_pins_what_it_touches_and_is_listed() -> None:
    net = Net(
        lambda m, x: m.c(F.relu(m.b(mystery(m.a(x))))),
        a=nn.Linear(4, 6), b=nn.Linear(6, 8), c=nn.Linear(8, 3),
    )  # fmt: skip
    space = space_of(net, 2, 4)
    assert free(space) == {"b": 8}
    assert len(space.unknown_operators) == 1
    assert "mystery" in space.unknown_operators[0]
    assert "has no rule" in reason(space, "a.weight", 0)
    assert "has no rule" in reason(space, "b.weight", 1)
    assert error(net, space, example(2, 4)) < 1e-9


def test_an_unknown_operator_on_fixed_axes_is_nobodys_business() -> None:
    net = Net(lambda m, x: m.a(mystery(x)), a=nn.Linear(4, 6))
    assert space_of(net, 2, 4).unknown_operators == ()


def test_rules_are_registered_once() -> None:
    with pytest.raises(ValueError, match=r"aten\.convolution already has a rule"):
        register_operator("aten.convolution")(lambda recording, call: None)


# ------------------------------------------------------------------------- torch's own table of operators


NAMES = {
    name.removeprefix("aten::").partition(".")[0]
    for name in torch._C._dispatch_get_all_op_names()
    if name.startswith("aten::")
}


def overloads() -> list[torch._ops.OpOverload]:
    packets = [getattr(torch.ops.aten, name, None) for name in sorted(NAMES)]
    found = [p for p in packets if isinstance(p, torch._ops.OpOverloadPacket)]
    return [getattr(packet, overload) for packet in found for overload in packet.overloads()]


def test_every_rule_names_an_operator_of_torch() -> None:
    """A misspelt rule would never match anything; two exist only in other numbers of dimensions."""
    gone = {name.removeprefix("aten.") for name in RULES if name.startswith("aten.")} - NAMES
    assert gone <= {"fractional_max_pool1d", "_adaptive_avg_pool1d"}


def test_the_list_of_untagged_pointwise_operators_is_needed_and_not_stale() -> None:
    """Walk torch's tag table: what the list adds must exist, and torch must have forgotten some of it."""
    assert not [name for name in _FORGOTTEN if name not in NAMES and f"{name}_" not in NAMES]
    untagged = {
        overload.overloadpacket.__name__
        for overload in overloads()
        if torch.Tag.pointwise not in overload.tags
        and overload.overloadpacket.__name__.rstrip("_") in _FORGOTTEN
    }
    assert {"hardswish", "hardswish_", "silu_", "clone", "detach", "copy_", "fill_", "zeros_like"} & untagged
    assert {"hardswish_", "clone", "detach", "copy_"} <= untagged


# These pin what they touch, which costs compression only.
RARE = {
    "abs_", "copysign_", "eq_", "gcd_", "ge_", "gt_", "heaviside_",
    "lcm_", "le_", "lt_", "ne_", "true_divide_", "xlogy_",
}  # fmt: skip


def test_in_place_forms_of_pointwise_operators_are_pointwise() -> None:
    """``x.op_()`` does what ``x.op()`` does, whatever torch's tags say."""
    found = overloads()
    tagged = {o.overloadpacket.__name__ for o in found if torch.Tag.pointwise in o.tags}
    missing = {
        name
        for o in found
        if (name := o.overloadpacket.__name__).endswith("_")
        and not name.startswith("_")
        and name.rstrip("_") in tagged
        and not torch_tag_says_pointwise(o)
    }
    assert missing <= RARE


def test_nothing_that_moves_indices_is_called_pointwise() -> None:
    moves = {
        "view",
        "permute",
        "transpose",
        "cat",
        "slice",
        "select",
        "sum",
        "mean",
        "mm",
        "bmm",
        "convolution",
    }
    assert not [o for o in overloads() if o.overloadpacket.__name__ in moves and torch_tag_says_pointwise(o)]
