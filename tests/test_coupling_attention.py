"""Fused attention and ``nn.MultiheadAttention``, each held against the masked oracle."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, patches, space_of, strides


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
