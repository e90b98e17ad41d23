"""prune and inspect as they are called: files and modules alike, wrong arguments, what is left untouched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gqa
import pytest
import torch
from equality import same_outputs
from resnet8 import IMAGE, Own, resnet8, same_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

import prunecli
from prunecli import ImpossibleError, InputError, Plan, Result, UsageError
from prunecli.checkpoint.reading import read
from prunecli.fresh import RELOAD
from prunecli.networks import build
from prunecli.proofs import ORACLE


def test_the_result_is_the_ordinary_class_ready_to_train(halved: Result) -> None:
    assert type(halved.model) is type(resnet8())
    assert not halved.model.training
    halved.model(IMAGE).sum().backward()
    assert all(parameter.grad is not None for parameter in halved.model.parameters())
    halved.model.zero_grad()


def test_random_scores_are_those_of_the_seed(checkpoint: Path) -> None:
    plans = [
        prunecli.prune(checkpoint, ratio=0.5, criterion="random", seed=seed, repair="none").plan
        for seed in (0, 0, 1)
    ]
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize(
    ("prefix", "key", "rest"),
    [("module.", "state_dict", {"epoch": 3}), ("", "model", {}), ("_orig_mod.", "model_state_dict", {})],
)
def test_a_wrapped_checkpoint_is_the_same_checkpoint(
    prefix: str, key: str, rest: dict[str, Any], halved: Result, tmp_path: Path
) -> None:
    weights = {prefix + name: tensor for name, tensor in resnet8().state_dict().items()}
    torch.save({key: weights, **rest}, tmp_path / "wrapped.pth")
    result = prunecli.prune(tmp_path / "wrapped.pth", speedup=2, repair="none")
    assert same_tensors(result.model.state_dict(), halved.model.state_dict())
    assert result.report.checkpoint is not None
    assert all(any(name in text for text in result.report.checkpoint.dropped) for name in rest)


@pytest.mark.parametrize("repair", ["none", "lstsq"])
def test_a_module_is_left_bit_identical(repair: str, halved: Result) -> None:
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
        net, example_inputs=torch.randn(1, 3, 32, 32, generator=torch.Generator()), speedup=2, repair=repair
    )

    assert same_tensors(net.state_dict(), before)
    assert {name: id(tensor) for name, tensor in net.named_parameters()} == identities
    assert [module.training for module in net.modules()] == modes
    assert [set(vars(module)) for module in net.modules()] == attributes
    assert not net.fc.weight.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert same_tensors(result.model.state_dict(), halved.model.state_dict()) == (repair == "none")
    assert not result.model.fc.weight.requires_grad


def test_a_module_keeps_its_modes_where_pruning_fails() -> None:
    net = resnet8().train()
    with pytest.raises(ImpossibleError):
        prunecli.prune(net, example_inputs=IMAGE, speedup=100000)
    assert all(module.training for module in net.modules())


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
    assert same_outputs(module(image), wanted)
    assert same_outputs(prunecli.load(path, factory=Own)(image), wanted)
    with pytest.raises(InputError):
        prunecli.load(path)


def test_a_module_with_a_named_architecture_needs_only_the_file(
    halved: Result, tmp_path: Path, no_reload: None
) -> None:
    result = prunecli.prune(resnet8(), example_inputs=IMAGE, arch="cifar:resnet8", speedup=2, repair="none")
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


def test_what_is_pruned_already_is_refused(saved: Path) -> None:
    with pytest.raises(InputError, match="was pruned by this tool already"):
        prunecli.prune(saved, speedup=2)


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


def test_whoever_watches_is_told_each_stage(checkpoint: Path) -> None:
    seen: list[str] = []
    prunecli.prune(checkpoint, ratio=0.3, repair="none", progress=seen.append)
    assert seen == ["read", "trace", "count", "score, select, cut", "prove", "count"]


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


OWN_NETWORK = """
from dataclasses import dataclass

import torch
from torch import Tensor, nn

@dataclass
class Answer:
    logits: Tensor
    states: tuple[Tensor, ...]

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.look = nn.Conv2d(3, 8, 3)
        self.inner = nn.Linear(8, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, images, *, words, options=None):
        seen = self.look(torch.stack(images)).mean((2, 3))
        inner = (self.inner(self.table(words).mean(1) + seen) * options["scale"]).relu()
        answer = self.head(inner)
        return Answer(answer, (answer.softmax(1),))

def example_inputs():
    image = torch.zeros(3, 8, 8)
    words = torch.tensor([[0, 49, 7]])
    return {"images": [image], "words": words, "options": {"scale": torch.ones(1)}}
