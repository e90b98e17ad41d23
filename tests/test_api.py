"""prune, inspect, verify, load: targets by an independent counter, equal networks, equal bytes, refusals."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import import_module
from math import ceil, floor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import prunecli
from prunecli import ImpossibleError, InputError, Plan, Result, UsageError
from prunecli.fresh import RELOAD
from prunecli.networks.cifar import REGISTRY
from prunecli.report.model import Proof

IMAGE = torch.zeros(1, 3, 32, 32)
SCHEMES = ("uniform", "local", "global", "protected")
TARGETS = {"speedup": 2.0, "flops": 0.5, "params": 0.5, "ratio": 0.5}


def resnet8(seed: int = 0) -> nn.Module:
    """Random weights, and statistics that a norm in eval mode can be seen by."""
    torch.manual_seed(seed)
    net = REGISTRY["resnet8"]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dense") / "resnet8.safetensors"
    save_file(resnet8().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def halved(checkpoint: Path) -> Result:
    return prunecli.prune(checkpoint, speedup=2)


@pytest.fixture(scope="module")
def saved(halved: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written once by the whole path, with its reload in a fresh process."""
    path = tmp_path_factory.mktemp("pruned") / "small.safetensors"
    report = halved.save(path)
    assert [(proof.name, proof.passed) for proof in report.proofs][-1] == (RELOAD, True)
    assert report.output is not None
    assert report.output.digest == digest(path)
    assert report.output.bytes == path.stat().st_size
    return path


@pytest.fixture
def no_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the fresh process, which takes seconds, where the test is not about it."""
    monkeypatch.setattr("prunecli.pruning.reload_proof", lambda *_: Proof(RELOAD, True))


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def macs(module: nn.Module) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis
    analysis = FlopCountAnalysis(module, IMAGE)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    return int(analysis.total())


def elements(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def removed(result: Result) -> float:
    """Fraction of units removed, over the groups that may be cut."""
    free = {group.name: group.size for group in result.space.groups if group.frozen is None}
    return 1 - sum(result.plan.sizes.get(name, size) for name, size in free.items()) / sum(free.values())


def same_tensors(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", TARGETS)
def test_every_target_by_every_scheme(kind: str, scheme: str, checkpoint: Path) -> None:
    result = prunecli.prune(checkpoint, scheme=scheme, **{kind: TARGETS[kind]})
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


def test_the_result_is_the_ordinary_class_ready_to_train(halved: Result) -> None:
    assert type(halved.model) is type(resnet8())
    assert not halved.model.training
    halved.model(IMAGE).sum().backward()
    assert all(parameter.grad is not None for parameter in halved.model.parameters())
    halved.model.zero_grad()


def test_what_was_saved_is_loaded(halved: Result, saved: Path) -> None:
    loaded = prunecli.load(saved)
    assert not loaded.training
    assert same_tensors(loaded.state_dict(), halved.model.state_dict())
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(image), halved.model(image))


def test_the_same_command_writes_the_same_bytes(checkpoint: Path, saved: Path, no_reload: None) -> None:
    before = torch.get_num_threads()
    for threads in (1, 2):
        path = saved.parent / f"again{threads}.safetensors"
        prunecli.prune(checkpoint, speedup=2, threads=threads).save(path)
        assert digest(path) == digest(saved)
    assert torch.get_num_threads() == before


def test_random_scores_are_those_of_the_seed(checkpoint: Path) -> None:
    plans = [prunecli.prune(checkpoint, ratio=0.5, criterion="random", seed=seed).plan for seed in (0, 0, 1)]
    assert plans[0] == plans[1] != plans[2]


def test_a_plan_saved_and_applied_gives_the_same_network(checkpoint: Path, halved: Result) -> None:
    plan = Plan.from_json(json.loads(json.dumps(halved.plan.to_json())))
    assert plan == halved.plan
    again = prunecli.prune(checkpoint, plan=plan)
    assert same_tensors(again.model.state_dict(), halved.model.state_dict())
    assert (again.report.target.kind, again.report.target.asked) == ("plan", None)
    assert again.report.target.reached == halved.report.target.reached


def test_a_plan_of_another_network_is_refused(checkpoint: Path, halved: Result) -> None:
    name, kept = next(iter(halved.plan.keep.items()))
    with pytest.raises(InputError, match="'nowhere', which this network does not have"):
        prunecli.prune(checkpoint, plan=Plan({"nowhere": (0,)}, {"nowhere": 4}))
    with pytest.raises(InputError, match="made for 1000 units"):
        prunecli.prune(checkpoint, plan=Plan({name: kept}, {name: 1000}))


@pytest.mark.parametrize(
    ("prefix", "key", "rest"),
    [("module.", "state_dict", {"epoch": 3}), ("", "model", {}), ("_orig_mod.", "model_state_dict", {})],
)
def test_a_wrapped_checkpoint_is_the_same_checkpoint(
    prefix: str, key: str, rest: dict[str, Any], halved: Result, tmp_path: Path
) -> None:
    weights = {prefix + name: tensor for name, tensor in resnet8().state_dict().items()}
    torch.save({key: weights, **rest}, tmp_path / "wrapped.pth")
    result = prunecli.prune(tmp_path / "wrapped.pth", speedup=2)
    assert same_tensors(result.model.state_dict(), halved.model.state_dict())
    assert result.report.checkpoint is not None
    assert all(any(name in text for text in result.report.checkpoint.dropped) for name in rest)


def test_a_module_is_left_bit_identical(halved: Result) -> None:
    net = resnet8().train()
    net.layer2.eval()
    net.fc.weight.requires_grad_(False)
    identities = {name: id(tensor) for name, tensor in net.named_parameters()}
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    attributes = [set(vars(module)) for module in net.modules()]
    torch.manual_seed(5)
    state = torch.get_rng_state()

    result = prunecli.prune(
        net, example_inputs=torch.randn(1, 3, 32, 32, generator=torch.Generator()), speedup=2
    )

    assert same_tensors(net.state_dict(), before)
    assert {name: id(tensor) for name, tensor in net.named_parameters()} == identities
    assert [module.training for module in net.modules()] == modes
    assert [set(vars(module)) for module in net.modules()] == attributes
    assert not net.fc.weight.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert same_tensors(result.model.state_dict(), halved.model.state_dict())
    assert not result.model.fc.weight.requires_grad


def test_a_module_keeps_its_modes_where_pruning_fails() -> None:
    net = resnet8().train()
    with pytest.raises(ImpossibleError):
        prunecli.prune(net, example_inputs=IMAGE, speedup=100000)
    assert all(module.training for module in net.modules())


class Own(nn.Module):
    """A network that no registry knows, with a width of its own."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).relu().mean((2, 3)))


