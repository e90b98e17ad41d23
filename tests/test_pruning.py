"""One run of prune: targets by an independent counter, plans, proofs that fail, files not written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

import pytest
import torch
from equality import same_outputs
from resnet8 import IMAGE, digest, elements, macs, removed, resnet8, same_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

import prunecli
from prunecli import ImpossibleError, InputError, Plan, Result, UsageError
from prunecli.checkpoint import read
from prunecli.fresh import RELOAD
from prunecli.report.model import Proof

SCHEMES = ("uniform", "local", "global", "protected")


TARGETS = {"speedup": 2.0, "flops": 0.5, "params": 0.5, "ratio": 0.5}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", TARGETS)
def test_every_target_by_every_scheme(kind: str, scheme: str, checkpoint: Path) -> None:
    result = prunecli.prune(checkpoint, scheme=scheme, repair="none", **{kind: TARGETS[kind]})
    dense = resnet8()
    found = {
        "speedup": lambda: macs(dense) / macs(result.model),
        "flops": lambda: macs(result.model) / macs(dense),
        "params": lambda: elements(result.model) / elements(dense),
        "ratio": lambda: removed(result),
    }[kind]()
    assert found == pytest.approx(TARGETS[kind], rel=0.005)
    goal = result.report.target
    assert (goal.kind, goal.asked, goal.met) == (kind, TARGETS[kind], True)
    assert goal.reached == pytest.approx(found)
    assert [proof.name for proof in result.report.proofs if proof.passed] == ["masked oracle"]


def test_the_pruned_network_is_the_dense_one_silenced(halved: Result) -> None:
    """Without the tool's own oracle: set a removed unit's norm to zero, by hand, in every layer it is in."""
    dense = resnet8().double()
    norms = {name: module for name, module in dense.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for group in halved.space.groups:
        if group.name not in halved.plan.keep:
            continue
        gone = sorted(set(range(group.size)) - set(halved.plan.keep[group.name]))
        for slot in group.slots:
            norm = norms.get(slot.parameter.rpartition(".")[0])
            if norm is not None:
                norm.weight.data[gone] = 0
                norm.bias.data[gone] = 0
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    wanted, found = dense(image), halved.model.double()(image)
    halved.model.float()
    assert not torch.allclose(wanted, resnet8().double()(image), rtol=1e-2)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_the_report_counts_as_fvcore_does(halved: Result) -> None:
    dense, report = resnet8(), halved.report
    assert (report.before.macs, report.after.macs) == (macs(dense), macs(halved.model))
    assert (report.before.params, report.after.params) == (elements(dense), elements(halved.model))
    assert report.counter == "fvcore"
    assert sum(layer.macs_after for layer in report.layers) == report.after.macs
    assert sum(layer.params_after for layer in report.layers) == report.after.params
    assert all(group.reason for group in report.groups if group.status == "whole")
    assert {"read", "trace", "count", "prove", "score, select, cut"} <= set(report.timings)
    assert report.checkpoint is not None
    assert report.checkpoint.name == "resnet8.safetensors"
    assert json.loads(json.dumps(report.to_json()))["schema"] == "prunecli.report/1"


def test_what_was_removed_scored_lowest(halved: Result, checkpoint: Path) -> None:
    rows = {row.name: row for row in halved.report.groups}
    assert {found.group for found in halved.report.scores} == {
        n for n, r in rows.items() if r.status == "pruned"
    }
    for found in halved.report.scores:
        row = rows[found.group]
        assert (sum(found.counts), sum(found.removed)) == (row.dense, row.dense - row.kept)
        kept = [count - gone for count, gone in zip(found.counts, found.removed, strict=True)]
        threshold = next(part for part, stays in enumerate(kept) if stays)
        assert not any(found.removed[threshold + 1 :])
    assert prunecli.prune(checkpoint, plan=halved.plan, repair="none").report.scores == ()


def test_what_was_saved_is_loaded(halved: Result, saved: Path) -> None:
    loaded = prunecli.load(saved)
    assert not loaded.training
    assert same_tensors(loaded.state_dict(), halved.model.state_dict())
    image = torch.randn(2, 3, 32, 32)
    assert same_outputs(loaded(image), halved.model(image))


def test_the_same_command_writes_the_same_bytes(checkpoint: Path, saved: Path, no_reload: None) -> None:
    before = torch.get_num_threads()
    for threads in (1, 2):
        path = saved.parent / f"again{threads}.safetensors"
        prunecli.prune(checkpoint, speedup=2, threads=threads, repair="none").save(path)
        assert digest(path) == digest(saved)
    assert torch.get_num_threads() == before


def test_a_plan_saved_and_applied_gives_the_same_network(checkpoint: Path, halved: Result) -> None:
    plan = Plan.from_json(json.loads(json.dumps(halved.plan.to_json())))
    assert plan == halved.plan
    again = prunecli.prune(checkpoint, plan=plan, repair="none")
    assert same_tensors(again.model.state_dict(), halved.model.state_dict())
    assert (again.report.target.kind, again.report.target.asked) == ("plan", None)
    assert again.report.target.reached == halved.report.target.reached


def test_a_plan_of_another_network_is_refused(checkpoint: Path, halved: Result) -> None:
    name, kept = next(iter(halved.plan.keep.items()))
    with pytest.raises(InputError, match="'nowhere', which this network does not have"):
        prunecli.prune(checkpoint, plan=Plan({"nowhere": (0,)}, {"nowhere": 4}))
    with pytest.raises(InputError, match="made for 1000 units"):
        prunecli.prune(checkpoint, plan=Plan({name: kept}, {name: 1000}))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_target_out_of_reach_says_what_is_in_reach(scheme: str, checkpoint: Path) -> None:
    with pytest.raises(ImpossibleError) as caught:
        prunecli.prune(checkpoint, speedup=100000, scheme=scheme)
    said = re.search(r"--speedup 100000 is out of reach: the best is ([\d.]+)x", caught.value.message)
    assert said is not None
    best = float(said[1])
    assert caught.value.hint
    result = prunecli.prune(checkpoint, speedup=0.9 * best, scheme=scheme, repair="none")
    assert result.report.target.met


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_weights_that_are_all_equal_reach_the_target(value: float, scheme: str, tmp_path: Path) -> None:
    weights = resnet8().state_dict()
    for name, tensor in weights.items():
        if tensor.is_floating_point() and "running" not in name:
            tensor.fill_(value)
    save_file(weights, tmp_path / "equal.safetensors")
    result = prunecli.prune(tmp_path / "equal.safetensors", speedup=2, scheme=scheme, repair="none")
    assert macs(resnet8()) / macs(result.model) == pytest.approx(2, rel=0.005)


@pytest.mark.parametrize("cap", [0.6, 0.45])
def test_global_never_cuts_a_group_beyond_the_cap(cap: float, checkpoint: Path) -> None:
    result = prunecli.prune(checkpoint, flops=0.5, scheme="global", max_ratio=cap, repair="none")
    for group in result.report.groups:
        assert group.dense - group.kept <= floor(cap * group.dense)
    assert any(group.kept < group.dense for group in result.report.groups)


@pytest.mark.parametrize(("protect", "steps"), [(0.1, 1), (0.3, 1), (0.3, 4)])
def test_protected_never_leaves_a_group_under_its_floor(protect: float, steps: int, checkpoint: Path) -> None:
    result = prunecli.prune(checkpoint, speedup=4, protect=protect, steps=steps, repair="none")
    assert all(group.kept >= ceil(protect * group.dense - 1e-9) for group in result.report.groups)
    assert len(result.report.steps) == steps
    assert macs(resnet8()) / macs(result.model) == pytest.approx(4, rel=0.005)


def test_widths_in_multiples_and_layers_left_out(checkpoint: Path) -> None:
    result = prunecli.prune(
        checkpoint, ratio=0.4, round_to=8, ignore=["layer1.0.conv1"], tolerance=0.1, repair="none"
    )
    ignored = result.model.layer1[0].conv1
    assert ignored.out_channels == ignored.weight.shape[0] == 16
    assert all(group.kept % 8 == 0 for group in result.report.groups if group.status == "pruned")
    whole = [group for group in result.report.groups if "layer1.0.bn1" in group.layers]
    assert [group.reason for group in whole] == ["ignored by --ignore layer1.0.conv1"]


class Brittle(nn.Module):
    """``middle`` may not be cut: forward asks for its width in a way that leaves no trace, and ``use``
    does something with the answer.
    """

    def __init__(self, use: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.middle = nn.Conv2d(16, 12, 3)
        self.last = nn.Conv2d(12, 16, 3)
        self.head = nn.Linear(16, 4)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.first(x).relu()).relu()
        x = self.use(x, x.stride(0) // x.stride(1))
        return self.head(self.last(x).relu().mean((2, 3)))


def insist(x: Tensor, width: int) -> Tensor:
    if width != 12:
        raise RuntimeError(f"made for 12 maps, not {width}")
    return x


def scale(x: Tensor, width: int) -> Tensor:
    return x * (1 + width / 12)


@pytest.mark.parametrize(("use", "why"), [(insist, "made for 12 maps"), (scale, "relative error")])
def test_a_group_that_breaks_when_cut_is_left_whole_and_the_rest_goes_on(
    use: Callable[[Tensor, int], Tensor], why: str
) -> None:
    torch.manual_seed(0)
    result = prunecli.prune(Brittle(use), example_inputs=torch.zeros(1, 3, 12, 12), ratio=0.4)
    rows = {group.layers[0]: group for group in result.report.groups if group.status != "prunable"}
    middle = next(group for group in result.report.groups if "middle" in group.layers[:1])
    assert (middle.kept, middle.status) == (12, "whole")
    assert middle.reason is not None
    assert why in middle.reason
    assert rows["first"].status == rows["last"].status == "pruned"
    assert all(proof.passed for proof in result.report.proofs)


def test_a_proof_that_always_fails_stops_the_run(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prunecli.proofs.Subject.error", lambda *_: 1.0)
    with pytest.raises(ImpossibleError):
        prunecli.prune(checkpoint, speedup=2)


def test_a_file_that_does_not_reload_is_not_written(halved: Result, tmp_path: Path) -> None:
    """The weights change between the recipe and the file: the fresh process must notice."""
    other = resnet8(1)
    odd = prunecli.prune(other, example_inputs=IMAGE, plan=halved.plan, repair="none").model
    path = tmp_path / "small.safetensors"
    with pytest.raises(ImpossibleError, match="does not reload as the same network"):
        replace(halved, model=odd).save(path)
    assert not list(tmp_path.iterdir())


def test_outputs_that_differ_after_reload_are_not_written(
    halved: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.safetensors"
    path.write_text("the one before")
    monkeypatch.setattr(
        "prunecli.saving.reload_proof", lambda *_, **__: Proof(RELOAD, False, 0.5, 1e-4, "relative error 0.5")
    )
    with pytest.raises(ImpossibleError, match=r"relative error 0\.5"):
        halved.save(path, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["small.safetensors"]
    assert path.read_text() == "the one before"


def test_an_existing_file_needs_force(halved: Result, saved: Path, tmp_path: Path, no_reload: None) -> None:
    path = tmp_path / "small.safetensors"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        halved.save(path)
    assert path.read_text() == "mine"
    halved.save(path, force=True)
    assert digest(path) == digest(saved)


def test_a_network_without_a_free_axis_says_why() -> None:
    with pytest.raises(ImpossibleError) as caught:
        prunecli.prune(nn.Linear(4, 2), example_inputs=torch.zeros(1, 4), speedup=2)
    assert "no dimension of any parameter can lose an index" in caught.value.message
    assert "the network's output (2x); the network's input" in caught.value.message


class Doubled(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 12)
        self.inner = nn.Linear(12, 12)
        self.again = self.inner
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.again(self.inner(self.first(x).relu()).relu()).relu())


def test_a_layer_with_two_names_is_cut_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Doubled()
    result = prunecli.prune(net, example_inputs=torch.zeros(1, 4), ratio=0.5)
    assert [proof.passed for proof in result.report.proofs] == [True]
    assert result.model.again is result.model.inner
    assert result.model.inner.weight.shape == (6, 6)
    assert net.again is net.inner
    assert net.inner.weight.shape == (12, 12)
    result.save(tmp_path / "small.safetensors")
    x = torch.randn(3, 4)
    assert same_outputs(prunecli.load(tmp_path / "small.safetensors", factory=Doubled)(x), result.model(x))


BIASED = """
import torch
from torch import nn


