"""load: the ordinary class from the file alone; nothing that a recipe is not allowed to do."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from equality import same_outputs
from torch import Tensor, nn
from torchvision import models

from prunecli.checkpoint import AttributePatch, InputSpec, Recipe, read, tensor_digests, write
from prunecli.errors import ImpossibleError, InputError, UsageError
from prunecli.loading import load, resize_module
from prunecli.plan import Plan

CUT = torch.arange(0, 64, 2)


def cut_resnet() -> dict[str, Tensor]:
    """resnet18 with every other channel inside the first block removed by hand."""
    torch.manual_seed(0)
    tensors = dict(models.resnet18(num_classes=10).state_dict())
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensors[f"layer1.0.bn1.{name}"] = tensors[f"layer1.0.bn1.{name}"][CUT]
    tensors["layer1.0.conv1.weight"] = tensors["layer1.0.conv1.weight"][CUT]
    tensors["layer1.0.conv2.weight"] = tensors["layer1.0.conv2.weight"][:, CUT]
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def recipe_for(tensors: dict[str, Tensor], arch: str = "torchvision:resnet18", **arguments: int) -> Recipe:
    digests = tensor_digests(tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    inputs = (InputSpec(None, "float32", (1, 3, 32, 32)),)
    patches = (
        AttributePatch("layer1.0.conv1", "out_channels", None, 32),
        AttributePatch("layer1.0.bn1", "num_features", None, 32),
        AttributePatch("layer1.0.conv2", "in_channels", None, 32),
    ) if "layer1.0.conv1.weight" in tensors else ()  # fmt: skip
    return Recipe(arch, arguments, inputs, shapes, patches, Plan({}, {}), digests, digests)


def put(path: Path, tensors: dict[str, Tensor], recipe: Recipe) -> Path:
    write(path, tensors, recipe, check=lambda _: None, force=True)
    return path


def reference(tensors: dict[str, Tensor]) -> nn.Module:
    """The same small network, built by hand."""
    net = models.resnet18(num_classes=10)
    net.layer1[0].conv1 = nn.Conv2d(64, 32, 3, padding=1, bias=False)
    net.layer1[0].bn1 = nn.BatchNorm2d(32)
    net.layer1[0].conv2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
    net.load_state_dict(tensors)
    return net.eval()


def test_a_fresh_process_with_only_the_file(tmp_path: Path) -> None:
    tensors = cut_resnet()
    put(tmp_path / "x.safetensors", tensors, recipe_for(tensors, num_classes=10))
    image = torch.randn(1, 3, 64, 64)
    torch.save(image, tmp_path / "image.pt")
    code = (
        "import torch, prunecli; m = prunecli.load('x.safetensors'); assert not m.training; "
        "torch.save(m(torch.load('image.pt')).detach(), 'out.pt')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert same_outputs(torch.load(tmp_path / "out.pt"), reference(tensors)(image))


def test_it_is_the_ordinary_class_ready_to_finetune(tmp_path: Path) -> None:
    tensors = cut_resnet()
    module = load(put(tmp_path / "x.safetensors", tensors, recipe_for(tensors, num_classes=10)))
    assert type(module) is models.ResNet
    assert repr(module) == repr(reference(tensors))
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in module.parameters())
    module(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    tensors = cut_resnet()
    recipe = recipe_for(tensors, num_classes=10)
    tensors["fc.bias"] = tensors["fc.bias"] + 1e-3
    with pytest.raises(ImpossibleError, match=r"digest of tensor 'fc\.bias'"):
        load(put(tmp_path / "x.safetensors", tensors, recipe))


def test_a_file_without_a_recipe(tmp_path: Path) -> None:
    torch.save(cut_resnet(), tmp_path / "x.pth")
    with pytest.raises(InputError, match="has no recipe"):
        load(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "arch",
    [
        "evil.py:run",
        "os:system",
        "module",
        "hf:dir",
        "torchvision:nothing",
        "timm:hf-hub:a/b",
        "hf:/etc",
        "hf:../x",
        "cifar:resnet20 ",
        "cifar:",
    ],
)
def test_a_recipe_runs_no_code(arch: str, tmp_path: Path) -> None:
    tensors = cut_resnet()
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    path = put(tmp_path / "x.safetensors", tensors, recipe_for(tensors, arch))
    with pytest.raises(InputError) as caught:
        load(path)
    assert caught.value.hint


@pytest.mark.parametrize("argument", [{"weights": 1}, {"num_classes": 10**9}, {"no_such": 1}])
def test_a_recipe_fetches_and_exhausts_nothing(argument: dict[str, int], tmp_path: Path) -> None:
    tensors = cut_resnet()
    with pytest.raises(InputError):
        load(put(tmp_path / "x.safetensors", tensors, recipe_for(tensors, **argument)))


def test_the_caller_names_its_own_network(tmp_path: Path) -> None:
    tensors = {"weight": torch.eye(2), "bias": torch.zeros(2)}
    path = put(tmp_path / "x.safetensors", tensors, recipe_for(tensors, "module"))
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(4, 4)\n")
    for module in (
        load(path, factory=lambda: nn.Linear(4, 4)),
        load(path, into=nn.Linear(4, 4)),
        load(path, arch=f"{tmp_path / 'net.py'}:make"),
    ):
        assert torch.equal(module(torch.ones(1, 2)), torch.ones(1, 2))
    with pytest.raises(InputError, match="sizes 'bias', which the network has not"):
        load(path, factory=nn.PReLU)
    with pytest.raises(UsageError, match="only one of"):
        load(path, factory=nn.PReLU, into=nn.PReLU())


def test_buffers_outside_the_state_dict_are_computed(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    name = "swin_tiny_patch4_window7_224"
    module = timm.create_model(name, num_classes=3).eval()
    tensors = dict(module.state_dict())
    loaded = load(
        put(tmp_path / "x.safetensors", tensors, recipe_for(tensors, f"timm:{name}", num_classes=3))
    )
    image = torch.randn(1, 3, 224, 224)
    assert same_outputs(loaded(image), module(image))


class Sized(nn.Module):
    """Holds every kind of attribute a patch may meet."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.rate, self.flag, self._hidden = 4, 0.5, True, 4
        self.sizes, self.windows, self.mixed = (4, 5), [7, 7], (1, "a")
        self.part, self.convolution = nn.Linear(2, 2), nn.Conv2d(2, 2, 3, padding=1)


