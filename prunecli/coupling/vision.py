"""Rules of torchvision's own operators: regions of interest, deformable convolutions."""

from __future__ import annotations

from torch import Tensor

from prunecli.coupling.nodes import fixed
from prunecli.coupling.operators import Call, fixed_positions, register_operator
from prunecli.coupling.recording import Recording, tensors_in


@register_operator("torchvision.roi_align", "torchvision.roi_pool")
def regions(recording: Recording, call: Call) -> None:
    """``[N, C, H, W]`` and ``[K, 5]`` boxes give ``[K, C, h, w]``: channels pass, all else stays."""
    features, boxes = recording.axes(call.args[0]), recording.axes(call.args[1])
    for node in (features[0], *features[2:], *boxes):
        recording.algebra.pin(node, "regions of interest are places in an image")
    outs = tensors_in(call.out)
    for out in outs:
        count, height, width = out.shape[0], *out.shape[2:]
        tail = [fixed(size, "positions in a region of interest") for size in (height, width)]
        recording.set_axes(out, [fixed(count, "regions of interest"), features[1], *tail])


@register_operator("torchvision.deform_conv2d")
def deformable_convolution(recording: Recording, call: Call) -> None:
    """A convolution ``[O, I/G, kh, kw]`` whose taps are moved by ``offset`` and scaled by ``mask``, both made
    per tap: those keep all their channels. Its group count is computed from the input channels, which are
    therefore frozen; grouped ones keep all channels.
    """
    x, weight, offset, mask, bias, groups = *call.args[:5], call.args[11]
    inputs, w = recording.axes(x), recording.axes(weight)
    for node in (*w[2:], *recording.axes(offset), *recording.axes(mask)):
        recording.algebra.pin(node, "taps of a deformable convolution")
    if groups == 1 and call.args[12] == 1:
        recording.algebra.unify(inputs[1], w[1])
    else:
        for node in (inputs[1], w[0], w[1]):
            recording.algebra.pin(node, "groups of a deformable convolution")
    if isinstance(bias, Tensor):
        recording.algebra.unify(recording.axes(bias)[0], w[0])
        recording.role(bias, "bias")
    recording.role(weight, "out", "in")
    spatial = [
        fixed_positions(recording, node, size)
        for node, size in zip(inputs[2:], call.out.shape[2:], strict=True)
    ]
    recording.set_axes(call.out, [inputs[0], w[0], *spatial])
