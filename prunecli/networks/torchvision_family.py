"""torchvision: classification, segmentation, detection and video."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache, lru_cache
from math import isqrt

from torch import Tensor, nn

from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.networks.family import Arguments, Family, image

_FRAMES = 16
_CLASSES = {"segmentation": 21, "detection": 91, "video": 400}
"""torchvision's defaults: Pascal VOC with background, COCO, Kinetics; ImageNet's 1000 for the rest."""


@lru_cache(maxsize=1)
def _kinds() -> dict[str, str]:
    """Name to kind, in the order in which names are tried."""
    from torchvision import models

    kinds = dict.fromkeys(models.list_models(module=models), "classification")
    for kind in ("segmentation", "detection", "video"):
        kinds |= dict.fromkeys(models.list_models(module=getattr(models, kind)), kind)
    return kinds


def _names() -> tuple[str, ...]:
    return tuple(_kinds())


@cache
def takes(name: str, argument: str) -> bool:
    """Whether the builder of a network, or the class it builds, has a parameter of that name."""
    from torchvision import models

    signature = inspect.signature(models.get_model_builder(name))
    built = signature.return_annotation
    return argument in signature.parameters or (
        inspect.isclass(built) and argument in inspect.signature(built).parameters
    )


def _make(name: str, arguments: Arguments) -> nn.Module:
    from torchvision import models

    fixed: dict[str, object] = {"weights": None}
    if _kinds()[name] in ("segmentation", "detection"):
        fixed["weights_backbone"] = None
    if takes(name, "init_weights"):
        # Its own initialisation draws from a truncated normal, which takes seconds; the checkpoint replaces
        # it.
        fixed["init_weights"] = False
    module: nn.Module = models.get_model(name, **fixed, **arguments)
    return module


def _inputs(name: str, arguments: Arguments, module: nn.Module) -> tuple[InputSpec, ...]:
    """The crop that the default weights were evaluated at (for segmentation the size they were resized to,
    for detection the size that the network itself resizes to).
    """
    from torchvision import models

    kind = _kinds()[name]
    if kind == "detection":
        side = int(module.get_submodule("transform").min_size[-1])  # type: ignore[index]
        return (InputSpec("images.0", "float32", (3, side, side)),)
    size = arguments.get("image_size")
    if not isinstance(size, int):
        weights = list(models.get_model_weights(name))
        keywords = models.get_model_weights(name).DEFAULT.transforms.keywords if weights else {}
        size = keywords.get("crop_size", keywords.get("resize_size", 224))
        if isinstance(module, models.VisionTransformer):
            size = module.image_size
    height, width = size if isinstance(size, tuple) else (int(size), int(size))
    if kind == "video":
        return (InputSpec(None, "float32", (1, 3, _FRAMES, height, width)),)
    return image(3, height, width)


def _infer(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Scalar]:
    """Auxiliary heads and the image size of a vision transformer, which the keys and shapes show."""
    if takes(name, "aux_loss"):
        return {"aux_loss": any(key.startswith("aux_classifier.") for key in tensors)}
    if takes(name, "aux_logits"):
        return {"aux_logits": any(key.startswith(("aux1.", "AuxLogits.")) for key in tensors)}
    table, patches = tensors.get("encoder.pos_embedding"), tensors.get("conv_proj.weight")
    if takes(name, "image_size") and table is not None and patches is not None and table.dim() == 3:
        size = isqrt(max(table.shape[1] - 1, 0)) * patches.shape[-1]
        default = _inputs(name, {}, nn.Module())[0].shape[-1]
        return {"image_size": size} if size and size != default else {}
    return {}


def _default_classes(module: nn.Module) -> int:
    from torchvision.models.detection import KeypointRCNN

    if isinstance(module, KeypointRCNN):
        return 2
    kinds = type(module).__module__.split(".")
    return next((classes for kind, classes in _CLASSES.items() if kind in kinds), 1000)


def _assumed(name: str, arguments: Arguments) -> tuple[str, ...]:
    if takes(name, "transform_input") and "transform_input" not in arguments:
        return ("transform_input=False",)
    if _kinds()[name] == "detection" and "vgg" not in name:
        return ("the backbone's frozen BatchNorm is BatchNorm2d with eps=1e-05",)
    return ()


TORCHVISION = Family(
    "torchvision", _names, _make, _inputs, _infer, "num_classes", None, _default_classes, _assumed
)
