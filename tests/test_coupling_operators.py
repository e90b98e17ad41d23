"""Operator rules on small networks with hand-worked groups, each held against the masked oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, error, example, free, reason, slots, space_of

from prunecli.coupling.operators import (
    _FORGOTTEN,
    RULES,
    Call,
    register_operator,
    torch_tag_says_pointwise,
)
from prunecli.coupling.recording import Recording


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
    assert not missing


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


def test_a_file_imported_again_brings_the_same_rule_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prunecli.coupling.operators.RULES", {})
    source = "@register_operator('aten.nobody')\ndef rule(recording, call): ...\n"
    for _ in range(2):
        exec(compile(source, tmp_path / "mine.py", "exec"), {"register_operator": register_operator})
    with pytest.raises(ValueError, match="already has a rule"):
        exec(compile(source, tmp_path / "other.py", "exec"), {"register_operator": register_operator})


def test_a_rule_registered_after_a_trace_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(lambda m, x: m.b(torch.renorm(m.a(x), 2, 1, 1.0)), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    assert space_of(net, 2, 4).groups == ()

    def rule(recording: Recording, call: Call) -> None:
        recording.set_axes(call.out, recording.axes(call.args[0]))

    monkeypatch.setitem(RULES, "aten.renorm", rule)
    assert [group.size for group in space_of(net, 2, 4).groups] == [6]
