"""Fused attention and ``nn.MultiheadAttention``, each held against the masked oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, example, free, group_of, half, patches, slots, space_of, strides, subject

from prunecli.coupling import trace


def heads(m: Net, h: Tensor) -> Tensor:
    batch, tokens, _ = h.shape
    return h.view(batch, tokens, m.num_heads, -1).transpose(1, 2)


def self_attention(m: Net, x: Tensor) -> Tensor:
    h = m.stem(x)
    return m.out(m.attention(h, h, h)[0])


def test_multi_head_attention_module() -> None:
    net = Net(
        self_attention,
        stem=nn.Linear(4, 12), attention=nn.MultiheadAttention(12, 3, batch_first=True), out=nn.Linear(12, 2),
    )  # fmt: skip
    space = check(net, 2, 5, 4)
    held = {group.kind: group.size for group in space.groups if group.frozen}
    assert held["heads"] == 3
    # embed_dim == heads x head size: three features of the stream for each of a head.
    assert [sorted(bundle.values()) for bundle in strides(space)] in ([[1, 3]], [[1, 1, 3]])
    assert ("embed_dim", None) in patches(space, "attention")


def test_the_scale_of_fused_attention_changes_values() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        q, k, v = (heads(m, layer(x)) for layer in (m.q, m.k, m.v))
        scale = 0.3 if m.fixed else None
        mixed = F.scaled_dot_product_attention(q, k, v, scale=scale)
        m.result = mixed
        return m.v(x)

    for fixed in (True, False):
        net = Net(
            forward, q=nn.Linear(4, 12), k=nn.Linear(4, 12), v=nn.Linear(4, 12), num_heads=3, fixed=fixed
        )
        marks = {g.value_changing for g in space_of(net, 2, 5, 4).groups if g.size == 4}
        assert marks == ({None} if fixed else {"attention is scaled by the size of a head"})


def test_a_softmax_over_keys_sees_every_one_of_them() -> None:
    """Keys that are channels of a convolution can go, but not unnoticed; queries can."""
    net = Net(
        lambda m, x: m.out(F.scaled_dot_product_attention(m.q(x), m.k(x), m.v(x), scale=0.5)),
        q=nn.Conv1d(3, 8, 1), k=nn.Conv1d(3, 6, 1), v=nn.Conv1d(3, 6, 1), out=nn.Conv1d(8, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 4)
    assert free(space) == {"q": 8, "k": 6}
    assert {name: space.by_name[name].value_changing for name in ("q", "k")} == {
        "q": None, "k": "a softmax runs over it",
    }  # fmt: skip


def crossed(m: Net, x: Tensor, memory: Tensor) -> Tensor:
    keys = m.keys(memory)
    return m.out(m.attention(m.stem(x), keys, keys if m.values is None else m.values(memory))[0])


@pytest.mark.parametrize("separate", [False, True])
def test_cross_attention_cuts_what_it_attends_to(separate: bool) -> None:
    """Keys and values have widths of their own, and the weights that read them follow."""
    torch.manual_seed(0)
    sizes = {"kdim": 8, "vdim": 10} if separate else {}
    net = Net(
        crossed, stem=nn.Linear(4, 12), keys=nn.Linear(5, 8 if separate else 12),
        values=nn.Linear(5, 10) if separate else None,
        attention=nn.MultiheadAttention(12, 3, batch_first=True, **sizes), out=nn.Linear(12, 2),
    )  # fmt: skip
    inputs = (example(2, 5, 4), example(2, 7, 5))
    space = trace(net, inputs)
    kept = half(space)
    case = subject(net, space, *inputs)
    if separate:
        assert {"keys", "values"} <= free(space).keys()
        assert ("attention.k_proj_weight", 1) in slots(space.by_name["keys"])
        assert ("attention.v_proj_weight", 1) in slots(space.by_name["values"])
        assert patches(space, "attention").items() >= {("kdim", None): 4, ("vdim", None): 5}.items()
    assert group_of(space, "stem.weight").name in kept
    exact = case.keeps_values(kept)
    assert not separate or {"keys", "values"} <= exact.keys()
    assert not exact or case.error(exact) < 1e-9
    assert [t.shape for t in case.output(kept)] == [t.shape for t in case.output({})]


def test_the_head_size_follows_where_heads_stay() -> None:
    net = Net(
        self_attention,
        stem=nn.Linear(4, 12), attention=nn.MultiheadAttention(12, 3, batch_first=True), out=nn.Linear(12, 2),
    )  # fmt: skip
    found = patches(check(net, 2, 5, 4), "attention")
    assert found["head_dim", None] * 3 == found["embed_dim", None] < 12
    assert ("num_heads", None) not in found
