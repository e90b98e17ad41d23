"""The families of networks that can be built by name: torchvision, the bundled CIFAR ones, timm.

A family turns a name and scalar arguments into an empty network (never fetching weights), knows the default
input and which argument sets the classes and the input channels, and infers from a checkpoint what names
alone leave open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from torch import Tensor, nn

from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.errors import UsageError

Arguments = Mapping[str, Scalar]


@dataclass(frozen=True)
class Family:
    """``make(name, arguments)``; ``inputs(name, arguments, module)``; ``infer(name, tensors)`` ->
    arguments.
    """

    prefix: str
    names: Callable[[], tuple[str, ...]]
    make: Callable[[str, Arguments], nn.Module]
    inputs: Callable[[str, Arguments, nn.Module], tuple[InputSpec, ...]]
    infer: Callable[[str, Mapping[str, Tensor]], dict[str, Scalar]]
    classes_argument: str
    channels_argument: str | None
    default_classes: Callable[[nn.Module], int | None]


def image(channels: int, height: int, width: int) -> tuple[InputSpec, ...]:
    return (InputSpec(None, "float32", (1, channels, height, width)),)


def _torchvision_names() -> tuple[str, ...]:
    from torchvision import models

    return (*models.list_models(module=models), *models.list_models(module=models.segmentation))


def _is_segmentation(name: str) -> bool:
    from torchvision import models

    return name in models.list_models(module=models.segmentation)


def _torchvision(name: str, arguments: Arguments) -> nn.Module:
    from torchvision import models

    fixed: dict[str, object] = {"weights": None}
    if _is_segmentation(name):
        fixed["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        # Its own initialisation draws from a truncated normal, which takes seconds; the checkpoint replaces
        # it.
        fixed["init_weights"] = False
    module: nn.Module = models.get_model(name, **fixed, **arguments)
    return module


def _torchvision_inputs(name: str, arguments: Arguments, module: nn.Module) -> tuple[InputSpec, ...]:
    """The crop that the default weights were evaluated at (for segmentation the size they were resized
    to).
    """
    from torchvision import models

    size = arguments.get("image_size")
    if not isinstance(size, int):
        weights = list(models.get_model_weights(name))
        keywords = models.get_model_weights(name).DEFAULT.transforms.keywords if weights else {}
        size = keywords.get("crop_size", keywords.get("resize_size", 224))
        if name.startswith("vit_") and isinstance(module, models.VisionTransformer):
            size = module.image_size
    return image(3, int(size), int(size))


def _torchvision_infer(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Scalar]:
    """Auxiliary heads and the image size of a vision transformer, which the keys and shapes show."""
    if _is_segmentation(name) and name != "lraspp_mobilenet_v3_large":
        return {"aux_loss": any(key.startswith("aux_classifier.") for key in tensors)}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": any(key.startswith(("aux1.", "AuxLogits.")) for key in tensors)}
    table, patches = tensors.get("encoder.pos_embedding"), tensors.get("conv_proj.weight")
    if name.startswith("vit_") and table is not None and patches is not None and table.dim() == 3:
        size = isqrt(max(table.shape[1] - 1, 0)) * patches.shape[-1]
        default = _torchvision_inputs(name, {}, nn.Module())[0].shape[-1]
        return {"image_size": size} if size and size != default else {}
    return {}


def _torchvision_classes(module: nn.Module) -> int:
    """torchvision's defaults: ImageNet, and Pascal VOC with background for segmentation."""
    from torchvision.models.segmentation import LRASPP
    from torchvision.models.segmentation._utils import _SimpleSegmentationModel

    return 21 if isinstance(module, LRASPP | _SimpleSegmentationModel) else 1000


def _cifar_names() -> tuple[str, ...]:
    from prunecli.networks.cifar import REGISTRY

    return tuple(REGISTRY)


def _cifar(name: str, arguments: Arguments) -> nn.Module:
    from prunecli.networks.cifar import REGISTRY

    return REGISTRY[name](**arguments)


def _cifar_inputs(name: str, arguments: Arguments, module: nn.Module) -> tuple[InputSpec, ...]:
    channels = arguments.get("in_channels", 3)
    return image(channels if isinstance(channels, int) else 3, 32, 32)


def _timm_names() -> tuple[str, ...]:
    try:
        import timm
    except ImportError:
        raise UsageError("timm is not installed", 'type: pip install "prunecli[timm]"') from None
    return tuple(timm.list_models())


def _timm(name: str, arguments: Arguments) -> nn.Module:
    import timm

    options: dict[str, Any] = {**arguments}
    module: nn.Module = timm.create_model(name, pretrained=False, **options)
    return module


def _timm_inputs(name: str, arguments: Arguments, module: nn.Module) -> tuple[InputSpec, ...]:
    config = getattr(module, "pretrained_cfg", None) or {}
    channels, height, width = config.get("input_size", (3, 224, 224))
    size, wanted = arguments.get("img_size"), arguments.get("in_chans")
    if isinstance(size, int):
        height = width = size
    return image(wanted if isinstance(wanted, int) else channels, height, width)


def _timm_classes(module: nn.Module) -> int | None:
    classes = getattr(module, "num_classes", None)
    return classes if isinstance(classes, int) else None


def _nothing(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Scalar]:
    return {}


# In the order in which identical signatures are resolved.
FAMILIES = {
    family.prefix: family
    for family in (
        Family(
            "torchvision", _torchvision_names, _torchvision, _torchvision_inputs, _torchvision_infer,
            "num_classes", None, _torchvision_classes,
        ),
        Family(
            "cifar", _cifar_names, _cifar, _cifar_inputs, _nothing,
            "num_classes", "in_channels", lambda _: 10,
        ),
        Family("timm", _timm_names, _timm, _timm_inputs, _nothing, "num_classes", "in_chans", _timm_classes),
    )
}  # fmt: skip
