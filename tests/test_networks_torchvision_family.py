"""Detection and video: identified with their classes, given inputs they take, pruned with heads and all."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import detection

import prunecli
from prunecli.checkpoint import InputSpec
from prunecli.errors import InputError
from prunecli.inputs import make
from prunecli.networks import build, resolve
from prunecli.proofs import ORACLE

CLIP = InputSpec(None, "float32", (1, 3, 16, 112, 112))
BACKBONE = "the backbone's frozen BatchNorm is BatchNorm2d with eps=1e-05"


@dataclass(frozen=True)
class Case:
    name: str
    arguments: dict[str, int]
    input: InputSpec


def boxes(name: str, side: int, **arguments: int) -> Case:
    return Case(name, arguments, InputSpec("images.0", "float32", (3, side, side)))


CASES = [
    boxes("fasterrcnn_resnet50_fpn", 800, num_classes=5),
    boxes("maskrcnn_resnet50_fpn_v2", 800, num_classes=3),
    boxes("keypointrcnn_resnet50_fpn", 800, num_classes=4),
    boxes("retinanet_resnet50_fpn", 800, num_classes=2),
    boxes("fcos_resnet50_fpn", 800, num_classes=20),
    boxes("ssd300_vgg16", 300, num_classes=21),
    boxes("ssdlite320_mobilenet_v3_large", 320, num_classes=4),
    Case("r3d_18", {"num_classes": 10}, CLIP),
    Case("mvit_v2_s", {}, InputSpec(None, "float32", (1, 3, 16, 224, 224))),
]


def zeros(module: nn.Module) -> dict[str, Tensor]:
    return {key: torch.zeros(t.shape, dtype=t.dtype) for key, t in module.state_dict().items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_identified_with_its_classes_and_its_input(case: Case) -> None:
    module, _ = build(f"torchvision:{case.name}", case.arguments)
    network = resolve(zeros(module), arch=None, arguments={})
    assert (network.spec, network.arguments) == (f"torchvision:{case.name}", case.arguments)
    assert network.inputs == (case.input,)
    assert (BACKBONE in network.assumed) == (case.input.name is not None and "vgg" not in case.name)


def test_a_head_that_classes_do_not_explain_is_refused() -> None:
    """20 columns of boxes are five classes, 4 scores are not."""
    module, _ = build("torchvision:fasterrcnn_resnet50_fpn", {"num_classes": 5})
    tensors = zeros(module)
    for leaf in ("weight", "bias"):
        name = f"roi_heads.box_predictor.cls_score.{leaf}"
        tensors[name] = tensors[name][:4]
    with pytest.raises(InputError, match="parameter names of a known network, but other shapes"):
        resolve(tensors, arch=None, arguments={})


def test_a_published_file_has_no_batch_counters() -> None:
    """Files trained with frozen statistics hold none; the outputs are those up to the frozen layer's eps."""
    torch.manual_seed(0)
    module = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()
    tensors = {k: t for k, t in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    network = resolve(tensors, arch="torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", arguments={})
    image = make(network.inputs)
    features = [net.backbone(image.named["images"][0][None])["0"] for net in (module, network.module)]
    assert torch.equal(*features)


def test_a_detector_is_pruned_with_its_heads(no_reload: None) -> None:
    torch.manual_seed(0)
    net = models.get_model(
        "fasterrcnn_mobilenet_v3_large_320_fpn", weights=None, weights_backbone=None, min_size=96, max_size=96
    )
    image = torch.randn(3, 96, 96)
    result = prunecli.prune(net, example_inputs=([image],), flops=0.6)
    assert [item.name for item in result.report.inputs] == ["images.0"]
    (proof,) = result.report.proofs
    assert (proof.name, proof.passed) == (ORACLE, True)
    pruned = {row.name for row in result.report.groups if row.status == "pruned"}
    assert {"rpn.head.conv.0.0", "roi_heads.box_head.fc6", "roi_heads.box_head.fc7"} <= pruned
    (found,) = result.model([image])
    assert set(found) == {"boxes", "labels", "scores"}
