"""The user's own file: found, run, and every mistake in it told in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from prunecli.checkpoint import InputSpec
from prunecli.errors import InputError, PruneError, UsageError
from prunecli.networks import build, resolve

SOURCE = """
import torch
from torch import nn
from neighbour import WIDTH

class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.model = nn.Linear(WIDTH, classes)

    def forward(self, x):
        return self.model(x)

def factory(classes=3):
    return Net(classes)

def example_inputs():
    return torch.zeros(2, WIDTH)

def number():
    return 3

def broken():
    raise KeyError("left out")

instance = Net()
text = "no function"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 4\n")
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def test_file(source: Path) -> None:
    module, inputs = build(f"{source}:factory", {"classes": 5})
    assert module.get_parameter("model.weight").shape == (5, 4)
    assert inputs == (InputSpec(None, "float32", (2, 4)),)
    assert str(source.parent) not in sys.path


def test_module(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.parent)
    module, _ = build("mine:Net", {})
    assert isinstance(module, nn.Module)


def test_a_prefix_taken_for_a_wrapper_is_put_back(source: Path) -> None:
    tensors = {"weight": torch.ones(3, 4), "bias": torch.zeros(3)}
    network = resolve(tensors, arch=f"{source}:factory", arguments={})
    assert network.notes == ()
    assert torch.equal(network.module(torch.ones(1, 4)), torch.full((1, 3), 4.0))


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("factori", UsageError, "unknown factory in .* 'factori'"),
        ("number", InputError, "returned int, not an nn.Module"),
        ("broken", InputError, "raised KeyError: 'left out'"),
        ("instance", UsageError, "is a Net, not a function"),
        ("text", UsageError, "is a str, not a function"),
        ("", UsageError, "is not FILE.py:factory"),
    ],
)
def test_mistakes(name: str, kind: type[PruneError], text: str, source: Path) -> None:
    with pytest.raises(kind, match=text) as caught:
        build(f"{source}:{name}", {})
    assert "\n" not in caught.value.message


def test_files_that_do_not_run(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def f(:\n")
    with pytest.raises(InputError, match="raised SyntaxError"):
        build(f"{tmp_path / 'bad.py'}:f", {})
    with pytest.raises(UsageError, match="no such file"):
        build(f"{tmp_path / 'none.py'}:f", {})
    with pytest.raises(UsageError, match=r"no module 'not_here_at_all\.sub'"):
        build("not_here_at_all.sub:f", {})


def test_no_input_size_known(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("from torch import nn\ndef f():\n    return nn.Linear(2, 2)\n")
    tensors = {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
    with pytest.raises(UsageError, match=r"input size of .* is not known"):
        resolve(tensors, arch=f"{tmp_path / 'bare.py'}:f", arguments={})
    network = resolve(tensors, arch=f"{tmp_path / 'bare.py'}:f", arguments={}, inputs=["2"])
    assert network.inputs == (InputSpec(None, "float32", (1, 2)),)