def test_a_module_saved_is_loaded_into_one_or_by_a_factory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    result = prunecli.prune(Own(), example_inputs=torch.zeros(1, 3, 12, 12), speedup=2)
    path, image = tmp_path / "own.safetensors", torch.randn(1, 3, 12, 12)
    report = result.save(path)
    assert report.checkpoint is None
    assert all(proof.passed for proof in report.proofs)
    wanted = result.model(image)
    module = Own()
    assert prunecli.load(path, into=module) is module
    assert torch.equal(module(image), wanted)
    assert torch.equal(prunecli.load(path, factory=Own)(image), wanted)
    with pytest.raises(InputError):
        prunecli.load(path)


def test_a_module_with_a_named_architecture_needs_only_the_file(
    halved: Result, tmp_path: Path, no_reload: None
) -> None:
    result = prunecli.prune(resnet8(), example_inputs=IMAGE, arch="cifar:resnet8", speedup=2)
    result.save(tmp_path / "named.safetensors")
    loaded = prunecli.load(tmp_path / "named.safetensors")
    assert same_tensors(loaded.state_dict(), halved.model.state_dict())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    weights = resnet8().state_dict()
    weights["layer2.0.conv2.weight"][3, 1, 0, 0] = value
    save_file(weights, tmp_path / "broken.safetensors")
    with pytest.raises(InputError, match=r"'layer2\.0\.conv2\.weight'"):
        prunecli.prune(tmp_path / "broken.safetensors", speedup=2)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_target_out_of_reach_says_what_is_in_reach(scheme: str, checkpoint: Path) -> None:
    with pytest.raises(ImpossibleError) as caught:
        prunecli.prune(checkpoint, speedup=100000, scheme=scheme)
    said = re.search(
        r"--speedup 100000 is out of reach: the best is ([\d.]+)x: .*always stay", caught.value.message
    )
    assert said is not None
    best = float(said[1])
    assert caught.value.hint
    assert prunecli.prune(checkpoint, speedup=0.9 * best, scheme=scheme).report.target.met


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_weights_that_are_all_equal_reach_the_target(value: float, scheme: str, tmp_path: Path) -> None:
    weights = resnet8().state_dict()
    for name, tensor in weights.items():
        if tensor.is_floating_point() and "running" not in name:
            tensor.fill_(value)
    save_file(weights, tmp_path / "equal.safetensors")
    result = prunecli.prune(tmp_path / "equal.safetensors", speedup=2, scheme=scheme)
    assert macs(resnet8()) / macs(result.model) == pytest.approx(2, rel=0.005)


