"""Identification and --arch: the right network, the same outputs, one line for whatever does not fit."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import segmentation

from prunecli.errors import InputError, PruneError, UsageError
from prunecli.inputs import make
from prunecli.networks import names, resolve
from prunecli.networks.cifar import REGISTRY


def state(module: nn.Module) -> OrderedDict[str, Tensor]:
    return OrderedDict(module.state_dict())


def quick(name: str, **arguments: object) -> nn.Module:
    module: nn.Module = models.get_model(name, weights=None, **arguments)
    return module.eval()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf", "swin_t", "mnasnet0_5"]
)
def test_identified_network_computes_the_same(name: str) -> None:
    module = quick(name, num_classes=7)
    network = resolve(state(module), arch=None, arguments={})
    assert (network.spec, network.arguments) == (f"torchvision:{name}", {"num_classes": 7})
    (image,) = make(network.inputs).tensors
    assert tuple(image.shape) == (1, 3, 224, 224)
    assert not network.module.training
    assert type(network.module) is type(module)
    assert torch.equal(network.module(image), module(image))


@pytest.mark.parametrize("name", ["resnet56", "vgg19", "mobilenet_v1", "resnet18"])
def test_cifar_networks_with_other_classes_and_channels(name: str) -> None:
    module = REGISTRY[name](num_classes=100, in_channels=1)
    network = resolve(state(module), arch=None, arguments={})
    assert network.spec == f"cifar:{name}"
    assert network.arguments == {"num_classes": 100, "in_channels": 1}
    assert network.inputs[0].shape == (1, 1, 32, 32)


@dataclass(frozen=True)
class Variant:
    module: nn.Module
    arguments: dict[str, object]
    size: int


def variants() -> dict[str, Variant]:
    with torch.device("meta"):
        return {
            "googlenet": Variant(
                models.googlenet(weights=None, init_weights=False), {"aux_logits": True}, 224
            ),
            "inception_v3": Variant(
                models.inception_v3(weights=None, init_weights=False, aux_logits=False),
                {"aux_logits": False},
                299,
            ),
            "fcn_resnet50": Variant(
                segmentation.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True),
                {"aux_loss": True},
                520,
            ),
            "deeplabv3_resnet50": Variant(
                segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=5),
                {"aux_loss": False, "num_classes": 5},
                520,
            ),
            "vit_b_32": Variant(models.vit_b_32(weights=None, image_size=384), {"image_size": 384}, 384),
            "efficientnet_b2": Variant(models.efficientnet_b2(weights=None), {}, 288),
        }


@pytest.mark.parametrize(
    "name", ["googlenet", "inception_v3", "fcn_resnet50", "deeplabv3_resnet50", "vit_b_32", "efficientnet_b2"]
)
def test_what_the_keys_show_is_inferred(name: str) -> None:
    variant = variants()[name]
    tensors = {key: torch.zeros(t.shape, dtype=t.dtype) for key, t in variant.module.state_dict().items()}
    network = resolve(tensors, arch=None, arguments={})
    assert (network.spec, network.arguments) == (f"torchvision:{name}", variant.arguments)
    assert network.inputs[0].shape == (1, 3, variant.size, variant.size)
    assert ("transform_input=False" in network.assumed) == (name in ("googlenet", "inception_v3"))


def test_identification_is_quick_and_draws_no_random_numbers() -> None:
    tensors = state(quick("resnet50"))
    resolve(tensors, arch=None, arguments={})
    before = torch.get_rng_state()
    start = time.perf_counter()
    resolve(tensors, arch=None, arguments={})
    assert time.perf_counter() - start < 2
    assert torch.equal(before, torch.get_rng_state())


def test_half_precision_is_kept_and_followed_by_the_input() -> None:
    network = resolve(state(quick("resnet18").half()), arch=None, arguments={})
    assert network.module.get_parameter("fc.weight").dtype == torch.float16
    assert network.inputs[0].dtype == "float16"


def test_old_checkpoints_without_batch_counters() -> None:
    tensors = {k: t for k, t in state(quick("resnet18")).items() if not k.endswith("num_batches_tracked")}
    network = resolve(tensors, arch=None, arguments={})
    assert network.module.get_buffer("bn1.num_batches_tracked").item() == 0


def test_old_layer_names_are_translated() -> None:
    new = state(quick("densenet121"))
    old = {k.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): t for k, t in new.items()}
    assert old.keys() != new.keys()
    network = resolve(old, arch=None, arguments={})
    assert network.spec == "torchvision:densenet121"
    assert any("old densenet names" in note for note in network.notes)


def test_other_names_in_the_same_order_are_matched_and_said() -> None:
    module = quick("resnet18")
    renamed = {
        f"part{index}.{key.rpartition('.')[2]}": t for index, (key, t) in enumerate(state(module).items())
    }
    network = resolve(renamed, arch="torchvision:resnet18", arguments={})
    assert any("matched by order" in note for note in network.notes)
    (image,) = make(network.inputs).tensors
    assert torch.equal(network.module(image), module(image))


def test_swapped_tensors_of_equal_shape_are_not_matched_by_order() -> None:
    """Negative control: weight and bias of a norm have one shape; only their names tell them apart."""
    items = [
        (f"p{i}.{key.rpartition('.')[2]}", t) for i, (key, t) in enumerate(state(quick("resnet18")).items())
    ]
    items[1], items[2] = items[2], items[1]
    with pytest.raises(InputError):
        resolve(dict(items), arch="torchvision:resnet18", arguments={})


def test_input_as_typed() -> None:
    network = resolve(state(quick("resnet18")), arch=None, arguments={}, inputs=["3,64,96"])
    assert network.inputs[0].shape == (1, 3, 64, 96)


def changed(module: nn.Module, **layers: nn.Module) -> OrderedDict[str, Tensor]:
    for name, layer in layers.items():
        setattr(module, name, layer)
    return state(module)


@pytest.mark.parametrize(
    ("arch", "arguments", "kind", "text", "hint"),
    [
        (
            "torchvision:resnet34",
            {},
            InputError,
            "80 tensors missing",
            "names are those of torchvision:resnet18",
        ),
        (
            "torchvision:resnet5",
            {},
            UsageError,
            "unknown network 'torchvision:resnet5'",
            "did you mean torchvision:resnet50",
        ),
        ("timm:resnet18x", {}, UsageError, "unknown network", "timm:resnet18"),
        (
            "resnet18",
            {},
            UsageError,
            "does not say where",
            "did you mean torchvision:resnet18 or cifar:resnet18?",
        ),
        ("hf:dir", {}, InputError, "cannot read", ""),
        ("torchvison:resnet18", {}, UsageError, "no module", "did you mean torchvision:?"),
        ("torchvision:resnet18", {"foo": 1}, UsageError, "unexpected keyword", "--arch-arg"),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, UsageError, "not allowed", "checkpoint"),
        ("timm:resnet18", {"checkpoint_path": "x"}, UsageError, "not allowed", "checkpoint"),
        ("torchvision:resnet18", {"num_classes": 5}, InputError, r"'fc.weight' is \[1000, 512\]", ""),
        (None, {"num_classes": 5}, UsageError, "without --arch", "--arch"),
    ],
)
def test_wrong_arch(
    arch: str | None, arguments: dict[str, int], kind: type[PruneError], text: str, hint: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        resolve(state(quick("resnet18")), arch=arch, arguments=arguments)
    assert hint in (caught.value.hint or "")
    assert "\n" not in caught.value.message


def test_unknown_networks_name_the_nearest() -> None:
    head = nn.Sequential(nn.Dropout(), nn.Linear(512, 4))
    with pytest.raises(InputError, match=r"not known; nearest: torchvision:resnet18 \(9\d% of names\)"):
        resolve(changed(quick("resnet18"), fc=head), arch=None, arguments={})
    with pytest.raises(InputError, match=r"'conv1.weight' is \[64, 1, 7, 7\] in the file") as caught:
        resolve(changed(quick("resnet18"), conv1=nn.Conv2d(1, 64, 7, bias=False)), arch=None, arguments={})
    assert "FILE.py:factory" in (caught.value.hint or "")
    with pytest.raises(InputError, match="its names begin 'a'"):
        resolve({"a": torch.ones(1)}, arch=None, arguments={})
    # A few common names ("head", "norm") make no network likely.
    few = {f"trunk.{index}.w": torch.ones(1) for index in range(9)} | {"head.weight": torch.ones(1)}
    with pytest.raises(InputError, match=r"its names begin 'trunk\.0\.w'"):
        resolve(few, arch=None, arguments={})


def test_shared_parameters_stay_shared(tmp_path: Path) -> None:
    (tmp_path / "tied.py").write_text(
        "from torch import nn\nimport torch\n"
        "def make():\n    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))\n"
        "    net[1].weight = net[0].weight\n    return net\n"
        "def example_inputs():\n    return torch.ones(1, 3)\n"
    )
    tensors = {
        "0.weight": torch.eye(3),
        "0.bias": torch.ones(3),
        "1.weight": torch.eye(3),
        "1.bias": torch.ones(3),
    }
    module = resolve(tensors, arch=f"{tmp_path / 'tied.py'}:make", arguments={}).module
    assert module.get_parameter("0.weight") is module.get_parameter("1.weight")


def test_timm_by_name() -> None:
    timm = pytest.importorskip("timm")
    module = timm.create_model("swin_tiny_patch4_window7_224", num_classes=7).eval()
    network = resolve(state(module), arch="timm:swin_tiny_patch4_window7_224", arguments={})
    assert network.arguments == {"num_classes": 7}
    (image,) = make(network.inputs).tensors
    # Its attention masks are not in the file: they must have been computed.
    assert torch.equal(network.module(image), module(image))


def test_names() -> None:
    assert {"torchvision:resnet50", "torchvision:deeplabv3_resnet50", "cifar:resnet56"} <= set(names())
    assert {"torchvision:fasterrcnn_resnet50_fpn", "torchvision:r3d_18"} <= set(names())
    assert not any("quantized" in name for name in names())
