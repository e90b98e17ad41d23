"""The hard networks of the zoo (``benchmarks/zoo.py`` has them all): half of every group goes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo_models import Case, entries, image, with_values

from prunecli import inputs as input_room
from prunecli.assembly import all_tensors, rebuilt
from prunecli.counting import count
from prunecli.coupling import trace
from prunecli.inputs import Inputs
from prunecli.proofs import ORACLE, Subject, pruned
from prunecli.selection import Target, choose

# Name, and the side of the image where any will do.
NETWORKS = [
    ("torchvision:shufflenet_v2_x0_5", 64), ("torchvision:mobilenet_v3_small", 64),
    ("torchvision:googlenet", 64), ("torchvision:densenet121", 64), ("torchvision:regnet_y_400mf", 64),
    ("torchvision:swin_v2_t", 64), ("torchvision:lraspp_mobilenet_v3_large", 64),
    ("torchvision:ssdlite320_mobilenet_v3_large", None), ("torchvision:r3d_18", None),
    ("timm:test_convnext", 64), ("timm:test_efficientnet_ln", 64), ("timm:test_nfnet", 64),
    ("timm:resnest14d", 64), ("timm:res2next50", 64), ("timm:skresnet18", 64), ("timm:dla46x_c", 64),
    ("timm:dpn48b", 64), ("timm:ghostnet_050", 64), ("timm:cs3darknet_s", 64), ("timm:rexnet_100", 64),
    ("timm:ecaresnet26t", 64), ("timm:efficientnet_b0_g16_evos", 64), ("timm:tf_mixnet_s", 64),
    ("timm:starnet_s050", 64), ("timm:ese_vovnet19b_slim_dw", 64), ("timm:repvit_m0_9", 64),
    ("timm:mambaout_femto", 64), ("timm:edgenext_xx_small", 64), ("timm:mobilevit_xxs", 64),
    ("timm:mobilevitv2_050", 64), ("timm:efficientvit_b0", None), ("timm:pvt_v2_b0", 64),
    ("timm:levit_128s", None), ("timm:xcit_nano_12_p16_224", None), ("timm:coat_lite_tiny", None),
    ("timm:pit_ti_224", None), ("timm:gmlp_ti16_224", None), ("timm:vit_tiny_patch16_224", None),
    ("yolo:yolov8n-seg.yaml", 64), ("yolo:yolo12n.yaml", 64), ("hf:llama-gqa", None), ("hf:bert", None),
    ("hf:gpt2", None), ("hf:t5-encoder", None), ("hf:whisper-encoder", None), ("hf:segformer", None),
]  # fmt: skip
LIBRARIES = {"timm": "timm", "hf": "transformers", "yolo": "ultralytics"}


BOUND = {"timm:efficientvit_b0": 1e-7}
"""It computes its attention in float32 whatever its inputs are."""


def case_of(name: str, side: int | None) -> Case:
    library = LIBRARIES.get(name.partition(":")[0])
    # Not by importing it, which ultralytics announces on stdout.
    if library is not None and find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    case = next(entry for entry in entries() if entry.name == name).build()
    with_values(case.module)
    return case if side is None else Case(case.module, (image(3, side, side),))


def inputs_of(case: Case) -> Inputs:
    return Inputs(named=case.inputs) if isinstance(case.inputs, dict) else Inputs(case.inputs)


def content(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Everything a module holds, by identity; containers also by what is in them."""
    for path, child in module.named_modules():
        yield f"{path}.training", child.training
        for name, value in vars(child).items():
            yield f"{path}.{name}", id(value)
            if isinstance(value, dict):
                yield f"{path}.{name}", [(key, id(item)) for key, item in value.items()]
            elif isinstance(value, (list, tuple, set)):
                yield f"{path}.{name}", [id(item) for item in value]


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in all_tensors(module).items()}


@pytest.mark.parametrize(("name", "side"), NETWORKS, ids=[name for name, _ in NETWORKS])
@pytest.mark.filterwarnings("ignore")
def test_half_of_everything(name: str, side: int | None) -> None:
    """Traced and left as it was; the cut network is the masked one, and costs what the formula says."""
    case = case_of(name, side)
    module, inputs = case.module, inputs_of(case)
    before, weights = list(content(module)), values(module)
    space = trace(module, inputs)
    assert list(content(module)) == before
    assert all(torch.equal(tensor, weights[key]) for key, tensor in all_tensors(module).items())

    choice = choose(space, weights, criterion="magnitude-l2", scheme="local", target=Target("ratio", 0.5))
    assert choice.plan.keep
    macs = space.macs.value(space.sizes)
    small = input_room.make(input_room.smaller(input_room.describe(case.inputs, module), macs, budget=3e8))
    subject = Subject.open(module, weights, space, [small, inputs])
    for proof in subject.prove(choice.plan.keep):
        assert proof.passed, proof.detail
        assert proof.name != ORACLE or proof.error is None or proof.error <= BOUND.get(name, 1e-9)

    cut = pruned(module, space, choice.tensors, choice.plan.keep)
    after = {**space.sizes, **choice.plan.sizes}
    for network, sizes in ((module, space.sizes), (cut, after)):
        copy = rebuilt(network, all_tensors(network)).eval()
        counted = count(copy, inputs, left_out=space.other_macs.value(sizes))
        assert counted.total == space.macs.value(sizes)