"""


def test_named_nested_inputs_and_a_dataclass_reach_everywhere(tmp_path: Path) -> None:
    """A list of images, a keyword-only argument and a dict, from example_inputs() to the fresh process."""
    (tmp_path / "own.py").write_text(OWN_NETWORK)
    spec = f"{tmp_path / 'own.py'}:Net"
    net = build(spec, {})[0]
    torch.save(net.state_dict(), tmp_path / "own.pth")
    result = prunecli.prune(tmp_path / "own.pth", arch=spec, ratio=0.5)
    assert [(item.name, item.shape) for item in result.report.inputs] == [
        ("images.0", (3, 8, 8)), ("words", (1, 3)), ("options.scale", (1,)),
    ]  # fmt: skip
    assert result.report.counter == "fvcore"
    assert all(row.status == "pruned" for row in result.report.groups)
    report = result.save(tmp_path / "small.safetensors")
    assert [(proof.name, proof.passed) for proof in report.proofs] == [(ORACLE, True), (RELOAD, True)]
    found = prunecli.verify(tmp_path / "small.safetensors", against=tmp_path / "own.pth", arch=spec)
    assert found.passed


class Keeps(nn.Module):
    """Counts its calls and keeps what it computed, in a list and in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)
        self.steps, self.history, self.cache = 0, [], {}
        self.register_buffer("table", torch.linspace(0.1, 1, 6), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x).relu()
        self.steps += 1
        self.history.append(y)
        if "twos" not in self.cache:
            self.cache["twos"] = torch.full_like(y, 2.0)
        result: torch.Tensor = self.b(y * self.cache["twos"])
        return result


def test_a_module_that_keeps_things_is_left_as_it_was(tmp_path: Path) -> None:
    module = Keeps()
    result = prunecli.prune(module, example_inputs=torch.randn(1, 4), ratio=0.5)
    assert (module.steps, module.history, module.cache) == (0, [], {})
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())
    assert (result.model.steps, result.model.history) == (0, [])
    assert result.model(torch.randn(1, 4)).shape == (1, 2)
    result.save(tmp_path / "keeps.safetensors")
    loaded = prunecli.load(tmp_path / "keeps.safetensors", factory=Keeps)
    assert loaded.a.weight.shape == (3, 4)


def test_outputs_in_a_plain_object_are_never_cut() -> None:
    class Out:
        def __init__(self, logits: torch.Tensor) -> None:
            self.logits = logits

    class Wrapped(Own):
        def forward(self, x: torch.Tensor) -> Out:  # type: ignore[override]
            return Out(super().forward(x))

    result = prunecli.prune(Wrapped(), example_inputs=torch.zeros(1, 3, 12, 12), ratio=0.5)
    dense = Own()(torch.zeros(1, 3, 12, 12))
    assert result.model(torch.zeros(1, 3, 12, 12)).logits.shape == dense.shape


def test_a_seed_that_no_generator_takes() -> None:
    with pytest.raises(UsageError, match="--seed"):
        prunecli.prune(Own(), example_inputs=torch.zeros(1, 3, 12, 12), ratio=0.5, seed=2**40)


