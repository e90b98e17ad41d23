"""What verify finds in a written file, and in one that is not what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from resnet8 import Own, digest, resnet8
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import prunecli
from prunecli import InputError
from prunecli.fresh import RELOAD


def test_a_written_file_is_verified_against_the_dense_one(saved: Path, checkpoint: Path) -> None:
    found = prunecli.verify(saved, against=checkpoint)
    assert found.passed
    assert [proof.name for proof in found.proofs] == [
        "digests", "whole file", RELOAD, "source digest", "masked oracle", "equals the cut",
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
    assert [(proof.name, proof.passed) for proof in found.proofs] == [
        ("digests", False), ("whole file", True), (RELOAD, False),
    ]  # fmt: skip
    changed = next(
        n
        for n, t in load_file(saved).items()
        if not torch.equal(t, load_file(tmp_path / "odd.safetensors")[n])
    )
    assert f"'{changed}'" in found.proofs[0].detail


def test_the_same_tensors_in_another_header_are_another_file(saved: Path, tmp_path: Path) -> None:
    """The library writes them in an order of its own."""
    with safe_open(saved, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(saved), tmp_path / "odd.safetensors", metadata | {"note": "x"})
    found = prunecli.verify(tmp_path / "odd.safetensors")
    assert [proof.name for proof in found.proofs if not proof.passed] == ["whole file"]


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


def test_a_file_written_from_a_module_can_be_verified(tmp_path: Path) -> None:
    result = prunecli.prune(Own(), example_inputs=torch.zeros(1, 3, 12, 12), ratio=0.5)
    result.save(tmp_path / "own.safetensors")
    assert prunecli.verify(tmp_path / "own.safetensors", factory=Own).passed
    with pytest.raises(InputError, match="made from a module"):
        prunecli.verify(tmp_path / "own.safetensors")


def test_a_file_of_the_users_own_network_needs_it_named(tmp_path: Path, no_reload: None) -> None:
    (tmp_path / "mine.py").write_text("from torch import nn\ndef f():\n    return nn.Linear(4, 4)\n")
    spec = f"{tmp_path / 'mine.py'}:f"
    save_file(torch.nn.Linear(4, 4).state_dict(), tmp_path / "dense.safetensors")
    result = prunecli.prune(
        tmp_path / "dense.safetensors", arch=spec, inputs=["4"], plan=prunecli.Plan({}, {})
    )
    result.save(tmp_path / "small.safetensors")
    with pytest.raises(InputError, match=r"needs 'mine\.py:f', which a file may not run") as caught:
        prunecli.verify(tmp_path / "small.safetensors")
    assert "--arch FILE.py:factory" in (caught.value.hint or "")
    assert prunecli.verify(tmp_path / "small.safetensors", factory=lambda: torch.nn.Linear(4, 4)).passed