@pytest.mark.parametrize("cap", [0.6, 0.45])
def test_global_never_cuts_a_group_beyond_the_cap(cap: float, checkpoint: Path) -> None:
    result = prunecli.prune(checkpoint, flops=0.5, scheme="global", max_ratio=cap)
    for group in result.report.groups:
        assert group.dense - group.kept <= floor(cap * group.dense)
    assert any(group.kept < group.dense for group in result.report.groups)


@pytest.mark.parametrize(("protect", "steps"), [(0.1, 1), (0.3, 1), (0.3, 4)])
def test_protected_never_leaves_a_group_under_its_floor(protect: float, steps: int, checkpoint: Path) -> None:
    result = prunecli.prune(checkpoint, speedup=4, protect=protect, steps=steps)
    assert all(group.kept >= ceil(protect * group.dense - 1e-9) for group in result.report.groups)
    assert len(result.report.steps) == steps
    assert macs(resnet8()) / macs(result.model) == pytest.approx(4, rel=0.005)


def test_widths_in_multiples_and_layers_left_out(checkpoint: Path) -> None:
    result = prunecli.prune(checkpoint, ratio=0.4, round_to=8, ignore=["layer1.0.conv1"], tolerance=0.1)
    ignored = result.model.layer1[0].conv1
    assert ignored.out_channels == ignored.weight.shape[0] == 16
    assert all(group.kept % 8 == 0 for group in result.report.groups if group.status == "pruned")
    whole = [group for group in result.report.groups if "layer1.0.bn1" in group.layers]
    assert [group.reason for group in whole] == ["ignored by --ignore layer1.0.conv1"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half_precision(dtype: torch.dtype, tmp_path: Path, no_reload: None) -> None:
    path = tmp_path / "half.safetensors"
    save_file(resnet8().to(dtype).state_dict(), path)
    result = prunecli.prune(path, speedup=2)
    assert all(parameter.dtype == dtype for parameter in result.model.parameters())
    assert all(proof.passed for proof in result.report.proofs)
    assert result.report.target.reached == pytest.approx(2, rel=0.005)
    result.save(tmp_path / "small.safetensors")
    loaded = prunecli.load(tmp_path / "small.safetensors")
    assert same_tensors(loaded.state_dict(), result.model.state_dict())


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
    monkeypatch.setattr(import_module("prunecli.proofs"), "relative_error", lambda *_: 1.0)
    with pytest.raises(ImpossibleError):
        prunecli.prune(checkpoint, speedup=2)


def test_a_file_that_does_not_reload_is_not_written(halved: Result, tmp_path: Path) -> None:
    """The weights change between the recipe and the file: the fresh process must notice."""
    other = resnet8(1)
    odd = prunecli.prune(other, example_inputs=IMAGE, plan=halved.plan).model
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
        "prunecli.pruning.reload_proof", lambda *_: Proof(RELOAD, False, 0.5, 1e-4, "relative error 0.5")
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


def test_what_is_pruned_already_is_refused(saved: Path) -> None:
    with pytest.raises(InputError, match="was pruned by this tool already"):
        prunecli.prune(saved, speedup=2)


def test_a_written_file_is_verified_against_the_dense_one(saved: Path, checkpoint: Path) -> None:
    found = prunecli.verify(saved, against=checkpoint)
    assert found.passed
    assert [proof.name for proof in found.proofs] == [
        "digests", RELOAD, "source digest", "masked oracle", "equals the cut",
    ]  # fmt: skip
    assert found.output.digest == digest(saved)
    assert found.against is not None
    assert found.against.digest == digest(checkpoint)
    assert found.to_json()["passed"] is True


def test_a_flipped_bit_is_found(saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    (tmp_path / "odd.safetensors").write_bytes(content)
    found = prunecli.verify(tmp_path / "odd.safetensors")
    assert not found.passed
    assert [(proof.name, proof.passed) for proof in found.proofs] == [("digests", False), (RELOAD, False)]
    changed = next(
        n
        for n, t in load_file(saved).items()
        if not torch.equal(t, load_file(tmp_path / "odd.safetensors")[n])
    )
    assert f"'{changed}'" in found.proofs[0].detail


def test_another_dense_file_is_not_the_source(saved: Path, tmp_path: Path, no_reload: None) -> None:
    save_file(resnet8(1).state_dict(), tmp_path / "other.safetensors")
    found = prunecli.verify(saved, against=tmp_path / "other.safetensors")
    assert not found.passed
    failed = {proof.name: proof.detail for proof in found.proofs if not proof.passed}
    assert failed.keys() == {"source digest", "equals the cut"}
    assert "is not that of the cut" in failed["equals the cut"]


def test_a_file_without_a_recipe_cannot_be_verified(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="has no recipe"):
        prunecli.verify(checkpoint)


def resnet8_by_hand() -> tuple[int, int]:
    """Parameters and multiply-adds: (inputs, outputs, kernel, side of the output), each with a norm."""
    table = [
        (3, 16, 3, 32), (16, 16, 3, 32), (16, 16, 3, 32),
        (16, 32, 3, 16), (32, 32, 3, 16), (16, 32, 1, 16),
        (32, 64, 3, 8), (64, 64, 3, 8), (32, 64, 1, 8),
    ]  # fmt: skip
    params = sum(i * o * k * k + 2 * o for i, o, k, _ in table) + 64 * 10 + 10
    products = sum((i * o * k * k + 2 * o) * side * side for i, o, k, side in table)
    return params, products + 64 * 8 * 8 + 64 * 10


@pytest.mark.parametrize("given", ["path", "module"])
def test_inspect_totals_are_the_closed_forms(given: str, checkpoint: Path) -> None:
    found = (
        prunecli.inspect(checkpoint)
        if given == "path"
        else prunecli.inspect(resnet8().train(), example_inputs=IMAGE)
    )
    assert (found.totals.params, found.totals.macs) == resnet8_by_hand()
    assert sum(layer.macs_before for layer in found.layers) == found.totals.macs
    assert found.counter == "fvcore"
    # the three streams of the residual stages, and the inside of each block
    assert sorted(group.dense for group in found.groups if group.status == "prunable") == [
        16,
        16,
        32,
        32,
        64,
        64,
    ]
    assert {"fc.weight", "fc.bias"} & {pin.parameter for pin in found.pinned}
    assert json.loads(json.dumps(found.to_json()))["schema"] == "prunecli.inspect/1"


def test_inspect_takes_another_input(checkpoint: Path) -> None:
    params, products = resnet8_by_hand()
    found = prunecli.inspect(checkpoint, inputs=["3,64,64"])
    assert found.inputs[0].shape == (1, 3, 64, 64)
    assert found.totals.params == params
    assert found.totals.macs == 4 * (products - 640) + 640


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "exactly one target"),
        ({"speedup": 2, "params": 0.5}, "exactly one target"),
        ({"speedup": 2, "plan": Plan({}, {})}, "exactly one target"),
        ({"speedup": 0.5}, "0.5 is not above 1"),
        ({"ratio": 1.5}, "not between 0 and 1"),
        ({"speedup": 2, "repair": "magic"}, "unknown repair 'magic'"),
        ({"speedup": 2, "criterion": "magnitude-l3"}, "unknown criterion 'magnitude-l3'"),
        ({"speedup": 2, "scheme": "globl"}, "unknown scheme 'globl'"),
        ({"speedup": 2, "steps": 0}, "--steps 0"),
        ({"speedup": 2, "threads": 0}, "--threads 0"),
        ({"speedup": 2, "max_ratio": 0}, "--max-ratio 0"),
        ({"speedup": 2, "round_to": 0}, "--round-to 0"),
        ({"speedup": 2, "device": "abacus"}, "device 'abacus' is not available"),
        ({"speedup": 2, "ignore": ["nothing*"]}, "matches no layer and no group"),
    ],
)
def test_wrong_arguments_are_usage_errors(options: dict[str, Any], said: str, checkpoint: Path) -> None:
    with pytest.raises(UsageError) as caught:
        prunecli.prune(checkpoint, **options)
    assert said in caught.value.message


