"""A pickle that runs code: not without the flag, and with it in another process, which gives tensors."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runner import run_fresh, run_here
from resnet8 import resnet8
from torch import Tensor, nn
from yolo import needs_ultralytics

import prunecli
from prunecli.checkpoint.pickles import NeedsCodeError
from prunecli.errors import InputError
from prunecli.unsafe import WARNING, opened


class Runs:
    """Runs a line of Python when it is unpickled."""

    def __init__(self, line: str) -> None:
        self.line = line

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.line,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Where the code in ``hostile`` leaves the number of its process."""
    return tmp_path / "mark"


@pytest.fixture
def hostile(tmp_path: Path, mark: Path) -> Path:
    path = tmp_path / "dense.pt"
    line = f"import os; open({str(mark)!r}, 'w').write(str(os.getpid())); print('on stdout')"
    torch.save({"model": resnet8(), "more": Runs(line), "epoch": 3}, path)
    return path


def put(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


COMMANDS = {
    "run": ("--speedup", "2"), "run --dry-run": ("--speedup", "2"), "inspect": (), "explain": ("*",),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_without_the_flag_it_is_refused_and_nothing_ran(
    command: str, hostile: Path, mark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *more = command.split()
    before = sorted(hostile.parent.iterdir())
    ran = run_here(capsys, name, hostile, *COMMANDS[command], *more)
    assert (ran.code, ran.out) == (3, "")
    error, hint = ran.err.splitlines()
    assert "needs code to open: it asks for" in error
    assert "only where you trust its source" in hint and "--unsafe-load" in hint
    assert not mark.exists()
    assert sorted(hostile.parent.iterdir()) == before


def test_the_dense_file_of_verify_is_refused_as_well(hostile: Path, saved: Path, mark: Path) -> None:
    with pytest.raises(NeedsCodeError):
        prunecli.verify(saved, against=hostile)
    assert not mark.exists()
    proofs = prunecli.verify(saved, against=hostile, unsafe_load=True)
    assert mark.exists()
    assert WARNING in proofs.notes
    # The same weights, in another file than the one that was cut.
    failed = [proof.name for proof in proofs.proofs if not proof.passed]
    assert failed == ["source digest"]


def test_with_the_flag_it_is_pruned_and_reloads_from_its_file(
    hostile: Path, mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.safetensors"
    ran = run_here(capsys, "run", hostile, "-o", small, "--speedup", "2", "--unsafe-load", "-q")
    assert (ran.code, ran.out) == (0, f"{small}\n")
    assert int(mark.read_text()) != os.getpid()
    proofs = prunecli.verify(small, against=hostile, unsafe_load=True).proofs
    assert all(proof.passed for proof in proofs)
    assert prunecli.load(small)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_it_is_said_on_stderr_that_code_ran(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "inspect", hostile, "--unsafe-load")
    assert ran.code == 0
    assert f"note: {WARNING}" in ran.err.splitlines()
    # Nor does what the code prints reach anyone who reads the result.
    assert "on stdout" not in ran.out + ran.err


def test_what_weights_only_reads_runs_in_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("prunecli.unsafe.subprocess.run", refuse)
    found = opened(put(tmp_path / "plain.pth", resnet8().state_dict()), unsafe_load=True)
    assert found.notes == ()


def test_no_object_of_the_file_reaches_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class of the pickle can be imported only where the child looks for it."""
    (tmp_path / "foreign_net.py").write_text(
        "from torch import nn, ones\n"
        "class Text(str): pass\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.own = nn.Linear(2, 3)\n"
        "    def get_extra_state(self):\n"
        "        return Text('state')\n"
        "    def set_extra_state(self, state):\n"
        "        pass\n"
    )
    path = tmp_path / "foreign.pt"
    code = f"import torch, foreign_net as f; torch.save({{'net': f.Net(), f.Text('k'): 1}}, {str(path)!r})"
    made = run_fresh(code=code, PYTHONPATH=str(tmp_path))
    assert made.code == 0, made.err
    with pytest.raises(NeedsCodeError, match=r"foreign_net\.Net"):
        opened(path, unsafe_load=False)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join((str(Path(prunecli.__file__).parents[1]), str(tmp_path)))
    )
    found = opened(path, unsafe_load=True)
    assert "foreign_net" not in sys.modules
    assert {key: tuple(tensor.shape) for key, tensor in found.checkpoint.tensors.items()} == {
        "own.weight": (3, 2),
        "own.bias": (3,),
    }
    assert {type(tensor) for tensor in found.checkpoint.tensors.values()} == {Tensor}
    assert {type(name) for name in found.checkpoint.dropped} == {str}
    assert sorted(found.checkpoint.dropped) == ["_extra_state", "k"]


def test_the_average_is_taken_where_whole_modules_are_saved(tmp_path: Path) -> None:
    trained, average = resnet8(0), resnet8(1).half()
    found = opened(put(tmp_path / "last.pt", {"model": trained, "ema": average}), unsafe_load=True)
    assert found.notes == (WARNING, "the averaged weights ('ema') are taken, not 'model'")
    tensors = found.checkpoint.tensors
    assert all(torch.equal(tensors[key], value) for key, value in average.state_dict().items())
    without = opened(put(tmp_path / "best.pt", {"model": trained, "ema": None}), unsafe_load=True)
    assert without.notes == (WARNING,)
    assert torch.equal(without.checkpoint.tensors["fc.weight"], trained.get_parameter("fc.weight"))


ANSWER = (
    "import sys, pathlib, os; p = pathlib.Path(sys.argv[2]) / 'answer.json'; p.write_text({!r}); os._exit(0)"
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import os; os._exit(0)", r"gave no answer \(exit code 0\)"),
        ("raise ValueError('one\\ntwo')", "opening it raised ValueError: one$"),
        ("import nothing_like_it", "needs the package nothing_like_it"),
        (ANSWER.format("not json"), "gave no answer"),
        (ANSWER.format('{"arch": 1}'), "missing field"),
    ],
)
def test_a_child_that_fails_or_answers_falsely_is_one_line(line: str, said: str, tmp_path: Path) -> None:
    path = put(tmp_path / "bad.pt", {"model": resnet8(), "more": Runs(line)})
    with pytest.raises(InputError, match=said) as caught:
        opened(path, unsafe_load=True)
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_what_is_no_network_is_refused_with_the_flag_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights found; the file holds 'more'"):
        opened(put(tmp_path / "none.pt", {"more": Runs("pass")}), unsafe_load=True)
    sparse = nn.Linear(2, 2)
    sparse.register_buffer("eye", torch.eye(2).to_sparse())
    with pytest.raises(InputError, match="'eye' is not dense"):
        opened(put(tmp_path / "sparse.pt", sparse), unsafe_load=True)


MAKES = """
import sys, torch
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
torch.manual_seed(0)
settings = yaml_model_load("yolov8n.yaml")
net = DetectionModel(settings | {"yaml_file": sys.argv[2]}, nc=3, verbose=False)
torch.save({"epoch": 1, "model": None, "ema": net.half(), "train_args": {"imgsz": 64}}, sys.argv[1])
torch.save(net.state_dict(), sys.argv[1] + ".weights")
"""


def trained(path: Path, yaml: str) -> Path:
    quiet = {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false", "YOLO_CONFIG_DIR": str(path.parent)}
    made = run_fresh(path, yaml, code=MAKES, **quiet)
    assert made.code == 0, made.err
    return path


@needs_ultralytics
def test_an_ultralytics_pickle_says_its_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained(tmp_path / "best.pt", "runs/yolov8n.yaml")
    ran = run_here(capsys, "inspect", path, "--input", "3,64,64")
    assert ran.code == 3
    assert "it asks for ultralytics.nn.tasks.DetectionModel" in ran.err
    found = opened(path, unsafe_load=True)
    assert found.arch == "ultralytics:yolov8n"
    # The weights are those of the network, in half precision, as ultralytics saves them.
    plain = torch.load(f"{path}.weights", weights_only=True)
    assert all(
        torch.equal(found.checkpoint.tensors[key.removeprefix("model.")], value)
        for key, value in plain.items()
    )
    facts = prunecli.inspect(path, inputs=["3,64,64"], unsafe_load=True).network
    assert (facts.spec, dict(facts.arguments)) == ("ultralytics:yolov8n", {"nc": 3})
    explained = prunecli.explain(path, "model.0.conv", inputs=["3,64,64"], unsafe_load=True)
    assert explained.groups


@needs_ultralytics
def test_a_name_that_ultralytics_does_not_ship_names_nothing(tmp_path: Path) -> None:
    path = trained(tmp_path / "own.pt", "mine.yaml")
    assert opened(path, unsafe_load=True).arch == ""
    with pytest.raises(InputError, match="network of this checkpoint is not known"):
        prunecli.inspect(path, unsafe_load=True)
