"""Repeated axes, and the heads of grouped-query attention, against the masked oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, free, patches, reason, space_of

from prunecli.coupling.space import Group


class GroupedQueries(nn.Module):
    """Four key heads of three features, each shared by two query heads; keys are repeated in ``form``."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.repeats, self.head_dim = form, 2, 3
        self.q, self.k, self.v = nn.Linear(6, 24), nn.Linear(6, 12), nn.Linear(6, 12)
        self.out = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (
            layer(x).view(batch, tokens, -1, self.head_dim).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        if self.form == "enable_gqa":
            mixed = F.scaled_dot_product_attention(q, k, v, scale=0.5, enable_gqa=True)
        else:
            mixed = F.scaled_dot_product_attention(q, self.repeated(k), self.repeated(v), scale=0.5)
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, -1))

    def repeated(self, keys: Tensor) -> Tensor:
        batch, heads, tokens, features = keys.shape
        if self.form == "interleave":
            return keys.repeat_interleave(self.repeats, dim=1)
        if self.form == "literal":
            return torch.repeat_interleave(keys, 2, 1)
        wide = keys[:, :, None].expand(batch, heads, self.repeats, tokens, features)
        return wide.reshape(batch, heads * self.repeats, tokens, features)


def is_head(group: Group) -> bool:
    return group.kind.endswith("heads")


@pytest.mark.parametrize("form", ["enable_gqa", "interleave", "expand", "literal"])
def test_key_heads_and_their_queries_can_go_when_asked_for(form: str) -> None:
    kinds = {g.kind: (g.size, g.frozen) for g in space_of(GroupedQueries(form).eval(), 2, 5, 6).groups}
    shared = "heads" if form == "literal" else "kv heads"
    assert kinds[shared][0] == 4
    assert "left whole unless asked for" in (kinds[shared][1] or "")
    space = check(GroupedQueries(form).eval(), 2, 5, 6, thaw=is_head)
    thawed = {g.kind: g.size for g in space.groups if g.frozen is None and is_head(g)}
    assert thawed == {shared: 4} | ({} if form == "literal" else {"query heads": 2})
    assert patches(space, "").get(("repeats", None)) == (1 if form in ("interleave", "expand") else None)


def test_a_plain_number_of_repeats_stays() -> None:
    net = Net(
        lambda m, x: m.b(m.a(x).repeat(1, 3)) + m.c(m.a(x).tile((1, 3))),
        a=nn.Linear(4, 6), b=nn.Linear(18, 2), c=nn.Linear(18, 2),
    )  # fmt: skip
    assert free(check(net, 2, 4)) == {"a": 6}


def test_repeats_shrink_with_the_attribute_they_are_made_of() -> None:
    """Three copies of ``a`` side by side; a copy can go with its columns of ``b``."""
    net = Net(lambda m, x: m.b(m.a(x).repeat(1, m.copies)), a=nn.Linear(4, 6), b=nn.Linear(18, 2), copies=3)
    space = check(net, 2, 4)
    assert sorted(free(space).values()) == [3, 6]
    assert patches(space, "") == {("copies", None): 2}


def test_what_is_expanded_as_another_keeps_to_it() -> None:
    net = Net(
        lambda m, x: m.b(m.gate(x).expand_as(m.a(x))) + m.c(m.a(x)),
        a=nn.Linear(4, 6), gate=nn.Linear(4, 1), b=nn.Linear(6, 2), c=nn.Linear(6, 2),
    )  # fmt: skip
    assert free(check(net, 2, 4)) == {"a": 6}


def test_repeats_by_a_tensor_are_not_followed() -> None:
    net = Net(
        lambda m, x: m.b(m.a(x).repeat_interleave(torch.tensor([2] * 6), dim=1)),
        a=nn.Linear(4, 6), b=nn.Linear(12, 2),
    )  # fmt: skip
    space = space_of(net, 2, 4)
    assert not free(space)
    assert reason(space, "a.weight")
