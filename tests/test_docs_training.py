"""docs/training.md: its example as a package that is installed, and its links."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pages import blocks, missing_links, run_apart
from resnet8 import resnet8

from prunecli.regularizers.registry import ENTRY_POINT_GROUP

PAGE = "docs/training.md"
EXAMPLE = blocks(PAGE, "python")[0]
COMMAND = [
    "prune",
    "sparsify",
    "model.pth",
    "--sparsify",
    "elastic",
    "--data",
    "digits",
    "--samples",
    "40",
    "--epochs",
    "1",
    "--batch-size",
    "20",
    "--sparsify-arg",
    "strength=0.01",
    "--force",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    torch.save(resnet8().state_dict(), folder / "model.pth")
    return folder


def test_linked_files_exist() -> None:
    assert not missing_links(PAGE)


def test_a_regularizer_of_another_package(folder: Path, tmp_path: Path) -> None:
    missing = run_apart(COMMAND, folder)
    assert missing.returncode == 2
    assert "unknown regularizer 'elastic'" in missing.stderr
    (tmp_path / "elastic.py").write_text(EXAMPLE.code, encoding="utf-8")
    info = tmp_path / "prune_elastic-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: prune-elastic\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nelastic = elastic:ELASTIC\n")
    done = run_apart(COMMAND, folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "elastic (strength 0.01)" in done.stdout
