"""Operators that nobody has heard of: what they touch stays, the rest is pruned, the report names them."""

from __future__ import annotations

import json
from pathlib import Path

import exotic
import numpy as np
import pytest
import torch
from cli_runner import run_here
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, example, free, reason

import prunecli
from prunecli.proofs import ORACLE


def test_everything_but_what_the_operators_touch_is_pruned() -> None:
    space = check(exotic.build(), *exotic.INPUT)
    names = set(free(space))
    for layer in range(exotic.LAYERS):
        assert {f"layers.{layer}.qkv", f"layers.{layer}.up"} <= names
        assert f"exotic_{layer} has no rule" in reason(space, f"layers.{layer}.before.weight", 0)
        assert f"exotic_{layer} has no rule" in reason(space, f"layers.{layer}.after.weight", 1)
    # The stream, and per layer the hidden units and the indices of a head.
    assert len(names) == 1 + 2 * exotic.LAYERS
    assert space.unknown_operators == tuple(f"prunecli_exotic.{name}" for name in exotic.NAMES)
    assert len([p for p in space.pinned if "has no rule" in p.reason]) == 3 * exotic.LAYERS


def test_the_report_names_them() -> None:
    result = prunecli.prune(exotic.build(), example_inputs=example(*exotic.INPUT), speedup=1.8)
    assert result.report.target.reached >= 1.79
    assert [proof.passed for proof in result.report.proofs if proof.name == ORACLE] == [True]
    notes = json.loads(json.dumps(result.report.to_json()))["notes"]
    for name in exotic.NAMES:
        assert f"operator prunecli_exotic.{name} has no rule: what it touches is left whole" in notes
    assert {layer.before.out_features for layer in result.model.layers} == {6}
    assert {layer.before.in_features for layer in result.model.layers} < set(range(1, 16))


def test_the_command_line_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_reload: None
) -> None:
    checkpoint, arch = tmp_path / "exotic.safetensors", f"{exotic.__file__}:build"
    save_file(exotic.build().state_dict(), checkpoint)
    done = run_here(
        capsys, "run", checkpoint, "--arch", arch, "--input", "5,12", "--ratio", "0.5", "--repair", "none"
    )
    assert done.code == 0, done.err
    for name in exotic.NAMES:
        assert f"prunecli_exotic.{name} has no rule" in done.err.replace("\n", " ")


LIBRARY = torch.library.Library("prunecli_bare", "DEF")
LIBRARY.define("reversed(Tensor x) -> Tensor")
LIBRARY.impl("reversed", lambda x: x.flip(-1).contiguous(), "CPU")


def chained(middle: object) -> Net:
    return Net(
        lambda m, x: m.d(F.relu(m.c(middle(F.relu(m.b(F.relu(m.a(x)))))))),  # type: ignore[operator]
        a=nn.Linear(4, 6), b=nn.Linear(6, 8), c=nn.Linear(8, 10), d=nn.Linear(10, 3),
    )  # fmt: skip


def test_an_operator_for_real_tensors_alone() -> None:
    """It has no kernel that knows only shapes, so the whole network runs on real tensors."""
    space = check(chained(torch.ops.prunecli_bare.reversed), 2, 4)
    assert free(space) == {"a": 6, "c": 10}
    assert space.unknown_operators == ("prunecli_bare.reversed",)
    assert space.macs.value(space.sizes) == 2 * (4 * 6 + 6 * 8 + 8 * 10 + 10 * 3)


def test_an_operator_for_real_tensors_alone_in_a_pruned_network() -> None:
    result = prunecli.prune(
        chained(torch.ops.prunecli_bare.reversed), example_inputs=example(2, 4), ratio=0.5
    )
    assert any("prunecli_bare.reversed has no rule" in note for note in result.report.notes)
    assert result.model.a.out_features < 6 and result.model.b.out_features == 8


class Squared(torch.autograd.Function):
    """Its forward is made of operators that are known, whatever its backward is."""

    @staticmethod
    def forward(ctx: object, x: Tensor, groups: int) -> Tensor:
        return (x.unflatten(1, (groups, -1)) ** 2).flatten(1)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def test_a_function_with_a_gradient_of_its_own() -> None:
    net = chained(lambda h: Squared.apply(h, 1))
    assert free(check(net, 2, 4)) == {"a": 6, "b": 8, "c": 10}
    grouped = chained(lambda h: Squared.apply(h, 2))
    space = check(grouped, 2, 4)
    assert free(space) == {"a": 6, "b": 4, "c": 10}
    assert not space.unknown_operators


@pytest.mark.parametrize(
    "through",
    [
        lambda h: torch.from_numpy(np.sort(h.numpy(), axis=-1)),
        lambda h: torch.from_numpy(np.asarray(h)[:, ::-1].copy()),
        lambda h: torch.tensor(h.tolist(), dtype=h.dtype),
    ],
)
def test_what_leaves_torch_stays_whole(through: object) -> None:
    space = check(chained(through), 2, 4)
    assert free(space) == {"a": 6, "c": 10}
    assert reason(space, "b.weight").startswith("its values leave torch")
    assert len(space.unknown_operators) == 1


def test_operators_inside_inference_mode_are_taken_apart() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return m.c(F.relu(m.b(F.relu(m.a(x)).flatten(1))))

    net = Net(forward, a=nn.Conv2d(3, 8, 1), b=nn.Linear(128, 6), c=nn.Linear(6, 2))
    space = check(net, 2, 3, 4, 4)
    assert free(space) == {"a": 8, "b": 6}
    assert not space.unknown_operators