HEADS = [f"layers.{index}.attn.q_proj:heads" for index in range(2)]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_heads_alone_take_their_parameters_and_nothing_else(tmp_path: Path, no_reload: None) -> None:
    w, q, kv, d = 16, 8, 4, 6
    torch.save(gqa.build(2, w, q, kv, d).state_dict(), tmp_path / "gqa.pth")
    arch = f"{gqa.__file__}:build"
    result = prunecli.prune(tmp_path / "gqa.pth", arch=arch, inputs=["9,12"], heads=0.5)
    gone = 2 * (gqa.attention_parameters(w, q, kv, d) - gqa.attention_parameters(w, q // 2, kv // 2, d))
    assert parameters(gqa.build()) - parameters(result.model) == gone
    assert result.plan.sizes == dict.fromkeys(HEADS, kv // 2)
    assert result.report.target.kind == "groups"
    assert result.report.options["heads"] == 0.5
    reasons = {row.name: row.reason for row in result.report.groups}
    assert reasons["layers.0.up"] == "--heads 0.5 asks nothing of it"
    assert "heads are left whole unless asked for" in (reasons["layers.0.attn.q_proj:heads#2"] or "")
    result.save(tmp_path / "small.safetensors")
    recipe = read(tmp_path / "small.safetensors").recipe
    assert recipe is not None
    assert (recipe.options["heads"], recipe.options["ratio_for"], recipe.options["only"]) == (0.5, [], [])
    again = prunecli.verify(tmp_path / "small.safetensors", against=tmp_path / "gqa.pth", arch=arch)
    assert [proof.name for proof in again.proofs if not proof.passed] == []
    assert same_tensors(
        prunecli.load(tmp_path / "small.safetensors", factory=gqa.build).state_dict(),
        result.model.state_dict(),
    )


@pytest.mark.parametrize("target", [{"speedup": 2.0}, {"flops": 0.5}, {"params": 0.5}, {"ratio": 0.4}])
@pytest.mark.parametrize("scheme", ["local", "global", "protected"])
@pytest.mark.parametrize("steps", [1, 3])
def test_heads_beside_a_target(target: dict[str, float], scheme: str, steps: int) -> None:
    result = prunecli.prune(
        gqa.build(w=48, d=8), example_inputs=torch.zeros(gqa.INPUT), heads=0.5, scheme=scheme, steps=steps,
        tolerance=0.03, repair="none", **target,
    )  # fmt: skip
    assert [result.plan.sizes[name] for name in HEADS] == [2, 2]
    assert result.report.target.reached == pytest.approx(next(iter(target.values())), rel=0.03)
    assert len(result.plan.keep) > 2


def test_a_plan_with_heads_is_applied_as_it_is() -> None:
    inputs = torch.zeros(gqa.INPUT)
    chosen = prunecli.prune(gqa.build(), example_inputs=inputs, heads=0.25, speedup=1.5)
    applied = prunecli.prune(gqa.build(), example_inputs=inputs, plan=Plan.from_json(chosen.plan.to_json()))
    assert same_tensors(chosen.model.state_dict(), applied.model.state_dict())


def test_only_some_heads_and_one_layer_of_its_own() -> None:
    inputs = torch.zeros(gqa.INPUT)
    only = prunecli.prune(gqa.build(), example_inputs=inputs, heads=0.5, only=["layers.1.attn.*"])
    assert only.plan.sizes == {HEADS[1]: 2}
    mixed = prunecli.prune(
        gqa.build(), example_inputs=inputs, heads=0.5, round_to_for={"*.up": 10},
        ratio_for={HEADS[0]: 0.25, "layers.*.up": 0.25, "layers.1.attn.v_proj": 0.0},
    )  # fmt: skip
    assert mixed.plan.sizes == {HEADS[0]: 3, HEADS[1]: 2, "layers.0.up": 50, "layers.1.up": 50}
    reasons = {row.name: row.reason for row in mixed.report.groups}
    assert reasons["layers.1.attn.v_proj"] == "kept whole by --ratio-for layers.1.attn.v_proj=0"


@pytest.mark.parametrize("ratios", [{"heads": 0.5}, {"ratio_for": {"qkv:heads": 0.5}}])
def test_a_width_tied_to_heads_follows_them_and_the_size_of_a_head_stays(ratios: dict[str, Any]) -> None:
    """heads x size == width: of the three, only the size of a head can stay."""
    torch.manual_seed(0)
    net = gqa.TiedHeads(heads=4, size=6).eval()
    result = prunecli.prune(net, example_inputs=torch.zeros(2, 5, 6), **ratios)
    assert (result.model.num_heads, result.model.stem.out_features) == (2, 12)
    assert result.model.qkv.weight.shape == (36, 12)
    assert result.model(torch.zeros(2, 5, 6)).shape == (2, 5, 3)
    reasons = {row.name: row.reason for row in result.report.groups if row.status == "whole"}
    assert reasons == {
        "qkv": "the number of heads in 'qkv:heads' has a ratio of its own, and its size is tied to it"
    }
    assert any("the sizes of 'stem' are tied to it and follow" in note for note in result.report.notes)
    again = prunecli.prune(net, example_inputs=torch.zeros(2, 5, 6), plan=result.plan)
    assert same_tensors(again.model.state_dict(), result.model.state_dict())


def test_group_counts_go_when_a_glob_spells_them() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, groups=8), nn.ReLU(), nn.Conv2d(64, 5, 1)
    ).eval()
    result = prunecli.prune(net, example_inputs=torch.zeros(1, 3, 9, 9), ratio_for={"2:groups": 0.25})
    first, _, grouped, _, last = result.model.children()
    assert (grouped.groups, grouped.in_channels, grouped.out_channels) == (6, 24, 48)
    assert [tuple(layer.weight.shape[:2]) for layer in (first, grouped, last)] == [(24, 3), (48, 4), (5, 48)]
    # A layer's own name means its channels: all eight groups stay.
    channels = prunecli.prune(net, example_inputs=torch.zeros(1, 3, 9, 9), ratio_for={"2": 0.25})
    grouped = list(channels.model.children())[2]
    assert (grouped.groups, grouped.in_channels, grouped.out_channels) == (8, 32, 48)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"heads": 0.5}, ImpossibleError, "no attention heads"),
        ({"only": ["conv1"]}, UsageError, "one target"),
        ({"ratio_for": {"conv1": 0.5}, "ignore": ["conv1"]}, UsageError, "both name group 'conv1'"),
        ({"ratio_for": {"convl": 0.5}}, UsageError, "--ratio-for convl=0.5 matches no layer"),
        ({"ratio_for": {"fc": 0.5}}, ImpossibleError, "the network's output"),
        ({"plan": Plan({}, {}), "heads": 0.5}, UsageError, "a plan says all there is to do"),
    ],
)
def test_what_single_groups_cannot_be_asked(
    options: dict[str, Any], error: type[Exception], said: str, checkpoint: Path
) -> None:
    with pytest.raises(error, match=said) as caught:
        prunecli.prune(checkpoint, **options)
    assert caught.value.hint  # type: ignore[attr-defined]