def test_an_input_the_network_cannot_take_is_refused(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="does not run on an input of 1x4x32x32"):
        prunecli.prune(checkpoint, inputs=["4,32,32"], speedup=2)


def test_whoever_watches_is_told_each_stage(checkpoint: Path) -> None:
    seen: list[str] = []
    prunecli.prune(checkpoint, ratio=0.3, progress=seen.append)
    assert seen == ["read", "trace", "count", "score, select, cut", "prove", "count"]


@dataclass
class Answer:
    """An output that fvcore's tracer refuses."""

    logits: Tensor


class Untraceable(nn.Module):
    """Half norms, which torch's counter does not see and the cost formula does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 1)
        self.norms = nn.Sequential(*[nn.BatchNorm2d(32) for _ in range(20)])
        self.middle = nn.Conv2d(32, 32, 1)
        self.last = nn.Conv2d(32, 8, 1)

    def forward(self, x: Tensor) -> Answer:
        return Answer(self.last(self.middle(self.norms(self.first(x)))))


def test_a_network_that_only_torch_can_count_reaches_its_target() -> None:
    torch.manual_seed(0)
    result = prunecli.prune(Untraceable(), example_inputs=torch.zeros(1, 3, 8, 8), speedup=2)
    assert result.report.counter == "torch"
    assert result.report.target.met


def test_torchs_total_has_the_terms_that_torch_leaves_out() -> None:
    torch.manual_seed(0)
    result = prunecli.prune(Untraceable(), example_inputs=torch.zeros(1, 3, 8, 8), speedup=2)
    products, norms = 64 * (3 * 32 + 32 * 32 + 32 * 8), 20 * 2 * 32 * 64
    assert result.report.before.macs == products + norms
    assert result.report.target.reached == pytest.approx(2, rel=0.03)  # a column is 3 % here


class Pair(nn.Module):
    """Two inputs of different type."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 16)
        self.inner = nn.Linear(16, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, words: Tensor, scale: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.inner(self.table(words) * scale).relu())}


