"""ultralytics networks: the ones it builds itself, quietly; pruned, reloaded from the file, verified."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_runner import run_fresh, run_here
from yolo import needs_ultralytics, yolo

import prunecli
from prunecli.checkpoint import read
from prunecli.errors import InputError, UsageError
from prunecli.fresh import RELOAD
from prunecli.networks import build, resolve, ultralytics_names
from prunecli.proofs import ORACLE, run

pytestmark = needs_ultralytics

SMALL = ("1,3,64,64",)
# As ultralytics' documentation gives them, for 80 classes of COCO and 1000 of ImageNet.
PARAMETERS = {"yolov8n": 3_157_200, "yolo11n": 2_624_080, "yolov8n-seg": 3_409_968, "yolov8n-cls": 2_719_288}


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_parameters_that_were_published(name: str) -> None:
    module, (spec,) = build(f"ultralytics:{name}", {})
    assert sum(p.numel() for p in module.parameters()) == PARAMETERS[name]
    assert not any(p.is_meta for p in module.parameters())
    assert spec.shape == ((1, 3, 224, 224) if name.endswith("-cls") else (1, 3, 640, 640))


@pytest.mark.parametrize(("network", "classes"), [("yolov8n", 80), ("yolo11-cls-resnet18", 1000)])
def test_building_is_quiet_offline_and_leaves_nothing_behind(
    network: str, classes: int, tmp_path: Path
) -> None:
    """Also with a YAML of the same name in the working directory, where ultralytics would look first, and
    where the YAML takes a part from torchvision.
    """
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (work / "yolov8n.yaml").write_text("nc: 1\nhead: []\nbackbone: []\n")
    code = f"""
import os, socket, sys, tempfile
os.chdir({str(work)!r})
def refuse(*_, **__):
    raise SystemExit('it reached for the network')
socket.getaddrinfo = socket.socket.connect = refuse
import torch
from prunecli.networks import build
before, threads = dict(os.environ), torch.get_num_threads()
module = build("ultralytics:{network}", {{}})[0]
added = sorted(os.environ.keys() - before.keys())
assert dict(os.environ) == before, added
assert torch.get_num_threads() == threads
assert len(module.names) == {classes}
"""
    ran = run_fresh(code=code, HOME=str(home), XDG_CONFIG_HOME=str(home / "config"), TMPDIR=str(home))
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert list(home.rglob("*")) == []
    assert [path.name for path in work.rglob("*")] == ["yolov8n.yaml"]


@pytest.mark.parametrize(("name", "classes"), [("yolov8n", 3), ("yolov10n", 120), ("yolov8n-cls", 7)])
def test_the_classes_are_read_off_the_head(name: str, classes: int) -> None:
    """They decide the width of hidden layers too: 3 and 120 give other ones than 80."""
    module = yolo(name, classes)
    # As reading hands them over: the prefix 'model.' taken off.
    tensors = {key.removeprefix("model."): tensor for key, tensor in module.state_dict().items()}
    network = resolve(tensors, arch=f"ultralytics:{name}", arguments={})
    assert network.arguments == {"nc": classes}
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted, found = (run(net, prunecli.inputs.Inputs((image,))) for net in (module, network.module))
    assert wanted
    assert all(map(torch.equal, wanted, found))


def test_the_packages_own_classes_are_no_argument() -> None:
    module = yolo("yolov8n", 80)
    assert resolve(module.state_dict(), arch="ultralytics:yolov8n", arguments={}).arguments == {}


def test_input_channels_are_read_off_the_first_layer() -> None:
    module = build("ultralytics:yolov8n-cls", {"ch": 1, "nc": 4})[0]
    network = resolve(module.state_dict(), arch="ultralytics:yolov8n-cls", arguments={})
    assert network.arguments == {"nc": 4, "ch": 1}
    assert network.inputs[0].shape == (1, 1, 224, 224)


@pytest.mark.parametrize(
    "argument",
    [{"cfg": "own.yaml"}, {"nc": "x"}, {"nc": 0}, {"nc": 30_001}, {"ch": 1_025}, {"verbose": True}],
)
def test_only_classes_and_channels_are_arguments(argument: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="takes no --arch-arg") as caught:
        build("ultralytics:yolov8n", argument)  # type: ignore[arg-type]
    assert "FILE.py:factory" in (caught.value.hint or "")


def test_weights_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="does not fit ultralytics:yolov8s"):
        resolve(yolo("yolov8n", 3).state_dict(), arch="ultralytics:yolov8s", arguments={})


OTHERS = [
    "yolov5n",
    "yolov10n",
    "yolov8n",
    "yolov9t",
    "yolo11n",
    "yolo12n",
    "yolov8n-pose",
    "yolov8n-obb",
    "yolov8n-cls",
]


@pytest.mark.parametrize("name", ["yolov8n-seg", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)])
def test_pruned_reloaded_and_verified(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, small = tmp_path / "dense.pth", tmp_path / "small.safetensors"
    torch.save(yolo(name, 3).state_dict(), dense)
    arch = ("--arch", f"ultralytics:{name}.yaml", "--input", "3,64,64")
    ran = run_here(capsys, "run", dense, "-o", small, "--speedup", 2, "-q", *arch)
    assert (ran.code, ran.out) == (0, f"{small}\n")
    recipe = read(small).recipe
    assert recipe is not None
    assert (recipe.arch, recipe.arguments) == (f"ultralytics:{name}", {"nc": 3})
    proofs = {proof.name: proof for proof in prunecli.verify(small, against=dense).proofs}
    assert all(proof.passed for proof in proofs.values())
    assert {RELOAD, ORACLE, "equals the cut"} <= proofs.keys()
    module = prunecli.load(small)
    assert type(module).__module__ == "ultralytics.nn.tasks"
    sizes = [sum(p.numel() for p in net.parameters()) for net in (yolo(name, 3), module)]
    assert sizes[1] < 0.8 * sizes[0]
    # Strides and anchors follow the image, not the one it was pruned on.
    with torch.no_grad():
        assert module(torch.rand(2, 3, 96, 128)) is not None
    monkeypatch.setattr(ultralytics_names, "find_spec", lambda _: None)
    ultralytics_names.shipped.cache_clear()
    with pytest.raises(InputError, match="ultralytics is not installed") as caught:
        prunecli.load(small)
    assert caught.value.hint == 'type: pip install "prunecli[yolo]"'
