"""Weighted operations as they are computed: what is multiplied by which parameter.

Below every composite function a network multiplies by weights in few ways: a convolution, or a product of two
matrices of which one is (a view of) a parameter. That is all this room recognises, so it needs no table of
layers. Batch norms with running statistics are recognised besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from prunecli.assembly import all_tensors

Kind = Literal["convolution", "transposed", "product", "norm", "sum", "logits"]


@dataclass(frozen=True)
class Geometry:
    """How a convolution slides; all but ``groups`` have one number per spatial dimension."""

    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1


@dataclass(frozen=True)
class Heads:
    """Whose queries meet the keys, in ``B`` blocks of ``L`` queries: query ``l`` of block ``b`` holds the
    outputs ``channels[b]`` (``[B, d]``, on the CPU) of the projection at its position ``rows[b, l]`` (``[B,
    L]``), times any number. Logits are the products times ``scale``.
    """

    channels: Tensor
    rows: Tensor
    scale: float


@dataclass(frozen=True)
class Call:
    """One operation. ``x``: ``[n, I, *spatial]`` of a convolution or norm, ``[rows, in]`` of a product;
    ``weight``: ``[O, I/G, *k]`` (transposed ``[I, O/G, *k]``), ``[in, out]`` of a product. ``name`` is the
    parameter that ``weight`` is a view of, None where it was computed. For a norm ``weight`` is the running
    mean and ``bias`` the running variance. For a sum ``x [..., C]`` is the sum itself and ``weight [C]`` what
    the output of the operation called ``name`` was multiplied by before it was added. For logits ``x [..., L,
    d]`` is what ``heads`` tell of, the queries that the operation called ``name`` made, and ``weight [..., S,
    d]`` the keys.
    """

    kind: Kind
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    name: str | None
    geometry: Geometry = Geometry()
    heads: Heads | None = None


class Parameters:
    """Which parameter or buffer of a module a tensor is a view of. Each must have a storage of its own."""

    def __init__(self, module: nn.Module) -> None:
        self.tensors: Mapping[str, Tensor] = all_tensors(module)
        self._names: dict[int, str] = {}
        for name, tensor in self.tensors.items():
            if tensor.numel():
                self._names.setdefault(place(tensor), name)

    def name(self, tensor: object) -> str | None:
        if not isinstance(tensor, Tensor) or not tensor.numel():
            return None
        return self._names.get(place(tensor))


def place(tensor: Tensor) -> int:
    """Equal for tensors that share memory."""
    return tensor.untyped_storage().data_ptr()


@dataclass(frozen=True)
class Rows:
    """Which rows of its parameter the weight of a product is: ``count`` of them from ``start``; each is an
    output of it (``are_outputs``), or an input.
    """

    start: int
    count: int
    are_outputs: bool


def rows_of(call: Call, parameter: Tensor) -> Rows | None:
    """``weight [in, out]`` of a product is the parameter itself or its transpose, or some rows of either;
    None where it is another view.
    """
    weight = call.weight
    if parameter.dim() < 2 or parameter[0].numel() == 0 or parameter.shape[2:].numel() != 1:
        return None
    first, second = parameter.shape[0], parameter[0].numel()
    start = int(weight.storage_offset()) // second
    if weight.stride(1) == second and weight.stride(0) == 1 and weight.shape[0] == second:
        return Rows(start, weight.shape[1], are_outputs=True)
    if weight.stride(0) == second and weight.stride(1) == 1 and weight.shape[1] == second:
        return Rows(start, weight.shape[0], are_outputs=False)
    return Rows(start, first, are_outputs=True) if tuple(weight.shape) == (second, first) else None


def recognise(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], known: Parameters) -> Call | None:
    """The weighted operation that calling ``func`` is, or None."""
    reader = _READERS.get(func.overloadpacket.__name__)
    return None if reader is None else reader(args, kwargs, known)


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any], known: Parameters) -> Call | None:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args[:9]
    if x.dim() != weight.dim():
        return None
    dims = weight.dim() - 2
    stride, padding, dilation, output_padding = (
        tuple(given) * (dims if len(given) == 1 else 1)
        for given in (stride, padding, dilation, output_padding)
    )
    geometry = Geometry(stride, padding, dilation, output_padding, groups)
    return Call("transposed" if transposed else "convolution", x, weight, bias, known.name(weight), geometry)


def _addmm(args: Sequence[Any], kwargs: Mapping[str, Any], known: Parameters) -> Call | None:
    bias, x, weight = args[:3]
    name = known.name(weight)
    return None if name is None or kwargs or bias.dim() != 1 else Call("product", x, weight, bias, name)


def _mm(args: Sequence[Any], kwargs: Mapping[str, Any], known: Parameters) -> Call | None:
    x, weight = args[:2]
    name = known.name(weight)
    return None if name is None else Call("product", x, weight, None, name)


def _bmm(args: Sequence[Any], kwargs: Mapping[str, Any], known: Parameters) -> Call | None:
    """The same matrix for everything in the batch."""
    x, weight = args[:2]
    name = known.name(weight)
    if name is None or (weight.shape[0] > 1 and weight.stride(0)):
        return None
    return Call("product", x.reshape(-1, x.shape[-1]), weight[0], None, name)


def _linear(args: Sequence[Any], kwargs: Mapping[str, Any], known: Parameters) -> Call | None:
    """Seen whole where a library's own kernel computes it."""
    x, weight = args[:2]
    name = known.name(weight)
    bias = args[2] if len(args) > 2 else kwargs.get("bias")
    return None if name is None else Call("product", x.reshape(-1, x.shape[-1]), weight.t(), bias, name)


def _norm(args: Sequence[Any], kwargs: Mapping[str, Any], known: Parameters) -> Call | None:
    x, _, _, mean, variance, training = args[:6]
    return _running(x, mean, variance, known) if training is False else None


def _norm_in_eval(args: Sequence[Any], kwargs: Mapping[str, Any], known: Parameters) -> Call | None:
    return _running(args[0], args[3], args[4], known)


def _running(x: Tensor, mean: Tensor | None, variance: Tensor | None, known: Parameters) -> Call | None:
    name = known.name(mean)
    return None if name is None or known.name(variance) is None else Call("norm", x, mean, variance, name)  # type: ignore[arg-type]


_READERS: dict[str, Callable[[Sequence[Any], Mapping[str, Any], Parameters], Call | None]] = {
    "convolution": _convolution,
    "addmm": _addmm,
    "mm": _mm,
    "bmm": _bmm,
    "linear": _linear,
    "native_batch_norm": _norm,
    "cudnn_batch_norm": _norm,
    "miopen_batch_norm": _norm,
    "_native_batch_norm_legit_no_training": _norm_in_eval,
}
