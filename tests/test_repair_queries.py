"""Logits against ``torch.linalg.lstsq`` in float64 on queries and keys that runs of the networks stored."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from attentions import FOLLOWED, HEADS, LEFT, LEFT_IN_A_BATCH, Attention, joined, logits, operands, split
from repair_examples import Swept, by_lstsq, seen, sweep
from torch import Tensor, nn

import prunecli.repair.logits as solving
from prunecli.coupling.axes import kept_indices
from prunecli.repair.queries import AND_OF_LOGITS, OF_LOGITS
from prunecli.repair.site import LEAST_SQUARES

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


def swept(way: str, *, plain: bool = False, threads: int = 1) -> Swept:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        return sweep(Attention(way), torch.randn(64, 7, 5, dtype=torch.float64), 8, plain=plain)
    finally:
        torch.set_num_threads(before)


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


@pytest.mark.parametrize("way", [*LEFT, *LEFT_IN_A_BATCH])
def test_what_has_something_in_between_is_repaired_as_before(way: str) -> None:
    found, plain = swept(way), swept(way, plain=True)
    assert RECORDED == []
    assert not any("logits" in row.method for row in found.done.values())
    for name, parameter in found.repaired.named_parameters():
        assert torch.equal(parameter, plain.repaired.get_parameter(name))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("narrow", [24, 0])
def test_the_same_bits_with_any_number_of_threads(
    threads: int, narrow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solving, "NARROW", narrow)
    found = swept("fused", threads=threads)
    assert "logits" in found.done["qkv.weight"].method
    bits = torch.cat([p.detach().flatten() for p in found.repaired.parameters()])
    _BITS.setdefault(narrow, bits)
    assert torch.equal(bits, _BITS[narrow])


_BITS: dict[int, Tensor] = {}

TWICE = """
import torch
from test_repair_queries import swept
one, two = (swept("fused", threads=threads).repaired.state_dict() for threads in (1, 2))
print(all(torch.equal(one[name], two[name]) for name in one))
"""


def test_the_same_bits_where_the_environment_has_more_threads() -> None:
    given = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", TWICE], env=given, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["True"]
