"""The fit of one head against the same fit in another form, and which blocks belong together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import prunecli.repair.logits as solving
from prunecli.running.calls import Call, Heads


def test_nothing_is_changed_where_nothing_is_better_on_held_out_samples() -> None:
    """Held-out logits are those of other networks: whatever fits the rest makes them worse."""
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 4, 9, 3, dtype=torch.float64)
    train = grams(q, k, 2 * q, k)
    assert solving.mixed(train, grams(q, k, -q, k)).matrix is None
    mix = solving.mixed(train, train)
    assert mix.matrix is not None
    assert torch.allclose(mix.matrix, 2 * torch.eye(3, dtype=torch.float64), atol=1e-4)


def grams(q: Tensor, k: Tensor, dense_q: Tensor, dense_k: Tensor) -> solving.Grams:
    """Of blocks ``[1, n, L, d]`` of one head."""
    count, length, width = q.shape[1:]
    heads = Heads(
        torch.arange(width).expand(count, -1), torch.arange(count * length).view(count, length), 1.0
    )
    there, here = (
        Call("logits", a[0], b[0], None, "q", heads=heads) for a, b in ((dense_q, dense_k), (q, k))
    )
    match = solving.matched(heads, heads, torch.arange(width))
    assert match is not None
    return solving.Grams.of(there, here, match, 1000, 0)


def test_a_wide_head_comes_near_to_the_whole_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    share = torch.linspace(0, 2, 12, dtype=torch.float64).exp()
    q, k, dense_q, dense_k = (torch.randn(1, 40, 20, 12, dtype=torch.float64) * share for _ in range(4))
    dense_q, dense_k = dense_q + q, dense_k + k @ torch.randn(12, 12, dtype=torch.float64)
    parts = (
        grams(q[:, :30], k[:, :30], dense_q[:, :30], dense_k[:, :30]),
        grams(q[:, 30:], k[:, 30:], dense_q[:, 30:], dense_k[:, 30:]),
    )
    whole = solving.mixed(*parts)
    monkeypatch.setattr(solving, "NARROW", 0)
    steps = solving.mixed(*parts)
    assert whole.after < 0.9 * whole.before
    assert steps.after < whole.after + 0.01 * whole.vary


def test_blocks_are_matched_where_heads_were_cut_and_come_in_another_order() -> None:
    """Three heads of three, two samples of two rows; the middle one is cut, and a feature of both others."""
    dense = torch.arange(9).view(3, 3)
    rows = torch.tensor([[0, 1], [2, 3]])
    there = Heads(dense.repeat(2, 1), rows.repeat_interleave(3, 0), 1.0)
    kept = torch.tensor([0, 2, 6, 7])
    here = Heads(torch.tensor([[0, 1], [0, 1], [2, 3], [2, 3]]), rows.repeat(2, 1), 1.0)
    match = solving.matched(there, here, kept)
    assert match is not None
    assert match.channels.tolist() == [[0, 1], [2, 3]]
    assert match.here.tolist() == [[0, 1], [2, 3]]
    assert match.there.tolist() == [[0, 3], [2, 5]]
    assert solving.matched(there, here, torch.tensor([0, 3, 6, 7])) is None, "a head of two dense ones"
    again = replace(here, rows=here.rows[:1].expand(4, -1))
    assert solving.matched(there, again, kept) is None, "one block twice"
    turned = replace(here, rows=here.rows.flip(1))
    assert solving.matched(there, turned, kept) is None, "other rows"
