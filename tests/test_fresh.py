"""A process that has seen nothing else: it agrees, it differs, it fails; each is a proof, not an error."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from prunecli import fresh
from prunecli.checkpoint import InputSpec, Recipe, tensor_digests, write
from prunecli.fresh import RELOAD, TOLERANCE, reload_proof
from prunecli.inputs import make
from prunecli.networks.cifar import REGISTRY
from prunecli.plan import Plan

SPECS = (InputSpec(None, "float32", (1, 3, 32, 32)),)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Tensor]]:
    """A file with a recipe, and what its network answers."""
    torch.manual_seed(0)
    net = REGISTRY["resnet8"]().eval()
    tensors = net.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    digests = tensor_digests(tensors)
    recipe = Recipe("cifar:resnet8", {}, SPECS, shapes, (), Plan({}, {}), digests, digests)
    path = tmp_path_factory.mktemp("fresh") / "net.safetensors"
    write(path, tensors, recipe, check=lambda _: None, force=False)
    with torch.no_grad():
        return path, [make(SPECS).run(net)]


def test_the_same_outputs(written: tuple[Path, list[Tensor]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A path relative to here must reach the other process."""
    path, outputs = written
    monkeypatch.chdir(path.parent)
    proof = reload_proof(Path(path.name), SPECS, outputs)
    assert (proof.name, proof.passed, proof.tolerance) == (RELOAD, True, TOLERANCE)
    assert proof.error is not None
    assert proof.error < 1e-6


def test_a_file_that_does_not_load_is_a_failed_proof_with_the_reason(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "plain.safetensors")
    proof = reload_proof(tmp_path / "plain.safetensors", SPECS, None)
    assert not proof.passed
    assert "has no recipe" in proof.detail
    assert "\n" not in proof.detail


def served(
    path: Path, answer: Path, specs: tuple[InputSpec, ...], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Tensor]:
    """What the other process does, in this one."""
    request = {
        "path": str(path),
        "answer": str(answer),
        "inputs": [spec.to_json() for spec in specs],
        "arch": None,
        "plainly": False,
        "threads": torch.get_num_threads(),
    }
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
    fresh._serve()
    return load_file(answer)


def test_the_other_process_loads_runs_and_hands_back(
    written: tuple[Path, list[Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, outputs = written
    found = served(path, tmp_path / "outputs.safetensors", SPECS, monkeypatch)
    assert found.keys() == {"0"}
    torch.testing.assert_close(found["0"], outputs[0])


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        ([torch.tensor([1.0, 2.0])], True),
        ([torch.tensor([1.0, 2.0 + 1e-5])], True),
        ([torch.tensor([1.0, 2.01])], False),
        ([torch.tensor([1.0, float("nan")])], False),
        ([torch.tensor([1.0])], False),
        ([torch.tensor([1.0, 2.0])] * 2, False),
    ],
)
def test_outputs_are_compared(found: list[Tensor], passed: bool, tmp_path: Path) -> None:
    save_file({str(i): t.clone() for i, t in enumerate(found)}, tmp_path / "answer.safetensors")
    proof = fresh._compared(tmp_path / "answer.safetensors", [torch.tensor([1.0, 2.0])])
    assert proof.passed is passed
    assert ("same outputs" in proof.detail) is passed


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        ([torch.tensor([1.0, -2.0]), torch.tensor([3])], True),
        ([torch.tensor([1.0, float("inf")])], False),
        ([], False),
    ],
)
def test_without_expected_outputs_they_must_be_finite(
    found: list[Tensor], passed: bool, tmp_path: Path
) -> None:
    save_file({str(i): t for i, t in enumerate(found)}, tmp_path / "answer.safetensors")
    proof = fresh._compared(tmp_path / "answer.safetensors", None)
    assert proof.passed is passed
    assert proof.error is None


def test_many_outputs_keep_their_order(tmp_path: Path) -> None:
    outputs = [torch.full((2,), float(index)) for index in range(12)]
    save_file({str(i): t for i, t in enumerate(outputs)}, tmp_path / "answer.safetensors")
    assert fresh._compared(tmp_path / "answer.safetensors", outputs).error == 0