def test_a_network_of_two_inputs_and_a_dictionary() -> None:
    words, scale = torch.zeros(1, 5, dtype=torch.int64), torch.randn(1, 5, 1)
    result = prunecli.prune(Pair(), example_inputs=(words, scale), ratio=0.5)
    assert [item.dtype for item in result.report.inputs] == ["int64", "float32"]
    assert result.model(words, scale)["logits"].shape == (1, 5, 3)


def test_named_inputs_reach_the_arguments_of_that_name() -> None:
    result = prunecli.prune(Pair(), inputs=["scale:1,5,1", "words:int64:1,5"], ratio=0.5)
    assert result.report.target.met


def test_a_scripted_module_is_refused_in_one_line() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(Own())
    with pytest.raises(InputError):
        prunecli.prune(scripted, example_inputs=torch.zeros(1, 3, 12, 12), ratio=0.5)


def test_a_file_written_from_a_module_can_be_verified(tmp_path: Path) -> None:
    result = prunecli.prune(Own(), example_inputs=torch.zeros(1, 3, 12, 12), ratio=0.5)
    result.save(tmp_path / "own.safetensors")
    assert prunecli.verify(tmp_path / "own.safetensors", factory=Own).passed
    with pytest.raises(InputError, match="made from a module"):
        prunecli.verify(tmp_path / "own.safetensors")
