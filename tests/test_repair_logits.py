"""Logits against ``torch.linalg.lstsq`` in float64 on queries and keys that runs of the networks stored."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attentions import FOLLOWED, HEADS, LEFT, Attention, joined, logits, operands, split
from repair_examples import Swept, by_lstsq, seen, sweep
from torch import Tensor, nn

import prunecli.repair.logits as solving
from prunecli.coupling.axes import kept_indices
from prunecli.repair.calls import Call, Heads
from prunecli.repair.sweep import AND_OF_LOGITS, LEAST_SQUARES, OF_LOGITS

RECORDED: list[solving.Mix] = []


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found for every head, in order."""
    RECORDED.clear()
    solve = solving.mixed

    def recording(train: solving.Grams, held: solving.Grams) -> solving.Mix:
        found = solve(train, held)
        RECORDED.append(found)
        return found

    monkeypatch.setattr(solving, "mixed", recording)


def swept(way: str, *, plain: bool = False, samples: int = 64) -> Swept:
    torch.manual_seed(0)
    x = torch.randn(samples, 7, 5, dtype=torch.float64)
    return sweep(Attention(way), x, 8, plain=plain)


def mixed_by_lstsq(
    q: Tensor, k: Tensor, wanted: Tensor, head: int, ridge: float | None = None
) -> tuple[Tensor, Tensor]:
    """``M`` of one head with every product of two features as a column; and the mean square of a column."""
    q, k = q.contiguous(), k.contiguous()
    design = torch.cat([torch.kron(a, b) for a, b in zip(q[head::HEADS], k[head::HEADS], strict=True)])
    width = q.shape[-1]
    mean = design.square().sum() / width**2
    root = (ridge or 0.0) * mean
    rows = torch.cat([design, root.sqrt() * torch.eye(width**2, dtype=q.dtype)])
    target = torch.cat(
        [wanted[head::HEADS].flatten(), root.sqrt() * torch.eye(width, dtype=q.dtype).flatten()]
    )
    return torch.linalg.lstsq(rows, target[:, None]).solution.reshape(width, width), mean


@pytest.mark.parametrize("way", FOLLOWED)
@pytest.mark.parametrize("narrow", [24, 0])
def test_queries_are_mixed_as_lstsq_says(way: str, narrow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written out, and in so many directions that nothing is left out."""
    monkeypatch.setattr(solving, "NARROW", narrow)
    found, plain = swept(way), swept(way, plain=True)
    x = torch.cat(found.samples)
    q, k, scale = operands(plain.repaired, x)
    now, keys, _ = operands(found.repaired, x)
    assert q.shape[-1] < 8
    assert torch.allclose(keys, k, atol=1e-9)
    wanted = logits(found.dense, x)
    assert len(RECORDED) == HEADS
    for head, mix in enumerate(RECORDED):
        assert mix.matrix is not None
        matrix, _ = mixed_by_lstsq(q * scale, k, wanted, head, mix.ridge)
        assert torch.allclose(mix.matrix, matrix, atol=1e-6 * float(matrix.abs().max()))
        assert torch.allclose(now[head::HEADS], q[head::HEADS] @ matrix, atol=1e-6 * float(q.abs().max()))


@pytest.mark.parametrize("way", FOLLOWED)
def test_logits_come_nearer_on_other_inputs(way: str) -> None:
    found, plain = swept(way), swept(way, plain=True)
    torch.manual_seed(9)
    x = torch.randn(32, 7, 5, dtype=torch.float64)
    wanted = logits(found.dense, x)
    with_, without = ((logits(s.repaired, x) - wanted).norm() for s in (found, plain))
    assert float(with_) < 0.75 * float(without)


@pytest.mark.parametrize("way", ["fused", "separate", "multihead with weights", "constant scale", "grouped"])
def test_what_follows_sees_the_queries_of_the_repaired_network(way: str) -> None:
    """The operation behind attention equals lstsq on its inputs in a fresh run."""
    found = swept(way)
    layer = "many.out_proj" if way.startswith("multihead") else "proj"
    row = found.done[f"{layer}.weight"]
    assert row.ridge is not None
    before = found.cut.get_parameter(f"{layer}.weight")
    module, dense = found.repaired.get_submodule(layer), found.dense.get_submodule(layer)
    if way.startswith("multihead"):
        x, y = (
            fed(found.repaired, found.samples),
            fed(found.dense, found.samples) @ dense.weight.T + dense.bias,
        )
    else:
        (x, _), (_, y) = seen(found.repaired, layer, found.samples), seen(found.dense, layer, found.samples)
    kept = kept_of(found, f"{layer}.weight")
    wanted = by_lstsq(module, before, x.flatten(0, -2), y.flatten(0, -2)[:, kept], row.ridge, True)
    assert float((module.weight - wanted).abs().max()) < 1e-6 * float(wanted.abs().max())


def fed(net: nn.Module, samples: list[Tensor]) -> Tensor:
    """What goes into the last projection of a multi-head attention, which no hook sees."""
    found = []
    size = net.many.in_proj_weight.shape[0] // 3
    weight, bias = net.many.in_proj_weight[-size:], net.many.in_proj_bias[-size:]
    for part in samples:
        q, k, scale = operands(net, part)
        v = split(net.stem(part).tanh() @ weight.T + bias).flatten(0, 1)
        y = (q @ k.mT * scale).softmax(-1) @ v
        found.append(joined(y.unflatten(0, (-1, HEADS))))
    return torch.cat(found)


def kept_of(found: Swept, name: str) -> Tensor:
    space = found.result.space
    return kept_indices(space.axes[name][0], space.sizes, found.result.plan.keep)


def test_what_the_report_says() -> None:
    fused, apart = swept("fused"), swept("separate")
    assert fused.done["qkv.weight"].method == LEAST_SQUARES + AND_OF_LOGITS
    row = apart.done["q.weight"]
    assert (row.method, row.ridge) == (OF_LOGITS, None)
    assert apart.done["k.weight"].method == LEAST_SQUARES
    before, after = (sum(getattr(mix, side) for mix in RECORDED[-HEADS:]) for side in ("before", "after"))
    vary = sum(mix.vary for mix in RECORDED[-HEADS:])
    assert (row.before, row.after) == (pytest.approx(before / vary), pytest.approx(after / vary))
    assert row.after < row.before


@pytest.mark.parametrize("way", LEFT)
def test_what_has_something_in_between_is_repaired_as_before(way: str) -> None:
    found, plain = swept(way), swept(way, plain=True)
    assert RECORDED == []
    assert not any("logits" in row.method for row in found.done.values())
    for name, parameter in found.repaired.named_parameters():
        assert torch.equal(parameter, plain.repaired.get_parameter(name))


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
    turned = replace(here, rows=here.rows.flip(1))
    assert solving.matched(there, turned, kept) is None, "other rows"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("narrow", [24, 0])
def test_the_same_bits_with_any_number_of_threads(
    threads: int, narrow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solving, "NARROW", narrow)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = swept("fused")
    finally:
        torch.set_num_threads(before)
    assert "logits" in found.done["qkv.weight"].method
    bits = torch.cat([p.detach().flatten() for p in found.repaired.parameters()])
    _BITS.setdefault(narrow, bits)
    assert torch.equal(bits, _BITS[narrow])


_BITS: dict[int, Tensor] = {}
