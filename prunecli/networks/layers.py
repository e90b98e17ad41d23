"""What of torch's own layers says how they move over their input, and nothing of their width."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import pooling
from torch.nn.modules.conv import _ConvNd

_MOVING = (
    _ConvNd, pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._LPPoolNd, pooling._MaxUnpoolNd, nn.Fold,
    nn.Unfold,
)  # fmt: skip
_GEOMETRY = frozenset(("kernel_size", "stride", "padding", "dilation", "output_padding"))
_INDICES = frozenset(("padding_idx", "num_layers", "dim", "start_dim", "end_dim"))


def is_geometry(module: nn.Module, attribute: str) -> bool:
    """Whether a cut could never change ``attribute``, though it is an integer."""
    if isinstance(module, _MOVING) and attribute in _GEOMETRY:
        return True
    return type(module).__module__.startswith("torch.nn.") and attribute in _INDICES
