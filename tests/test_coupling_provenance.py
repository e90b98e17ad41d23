"""Which operators the units of a group went through, on networks small enough to say it by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gqa
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, example, space_of

from prunecli.coupling.build import trace, trace_with_uses
from prunecli.coupling.recording import Recording
from prunecli.coupling.space import Space, Use


def uses_of(module: nn.Module, *shape: int) -> tuple[Space, dict[str, list[tuple[str, str, str, int]]]]:
    space, uses = trace_with_uses(module, (example(*shape),))
    plain = {
        name: [(use.operator.removeprefix("aten."), use.where, use.effect, use.times) for use in found]
        for name, found in uses.items()
    }
    return space, plain


def residual_block(net: Any, x: Tensor) -> Tensor:
    first = net.stem(x)
    return net.last(net.act(first + net.conv(net.act(first))))


def block() -> Net:
    return Net(
        residual_block,
        stem=nn.Conv2d(3, 4, 1),
        conv=nn.Conv2d(4, 4, 1),
        last=nn.Conv2d(4, 5, 1),
        act=nn.ReLU(),
    )


def test_effects_in_order_of_execution_each_place_once() -> None:
    _, uses = uses_of(block(), 1, 3, 6, 6)
    assert uses == {
        "stem": [
            ("convolution", "stem", "makes", 1),
            ("relu", "act", "passes", 2),
            ("convolution", "conv", "passes", 1),
            ("add", "the network's forward", "joins", 1),
            ("convolution", "last", "takes", 1),
        ]
    }


def test_a_group_between_two_layers_is_made_and_taken() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 1)).eval()
    space, uses = uses_of(net, 1, 3, 6, 6)
    assert [group.name for group in space.groups] == ["0", "2"]
    assert [use[1:3] for use in uses["0"]] == [("0", "makes"), ("1", "passes"), ("2", "takes")]
    assert [use[1:3] for use in uses["2"]] == [("2", "makes"), ("3", "takes")]


def test_rearranging_a_weight_is_no_step_of_its_own() -> None:
    """``linear`` transposes its weight first; only the product has to do with anything else."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5)).eval()
    _, uses = uses_of(net, 2, 3)
    assert uses["0"] == [("addmm", "0", "makes", 1), ("addmm", "1", "takes", 1)]


def test_two_weights_that_meet_are_a_step() -> None:
    def scaled(net: Any, x: Tensor) -> Tensor:
        return net.last(F.linear(x, net.first.weight * net.gamma))

    net = Net(scaled, first=nn.Linear(3, 4), gamma=nn.Parameter(torch.ones(4, 1)), last=nn.Linear(4, 5))
    _, uses = uses_of(net, 2, 3)
    assert uses["first"][0] == ("mul", "the network's forward", "makes", 1)


def test_fused_attention_is_one_operator_where_heads_and_dimensions_join() -> None:
    _, uses = trace_with_uses(gqa.build(layers=1), (torch.zeros(gqa.INPUT),))
    where = "layers.0.attn"
    fused = {
        name: use.effect
        for name, found in uses.items()
        for use in found
        if (use.operator, use.where) == ("scaled_dot_product_attention", where)
    }
    query = f"{where}.q_proj"
    assert fused == {
        f"{query}:heads": "joins", query: "joins", f"{query}:heads#2": "passes", f"{where}.v_proj": "passes",
    }  # fmt: skip


class TwoHeads(nn.Module):
    """The second head runs in train mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.extra = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.body(x)
        return (self.head(x), self.extra(x)) if self.training else self.head(x)


def test_what_train_mode_alone_reaches_is_there_and_the_rest_not_twice() -> None:
    _, uses = uses_of(TwoHeads().eval(), 1, 3, 4, 4)
    assert uses["body"] == [
        ("convolution", "body", "makes", 1),
        ("convolution", "head", "takes", 1),
        ("convolution", "extra", "takes", 1),
    ]


def test_a_second_attempt_on_real_tensors_replaces_the_first() -> None:
    def looks(net: Any, x: Tensor) -> Tensor:
        hidden = net.first(x)
        return net.last(hidden if bool((x == x).all()) else -hidden)

    _, uses = uses_of(Net(looks, first=nn.Linear(3, 4), last=nn.Linear(4, 5)), 2, 3)
    assert uses["first"] == [("addmm", "first", "makes", 1), ("addmm", "last", "takes", 1)]


def test_pins_say_where_they_were_met_and_nothing_else_changes() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(net.inner(x).flip(1))

    net = Net(forward, inner=block(), last=nn.Conv2d(5, 2, 1))
    space, _ = trace_with_uses(net, (example(1, 3, 6, 6),))
    plain = trace(net, (example(1, 3, 6, 6),))
    reasons = {(pin.parameter, pin.dim): pin.reason for pin in space.pinned}
    assert reasons["inner.stem.weight", 1] == "the network's input (met in inner.stem)"
    assert reasons["inner.last.weight", 0] == "aten.flip depends on the order of its indices"
    assert reasons["last.weight", 0] == "the network's output"
    bare = {(p.parameter, p.dim): p.reason.partition(" (met in")[0] for p in space.pinned}
    assert bare == {(p.parameter, p.dim): p.reason for p in plain.pinned}
    assert replace(space, pinned=()) == replace(plain, pinned=())


def test_nothing_is_kept_unless_asked_for() -> None:
    assert Recording().provenance is None
    space = space_of(block(), 1, 3, 6, 6)
    assert not any(isinstance(value, Use) for value in vars(space).values())
