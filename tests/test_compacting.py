"""Units zeroed by hand: each that can go is gone, each that stays has its reason, and the outputs are the
same.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from dead_networks import IMAGE, TOKENS, Attention, Block, Dense, Depthwise, lively, zero
from hypothesis import given, settings
from hypothesis import strategies as st
from resnet8 import resnet8
from torch import Tensor, nn

import prunecli
from prunecli import ImpossibleError, Result, UsageError
from prunecli.compacting import _Function
from prunecli.proofs import relative_error, run


def gone(result: Result) -> dict[str, int]:
    return {name: result.space.sizes[name] - len(kept) for name, kept in result.plan.keep.items()}


def error(net: nn.Module, result: Result, example: Tensor, dtype: torch.dtype) -> float:
    torch.manual_seed(5)
    inputs = [torch.randn(2, *example.shape[1:])]
    return relative_error(run(net, inputs, dtype), run(result.model, inputs, dtype))


def compacted(net: nn.Module, example: Tensor = IMAGE, removed: int | None = None) -> Result:
    """Checked on inputs that compact has not seen, in the precision of the file."""
    result = prunecli.compact(net, example_inputs=example)
    assert error(net, result, example, torch.float32) < 1e-6
    wide = prunecli.compact(net.double(), example_inputs=example.double())
    assert error(net, wide, example, torch.float64) < 1e-9
    assert gone(wide) == gone(result)
    net.float()
    if removed is not None:
        assert sum(gone(result).values()) == removed
    return result


@pytest.mark.parametrize("act", [nn.ReLU(), nn.GELU(), nn.SiLU()])
def test_a_residual_stream_loses_what_all_of_its_producers_leave_constant(act: nn.Module) -> None:
    net = lively(Block(act))
    zero(net.first, [0, 2, 3], 0.7)
    zero(net.second, [0, 3], -0.3)
    zero(net.inner, [1, 4, 5])
    result = compacted(net, removed=2 + 3)
    assert gone(result) == {"first": 2, "inner": 3}
    assert set(result.plan.keep["first"]) == {1, 2, 4, 5}
    assert result._recipe.changed_by == ("compact (constants of removed units folded into 3 tensors)",)
    said = "1 channel that is left is dead in its layer; a unit of a sum is dead only if all that make it are"
    assert said in result.report.notes
    zero(net.second, [2], -0.3)
    assert not any("dead in its layer" in note for note in compacted(net, removed=3 + 3).report.notes)


def passes(norm: nn.Module, channel: int, value: float) -> bool:
    """Whether ``value`` is anything but zero behind the norm and a ReLU."""
    scale = norm.weight[channel] / (norm.running_var[channel] + norm.eps).sqrt()
    return bool((value - norm.running_mean[channel]) * scale + norm.bias[channel] > 0)


def test_what_is_laid_side_by_side_goes_piece_by_piece() -> None:
    net = lively(Dense())
    zero(net.first, [1], 0.4)
    zero(net.layers[0], [0, 4])
    zero(net.layers[1], [2])
    # Layers without a bias have no place for a constant; the head has.
    first = not any(passes(norm, 1, 0.4) for norm in net.norms)
    middle = [unit for unit in (0, 4) if not passes(net.norms[1], 4 + unit, 0.0)]
    assert len(middle) == 1
    assert gone(compacted(net)) == {"layers.1": 1, "layers.0": 1} | ({"first": 1} if first else {})
    for layer in net.layers:
        layer.bias = nn.Parameter(torch.randn(5))
    zero(net.layers[0], [0, 4], 0.0)
    zero(net.layers[1], [2], 0.3)
    compacted(net, removed=4)


def test_depthwise_and_grouped_convolutions_and_gates() -> None:
    net = lively(Depthwise())
    zero(net.expand, [0, 5], -0.5)
    zero(net.each, [0, 5, 6], -0.2)
    zero(net.project, [1, 5, 2], 0.3)
    result = compacted(net)
    # Unit 6 is zero behind the padded convolution, whatever comes before. Channels 1 and 5 have one place in
    # the two groups, and go as one unit; channel 2 has no partner.
    assert gone(result) == {"expand": 3, "project": 1}
    net.each.bias.data[5] = 0.1
    stays = prunecli.compact(net, example_inputs=IMAGE)
    assert gone(stays)["expand"] == 2, "its gate depends on the input"


def test_attention_loses_values_and_hidden_units_and_pairs_of_query_and_key() -> None:
    net = lively(Attention())
    zero(net.v, [1, 4], 0.6)
    zero(net.q, [0, 4], 0.0)
    zero(net.k, [0, 4], 0.0)
    zero(net.q, [1, 5], 0.0)
    zero(net.up, [2, 3, 9], 0.8)
    result = compacted(net, TOKENS)
    # Two heads lose one value and one query-key pair each; of the second pair only the query is zero.
    assert sorted(gone(result).values()) == [1, 1, 3]
    net.q.bias.data[0] = 0.1
    assert sorted(gone(compacted(net, TOKENS)).values()) == [1, 3]


def test_a_constant_stays_at_a_padded_convolution_and_a_zero_goes() -> None:
    net = resnet8()
    inner = net.layer1[0]
    zero(inner.conv1, [1, 2, 3])
    inner.bn1.bias.data[[1, 2, 3]] = torch.tensor([-1.0, 0.5, -2.0])
    inner.bn1.running_mean[[1, 2, 3]] = 0
    result = compacted(net, torch.zeros(1, 3, 32, 32), removed=2)
    assert result.plan.keep["layer1.0.conv1"] == tuple(unit for unit in range(16) if unit not in (1, 3))
    assert any("padded convolution 'layer1.0.conv2.weight'" in note for note in result.report.notes)


def test_a_constant_that_only_the_head_reads_goes_into_its_bias() -> None:
    net = resnet8()
    for conv, norm in (
        (net.layer3[0].conv2, net.layer3[0].bn2),
        (net.layer3[0].downsample[0], net.layer3[0].downsample[1]),
    ):
        zero(conv, [7, 60])
        norm.weight.data[9] = 0
    result = compacted(net, torch.zeros(1, 3, 32, 32), removed=3)
    assert {7, 9, 60}.isdisjoint(result.plan.keep["layer3.0.conv2"])


def test_what_nobody_reads_goes_and_then_what_only_that_read() -> None:
    net = lively(
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.GELU(), nn.Conv2d(5, 6, 3), nn.GELU(), nn.Conv2d(6, 2, 1))
    )
    net[4].weight.data[:, 3] = 0
    net[2].weight.data[:3, 1] = net[2].weight.data[4:, 1] = 0
    result = compacted(net, removed=2)
    assert (1 in result.plan.keep["0"], 3 in result.plan.keep["2"]) == (False, False)


def test_what_reads_only_constants_is_constant_too() -> None:
    net = lively(
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.GELU(), nn.Conv2d(5, 6, 3), nn.GELU(), nn.Conv2d(6, 2, 1))
    )
    zero(net[0], [0, 1], 0.5)
    net[2].weight.data[4, 2:] = 0
    assert gone(compacted(net)) == {"0": 2, "2": 1}


def test_nearly_zero_is_not_zero() -> None:
    net = lively(Block(nn.ReLU()))
    zero(net.inner, [1, 4])
    net.inner.weight.data[4, 0] = 1e-12
    assert gone(compacted(net)) == {"inner": 1}


def test_one_unit_stays_and_sizes_that_are_tied_shrink_together() -> None:
    net = lively(Block(nn.ReLU()))
    zero(net.inner, list(range(8)))
    result = compacted(net, removed=7)
    assert any("one unit of a group always stays" in note for note in result.report.notes)


def test_a_constant_without_a_place_stays_with_the_reason() -> None:
    net = lively(
        nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.GELU(), nn.Conv2d(5, 6, 1, bias=False), nn.GELU(), nn.Conv2d(6, 2, 1)
        )
    )
    zero(net[0], [0, 1], 0.5)
    result = compacted(net, removed=0)
    row = next(row for row in result.report.groups if row.name == "0")
    assert row.status == "whole" and row.reason is not None and "'2.weight'" in row.reason


def test_a_layer_norm_brings_dead_channels_to_life() -> None:
    net = lively(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)))
    zero(net[0], [0, 1], 0.0)
    assert not compacted(net, torch.zeros(1, 4)).plan.keep


def test_a_sum_over_channels_keeps_them_all() -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x).relu()
            return self.last(x).mean((2, 3)) + x.sum((1, 2, 3))[:, None]

    net = lively(Summed())
    zero(net.first, [0, 1], 0.0)
    result = compacted(net, removed=0)
    assert result.report.groups[0].reason == "a sum runs over it"
    assert any("2 dead units stay of 'first'" in note for note in result.report.notes)


def test_the_file_is_proved_and_written_even_if_nothing_goes(tmp_path: Path, no_reload: None) -> None:
    net, path = resnet8(), tmp_path / "same.safetensors"
    result = prunecli.compact(net, arch="cifar:resnet8", example_inputs=torch.zeros(1, 3, 32, 32))
    report = result.save(path)
    assert report.target.kind == "compact" and report.target.asked is None
    assert any("nothing can be removed" in note for note in report.notes)
    assert all(
        torch.equal(a, b) for a, b in zip(prunecli.load(path).parameters(), net.parameters(), strict=True)
    )


def test_a_compacted_file_is_verified_against_its_checkpoint(
    tmp_path: Path, no_reload: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    from prunecli.fresh import RELOAD
    from prunecli.report.model import Proof

    net = resnet8()
    zero(net.layer3[0].conv2, [7, 60])
    zero(net.layer3[0].downsample[0], [7, 60])
    save_file(net.state_dict(), tmp_path / "dense.safetensors")
    result = prunecli.compact(tmp_path / "dense.safetensors")
    result.save(tmp_path / "out.safetensors")
    monkeypatch.setattr("prunecli.checking.reload_proof", lambda *_, **__: Proof(RELOAD, True))
    found = prunecli.verify(tmp_path / "out.safetensors", against=tmp_path / "dense.safetensors")
    assert found.passed
    assert found.changed_by == ("compact (constants of removed units folded into 1 tensor)",)


def test_a_group_that_changes_the_function_is_frozen_and_the_rest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control of the proof: a constant that is not what arrives."""
    net = lively(Block(nn.GELU()))
    zero(net.inner, [1, 4])
    zero(net.first, [0], 0.7)
    zero(net.second, [0], 0.1)
    opened = _Function.open

    def wrong(*args: Any) -> _Function:
        work = opened(*args)
        work.readings.of["second.weight"][0].arrives += 0.1
        return work

    monkeypatch.setattr(_Function, "open", wrong)
    result = prunecli.compact(net, example_inputs=IMAGE)
    assert gone(result) == {"first": 1}
    row = next(row for row in result.report.groups if row.name == "inner")
    assert row.reason is not None and "without its dead units the function is another" in row.reason


