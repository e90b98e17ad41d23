"""Fused attention, held against the masked oracle."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, free, space_of


def heads(m: Net, h: Tensor) -> Tensor:
    batch, tokens, _ = h.shape
    return h.view(batch, tokens, m.num_heads, -1).transpose(1, 2)


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


def test_fused_attention_on_real_tensors_is_the_same() -> None:
    """A forward that looks at values runs for real, where attention is another kernel."""

    def forward(m: Net, x: Tensor) -> Tensor:
        if m.looks:
            assert x.sum().item() == x.sum().item()
        q, k, v = (heads(m, layer(x)) for layer in (m.q, m.k, m.v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3)
        return m.out(mixed.transpose(1, 2).flatten(2))

    groups = []
    for looks in (False, True):
        layers = {name: nn.Linear(4, 12) for name in "qkv"} | {"out": nn.Linear(12, 2)}
        space = check(Net(forward, **layers, num_heads=3, looks=looks), 2, 5, 4)
        assert not space.unknown_operators
        groups.append([(group.name, group.kind, group.size) for group in space.groups])
    assert groups[0] == groups[1]


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
