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


ARGUMENTS = """
from torch import nn

def plain(width, depth=1):
    return nn.Linear(width, depth)

def any_of(**sizes):
    return nn.Linear(**sizes)

def stops():
    raise SystemExit("not today")

def asserts():
    assert False

def lazy():
    return nn.Sequential(nn.LazyLinear(3))

def late():
    from helper import SIZE
    return nn.Linear(SIZE, SIZE)
"""


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "message", "hint"),
    [
        ("plain", {"widht": 3}, UsageError, "unknown argument of .*:plain 'widht'", "did you mean width"),
        ("plain", {}, UsageError, ":plain needs a value for 'width'", "--arch-arg width=VALUE"),
        ("stops", {}, InputError, "raised SystemExit: not today", "--arch-arg"),
        ("asserts", {}, InputError, "raised AssertionError$", "--arch-arg"),
        ("lazy", {}, InputError, r"leaves '0\.weight' without a size", "run the network once"),
    ],
)
def test_what_a_factory_is_called_with(
    name: str,
    arguments: dict[str, int],
    kind: type[PruneError],
    message: str,
    hint: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "called.py").write_text(ARGUMENTS)
    with pytest.raises(kind, match=message) as caught:
        build(f"{tmp_path / 'called.py'}:{name}", arguments)
    assert hint in (caught.value.hint or "")


def test_arguments_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "called.py").write_text(ARGUMENTS)
    module, _ = build(f"{tmp_path / 'called.py'}:any_of", {"in_features": 3, "out_features": 2})
    assert module.get_parameter("weight").shape == (2, 3)


def test_a_file_imports_from_beside_it_and_from_where_prune_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("nets", "run"):
        (tmp_path / folder).mkdir()
    (tmp_path / "nets" / "called.py").write_text(ARGUMENTS)
    (tmp_path / "run" / "helper.py").write_text("SIZE = 6\n")
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    module, _ = build("../nets/called.py:late", {})
    assert module.get_parameter("weight").shape == (6, 6)
    assert sys.path == before
    sys.modules.pop("helper")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("from .other import x", "it belongs to a package: --arch shop.net:f"),
        ("import not_here_at_all", "install it in this environment"),
        ("raise SystemExit", "training belongs under if __name__ == '__main__'"),
    ],
)
def test_a_file_that_cannot_be_imported(
    line: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "net.py").write_text(f"{line}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        build("shop/net.py:f", {})
    assert hint in (caught.value.hint or "")


def test_a_checkpoint_that_is_not_the_factorys(source: Path) -> None:
    with pytest.raises(InputError, match="1 not in the network") as caught:
        resolve(
            {"model.weight": torch.ones(3, 4), "model.bias": torch.ones(3), "loss.weight": torch.ones(1)},
            arch=f"{source}:factory",
            arguments={},
        )
    assert "the factory must build what was saved" in (caught.value.hint or "")