@pytest.mark.parametrize(
    "patch",
    [
        AttributePatch("", "nothing", None, 2),
        AttributePatch("gone", "width", None, 2),
        AttributePatch("", "rate", None, 2),
        AttributePatch("", "flag", None, 2),
        AttributePatch("", "training", None, 2),
        AttributePatch("", "_hidden", None, 2),
        AttributePatch("", "mixed", 0, 2),
        AttributePatch("", "sizes", 2, 2),
        AttributePatch("", "sizes", None, 2),
        AttributePatch("", "width", 0, 2),
        AttributePatch("", "width", None, 0),
        AttributePatch("", "width", None, 5),
        AttributePatch("", "sizes", 0, 5),
        AttributePatch("convolution", "kernel_size", 0, 1),
        AttributePatch("convolution", "padding", 0, 1),
        AttributePatch("", "forward", None, 2),
        AttributePatch("", "part", None, 2),
    ],
)
def test_patches_that_are_refused(patch: AttributePatch) -> None:
    module = Sized()
    before = repr(vars(module))
    with pytest.raises(InputError):
        resize_module(module, {}, [patch])
    assert repr(vars(module)) == before


def test_patches_that_are_set() -> None:
    module = Sized()
    resize_module(
        module,
        {},
        [
            AttributePatch("", "width", None, 2),
            AttributePatch("", "sizes", 1, 3),
            AttributePatch("", "windows", 0, 5),
        ],
    )
    assert (module.width, module.sizes, module.windows) == (2, (4, 3), [5, 7])


def test_resize_patches_and_keeps_ties() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Embedding(9, 4))
    module[1].weight = module[0].weight
    shapes: dict[str, tuple[int, ...]] = {"0.weight": (3, 4), "1.weight": (3, 4), "3.weight": (9, 2)}
    shapes |= {"0.bias": (3,), "1.bias": (3,), "2.weight": (3,), "2.bias": (3,)}
    patches = [AttributePatch("0", "out_features", None, 3), AttributePatch("2", "normalized_shape", 0, 3)]
    resize_module(module, shapes, patches)
    assert module[0].weight is module[1].weight
    assert tuple(module[3].weight.shape) == (9, 2)
    assert (module[0].out_features, module[2].normalized_shape) == (3, (3,))
    for wrong in ({"9.weight": (1,)}, {"0.weight": (3,)}):
        with pytest.raises(InputError):
            resize_module(module, wrong, [])


def with_buffers() -> nn.Module:
    module = nn.Linear(4, 4)
    module.register_buffer("zeros", torch.zeros(6), persistent=False)
    module.register_buffer("places", torch.arange(6.0), persistent=False)
    module.register_buffer("saved", torch.zeros(6))
    return module


def test_a_buffer_outside_the_file_keeps_its_first_values() -> None:
    module = with_buffers()
    resize_module(module, {"zeros": (2,), "saved": (2,), "places": (6,)}, [])
    assert torch.equal(module.zeros, torch.zeros(2))
    assert module.saved.is_meta
    assert torch.equal(module.places, torch.arange(6.0))
    assert "zeros" not in module.state_dict()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"places": (3,)}, "the buffer 'places' [3], whose indices differ"),
        ({"zeros": (7,)}, "'zeros' [7], larger than the network's [6]"),
        ({"zeros": (10**12,)}, "larger than the network's"), ({"weight": (4, 5)}, "larger than"),
        ({"saved": (10**12,)}, "larger than the network's"), ({"zeros": (1, 1)}, "2 dimensions"),
    ],
)  # fmt: skip
def test_shapes_that_are_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        resize_module(with_buffers(), shapes, [])


def test_read_after_write_is_the_recipe(tmp_path: Path) -> None:
    tensors = cut_resnet()
    recipe = replace(recipe_for(tensors, num_classes=10), changed_by=("finetune",))
    assert read(put(tmp_path / "x.safetensors", tensors, recipe)).recipe == recipe
