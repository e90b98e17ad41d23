"""A process that has seen nothing else: it agrees, it differs, it fails; each is a proof, not an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from prunecli import fresh, processes
from prunecli.checkpoint import InputSpec, Recipe, tensor_digests, write
from prunecli.checkpoint.handover import put, take
from prunecli.fresh import RELOAD, TOLERANCE, reload_proof
from prunecli.inputs import make
from prunecli.loading import load
from prunecli.networks import hugging_face
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


def test_the_other_process_loads_runs_and_hands_back(
    written: tuple[Path, list[Tensor]], tmp_path: Path
) -> None:
    """What it does, in this one."""
    path, outputs = written
    request = {
        "path": str(path),
        "folder": str(tmp_path),
        "inputs": [spec.to_json() for spec in SPECS],
        "arch": None,
        "plainly": False,
        "threads": torch.get_num_threads(),
    }
    answer = fresh.serve(request)
    assert answer["error"] == ""
    found = take(tmp_path, answer["outputs"])
    assert found.keys() == {"0"}
    torch.testing.assert_close(found["0"], outputs[0])
    (tmp_path / "odd").mkdir()
    assert "digest" in fresh.serve(request | {"path": str(flipped(path, tmp_path))})["error"]


def flipped(path: Path, folder: Path) -> Path:
    """A copy with one other bit at its end."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    (folder / "flipped").write_bytes(content)
    return folder / "flipped"


def test_it_can_ask_the_librarys_own_loader(
    written: tuple[Path, list[Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, outputs = written
    monkeypatch.setattr(hugging_face, "load_plainly", load)
    request = {
        "path": str(path), "folder": str(tmp_path), "inputs": [spec.to_json() for spec in SPECS],
        "plainly": True, "threads": torch.get_num_threads(),
    }  # fmt: skip
    torch.testing.assert_close(take(tmp_path, fresh.serve(request)["outputs"])["0"], outputs[0])


def test_a_process_that_dies_is_a_failed_proof(
    written: tuple[Path, list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(*_: object) -> None:
        raise processes.DiedError("it was ended by SIGKILL")

    monkeypatch.setattr(processes, "call", died)
    proof = reload_proof(written[0], SPECS, None)
    assert (proof.passed, proof.detail) == (False, "it was ended by SIGKILL")


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
def test_outputs_are_compared(found: list[Tensor], passed: bool) -> None:
    proof = fresh._compared(found, [torch.tensor([1.0, 2.0])])
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
def test_without_expected_outputs_they_must_be_finite(found: list[Tensor], passed: bool) -> None:
    proof = fresh._compared(found, None)
    assert proof.passed is passed
    assert proof.error is None


def test_many_outputs_keep_their_order(tmp_path: Path) -> None:
    outputs = [torch.full((2,), float(index)) for index in range(12)]
    (tmp_path / "answer").mkdir()
    rows = put(tmp_path / "answer", {str(i): t for i, t in enumerate(outputs)})
    assert fresh._compared(list(take(tmp_path / "answer", rows).values()), outputs).error == 0