class Attention(nn.Module):
    \"\"\"A bias of q and v, zeros outside the state_dict for k, and places that are told apart.\"\"\"

    def __init__(self, width=24, heads=4):
        super().__init__()
        self.heads = heads
        self.stem = nn.Linear(5, width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias, self.v_bias = (nn.Parameter(torch.randn(width)) for _ in range(2))
        self.register_buffer("k_bias", torch.empty(width), persistent=False)
        self.register_buffer("places", torch.empty(7), persistent=False)
        self.k_bias.zero_()
        self.places.copy_(torch.arange(7.0))
        self.proj, self.table = nn.Linear(width, width), nn.Linear(5, 7)
        self.head, self.second = nn.Linear(width, 3), nn.Linear(7, 3)

    def forward(self, x):
        batch, tokens, _ = x.shape
        h = self.stem(x)
        width = h.shape[2]
        bias = torch.cat([self.q_bias, self.k_bias, self.v_bias])
        qkv = nn.functional.linear(h, self.qkv.weight, bias)
        q, k, v = qkv.reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        seen = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        h = h + self.proj(seen.transpose(1, 2).reshape(batch, tokens, width))
        return self.head(h).sum(1) + self.second(self.table(x) + self.places).sum(1)
"""


def test_a_buffer_outside_the_file_is_cut_and_made_again(tmp_path: Path) -> None:
    """In a fresh process, which has the file and the class; ``verify`` cuts it again."""
    (tmp_path / "net.py").write_text(BIASED)
    space: dict[str, Callable[[], nn.Module]] = {}
    exec(compile(BIASED, "net.py", "exec"), space)
    torch.manual_seed(0)
    dense = space["Attention"]()
    torch.save(dense.state_dict(), tmp_path / "dense.pth")
    arch = f"{tmp_path / 'net.py'}:Attention"
    result = prunecli.prune(tmp_path / "dense.pth", arch=arch, inputs=("6,5",), ratio=0.5)
    assert result.model.k_bias.shape == (12,)
    assert result.model.qkv.weight.shape == (36, 12)
    assert result.model.places.shape == (7,), "it is told apart: cutting it would need its values"
    oracle = next(proof for proof in result.report.proofs if proof.name == "masked oracle")
    assert oracle.passed
    assert oracle.error is not None
    assert oracle.error < 1e-9
    report = result.save(tmp_path / "small.safetensors")
    assert [(proof.name, proof.passed) for proof in report.proofs][-1] == (RELOAD, True)
    x = torch.randn(2, 6, 5)
    loaded = prunecli.load(tmp_path / "small.safetensors", arch=arch)
    into = prunecli.load(tmp_path / "small.safetensors", into=space["Attention"]())
    for module in (loaded, into):
        torch.testing.assert_close(module(x), result.model(x))
        assert set(module.state_dict()) == set(dense.state_dict())
    recipe = read(tmp_path / "small.safetensors").recipe
    assert recipe is not None
    assert recipe.shapes["k_bias"] == (12,)
    assert "places" not in recipe.shapes
    found = prunecli.verify(tmp_path / "small.safetensors", against=tmp_path / "dense.pth", arch=arch)
    assert found.passed, found.proofs
