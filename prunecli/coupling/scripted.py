"""Code that no rule can look into: TorchScript, functions written in C++, what leaves torch for numpy.

The operators that TorchScript and C++ run are seen, the numbers they hold are not. A TorchScript module keeps
its parameters at their size, so all that goes in and comes out stays whole; in a TorchScript function only
what is reshaped does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, jit, nn

from prunecli.coupling.functions import register_adapter
from prunecli.coupling.nodes import fixed, is_pinned
from prunecli.coupling.recording import Recording, tensors_in

_TAKES_SIZES = frozenset(
    f"aten.{name}"
    for name in (
        "view", "_unsafe_view", "reshape", "_reshape_alias", "view_copy", "expand", "as_strided",
        "native_layer_norm", "native_group_norm", "pixel_shuffle", "channel_shuffle",
    )
)  # fmt: skip


def script_tensors(module: nn.Module) -> set[str]:
    """Names of the parameters and buffers that belong to TorchScript submodules."""
    scripted = [pair for pair in module.named_modules() if isinstance(pair[1], jit.ScriptModule)]
    return {
        f"{path}.{name}"
        for path, child in scripted
        for name, _ in (*child.named_parameters(recurse=False), *child.named_buffers(recurse=False))
    }


def python_modules(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """All submodules that are not TorchScript, by path."""
    return [pair for pair in module.named_modules() if not isinstance(pair[1], jit.ScriptModule)]


def pin_around(recording: Recording, child: nn.Module, path: str, *, given: Any, back: Any = None) -> None:
    """Pin what is given to a TorchScript module, and what comes back from it."""
    if isinstance(child, jit.ScriptModule):
        reason = f"it meets '{path}', which is TorchScript"
        _pin(recording, tensors_in((given, back)), reason, f"torchscript.{path}")
        for tensor in tensors_in(back):
            recording.set_axes(tensor, [fixed(size, reason) for size in tensor.shape])


def pin_hidden_numbers(recording: Recording, name: str, args: Any, out: Any) -> None:
    """Pin what an operator with sizes among its arguments touches, called from code that cannot be seen."""
    grouped = name == "aten.convolution" and args[8] != 1
    if grouped or name in _TAKES_SIZES:
        reason = f"TorchScript or C++ code in {recording.where} reshapes it with numbers that cannot be seen"
        _pin(recording, tensors_in(args) + tensors_in(out), reason, f"{name} in TorchScript or C++ code")


@register_adapter(Tensor.numpy, Tensor.__array__, Tensor.__dlpack__, Tensor.tolist)
def leaves_torch(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What other libraries make of values is not seen; what comes back from them is a constant."""
    reason = f"its values leave torch in {recording.where}"
    _pin(recording, [args[0]], reason, f"Tensor.{func.__name__}")
    return func(*args, **kwargs)


def _pin(recording: Recording, tensors: Iterable[Tensor], reason: str, listed: str) -> None:
    traced = [tensor for tensor in tensors if recording.is_traced(tensor)]
    if any(not is_pinned(node) for tensor in traced for node in recording.axes(tensor)):
        recording.unknown.setdefault(listed)
        recording.pin_all(traced, reason)
