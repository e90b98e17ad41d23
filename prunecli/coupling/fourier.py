"""Rules of Fourier transforms and of complex numbers seen as pairs."""

from __future__ import annotations

from prunecli.coupling.nodes import fixed
from prunecli.coupling.operators import Call, register_operator
from prunecli.coupling.recording import Recording

_FREQUENCIES = "frequencies"


@register_operator("aten._fft_r2c", "aten._fft_c2r", "aten._fft_c2c")
def fft(recording: Recording, call: Call) -> None:
    """Every index of a transformed dimension is in every index of the result; the others pass."""
    axes = list(recording.axes(call.args[0]))
    for dim in call.args[1]:
        recording.algebra.pin(axes[dim], "a Fourier transform runs over it")
        axes[dim] = fixed(call.out.shape[dim], _FREQUENCIES)
    recording.set_axes(call.out, axes)


@register_operator("aten.view_as_complex")
def view_as_complex(recording: Recording, call: Call) -> None:
    *axes, parts = recording.axes(call.args[0])
    recording.algebra.pin(parts, "the real and the imaginary part of numbers")
    recording.set_axes(call.out, axes)


@register_operator("aten.view_as_real")
def view_as_real(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    recording.set_axes(call.out, [*axes, fixed(2, "the real and the imaginary part of numbers")])
