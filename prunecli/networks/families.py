"""The families of networks that can be built by name.

A family turns a name and scalar arguments into an empty network (never fetching weights), knows the default
input and which argument sets the classes and the input channels, and infers from a checkpoint what names
alone leave open.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import UsageError
from prunecli.networks.family import Arguments, Family, image, nothing
from prunecli.networks.hugging_face import HUGGING_FACE
from prunecli.networks.torchvision_family import TORCHVISION
from prunecli.networks.ultralytics_family import ULTRALYTICS


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


# In the order in which identical signatures are resolved.
FAMILIES = {
    family.prefix: family
    for family in (
        TORCHVISION,
        Family(
            "cifar", _cifar_names, _cifar, _cifar_inputs, nothing,
            "num_classes", "in_channels", lambda _: 10,
        ),
        Family("timm", _timm_names, _timm, _timm_inputs, nothing, "num_classes", "in_chans", _timm_classes),
        HUGGING_FACE,
        ULTRALYTICS,
    )
}  # fmt: skip
