"""Data for calibration and evaluation: ``--data SPEC`` as samples in a fixed order.

Names are imported from their modules on first use, so importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prunecli.data.samples import Batch, Samples
    from prunecli.data.sources import open_data
    from prunecli.data.synthetic import noise

__all__ = ["Batch", "Samples", "noise", "open_data"]

_MODULE_OF = {"Batch": "samples", "Samples": "samples", "noise": "synthetic", "open_data": "sources"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'prunecli.data' has no attribute '{name}'")
    value = getattr(import_module(f"prunecli.data.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