def test_wrong_seeds_are_refused() -> None:
    with pytest.raises(UsageError):
        prunecli.compact(resnet8(), example_inputs=IMAGE, seed=-1)
    assert issubclass(ImpossibleError, Exception)


@settings(max_examples=8)
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(["relu", "gelu"])), min_size=1, max_size=3),
)
def test_random_chains_lose_exactly_what_is_dead(seed: int, hidden: list[tuple[int, str]]) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts = {"relu": nn.ReLU(), "gelu": nn.GELU()}
    layers: list[nn.Module] = []
    width = 3
    for padding, act in hidden:
        layers += [nn.Conv2d(width, 5, 3 if width == 3 else 1 + 2 * padding, padding=padding), acts[act]]
        width = 5
    last = int(torch.randint(2, (1,), generator=generator))
    net = lively(nn.Sequential(*layers, nn.Conv2d(width, 2, 1 + 2 * last, padding=last)), seed)
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    expected = {}
    for index, (here, behind) in enumerate(pairwise(convolutions)):
        dead = (torch.rand(5, generator=generator) < 0.4).nonzero().flatten().tolist()[:4]
        zero(here, dead)
        here.bias.data[dead] = torch.randint(-1, 2, (len(dead),), generator=generator).float()
        constant = net[2 * index + 1](here.bias.data)
        able = sum(not behind.padding[0] or not constant[unit] for unit in dead)
        expected |= {str(2 * index): able} if able else {}
    result = prunecli.compact(net, example_inputs=torch.zeros(1, 3, 9, 9))
    assert gone(result) == expected
    assert error(net, result, torch.zeros(1, 3, 9, 9), torch.float32) < 1e-6
