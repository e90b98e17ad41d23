"""The README's commands are run as they stand, on a small checkpoint."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from pages import Block, blocks, missing_links, run_apart, run_block

from prunecli.networks.cifar import REGISTRY

SHELL, PYTHON = ([block.code for block in blocks("README.md", kind)] for kind in ("sh", "python"))
OWN_NETWORK = """
from torch import nn

def build(width=16):
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, 5),
    )
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the files the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    torch.manual_seed(0)
    torch.save(REGISTRY["resnet8"](num_classes=7).state_dict(), folder / "model.pth")
    (folder / "mynet.py").write_text(OWN_NETWORK, encoding="utf-8")
    names: dict[str, object] = {}
    exec(OWN_NETWORK, names)
    torch.save(names["build"](width=32).state_dict(), folder / "own.pth")  # type: ignore[operator]
    return folder


def llama(directory: Path) -> None:
    """A model directory as ``save_pretrained`` leaves it."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(directory)


def test_the_first_command_is_the_demo_and_the_second_the_tests() -> None:
    first, second = SHELL[:2]
    assert first == "pip install '.[test,timm]' && prune demo\n"
    assert second.startswith("python -m pytest")


@pytest.mark.parametrize("index", range(2, len(SHELL)))
def test_shell_commands_run(
    index: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where only ``prune`` is called, in this process: the longest list has two dozen commands."""
    commands = SHELL[index]
    if "llama/" in commands:
        llama(folder / "llama")
    if ">" in commands:
        done = run_apart(["bash", "-euc", commands], folder)
        assert done.returncode == 0, done.stderr
    else:
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["prune"])
        run_block(Block("sh", commands), capsys)
    missing = [name for name in re.findall(r"-o (\S+)", commands) if not (folder / name).exists()]
    assert not missing


@pytest.mark.parametrize("index", range(len(PYTHON)))
def test_python_examples_run(index: int, folder: Path) -> None:
    if not (folder / "small.safetensors").exists():
        made = run_apart(["prune", "run", "model.pth", "-o", "small.safetensors", "--speedup", "2"], folder)
        assert made.returncode == 0, made.stderr
    done = run_apart([sys.executable, "-W", "error", "-c", PYTHON[index]], folder)
    assert done.returncode == 0, done.stderr


def test_linked_files_exist() -> None:
    assert not missing_links("README.md")
