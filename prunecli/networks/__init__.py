"""From a checkpoint to an ``nn.Module``: torchvision, the bundled CIFAR networks, timm, ultralytics, a
Hugging Face directory, the user's own factory.

``names``, ``listed`` and ``parse_input`` are light; what needs torch is imported on first use, so that
completion is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from prunecli.networks.arguments import parse_arguments, parse_input
from prunecli.networks.catalogue import listed, names

if TYPE_CHECKING:
    from prunecli.networks.building import build, materialise
    from prunecli.networks.resolving import Network, resolve

__all__ = [
    "Network",
    "build",
    "listed",
    "materialise",
    "names",
    "parse_arguments",
    "parse_input",
    "resolve",
]

_MODULE_OF = {
    "Network": "resolving",
    "build": "building",
    "materialise": "building",
    "resolve": "resolving",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'prunecli.networks' has no attribute '{name}'")
    return getattr(import_module(f"prunecli.networks.{_MODULE_OF[name]}"), name)
