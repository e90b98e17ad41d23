"""Where handlers of functions are kept: what has to be seen above the operators.

A handler has the form ``handler(recording, func, args, kwargs)`` and returns what the function returns. It
runs the function (whose operators are then seen by the rules) and pairs the numbers it was given with the
axes they came to name. Functions without a handler are run as they are; a traced number they are given must
keep its value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch

from prunecli.coupling.integers import TracedInt
from prunecli.coupling.recording import Recording, empty_stand_in, numbers_in, tensors_in

Handler = Callable[[Recording, Any, tuple[Any, ...], dict[str, Any]], Any]
HANDLERS: dict[Any, Handler] = {}


def register_adapter(*functions: Any) -> Callable[[Handler], Handler]:
    """Register a handler for functions as ``__torch_function__`` names them. Duplicates raise
    ``ValueError``.
    """

    def add(handler: Handler) -> Handler:
        for function in functions:
            if function in HANDLERS:
                raise ValueError(f"{function} already has a handler")
            HANDLERS[function] = handler
        return handler

    return add


def named(names: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name; ``names`` are those of the positional ones, in order."""
    return dict(zip(names.split(), args, strict=False)) | dict(kwargs)


def untraced(value: Any) -> Any:
    """``value`` with ordinary integers in place of traced ones."""
    if type(value) is TracedInt:
        return int(value)
    if type(value) in (tuple, list, torch.Size):
        return type(value)([untraced(item) for item in value])
    return value


def unwatched(
    recording: Recording,
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    shapes: Sequence[Sequence[int]],
) -> list[Tensor]:
    """The first results of ``func`` without the rules seeing its operators, for handlers that know the axes.

    On the meta device nothing is run: the results have ``shapes`` and the type of the first tensor given.
    """
    given = tensors_in((args, kwargs))
    for tensor in given:
        if recording.is_traced(tensor):
            recording.use(tensor)
    if any(tensor.is_meta for tensor in given):
        like = next(tensor for tensor in given if tensor.is_floating_point() or tensor.is_complex())
        return [empty_stand_in(shape, like) for shape in shapes]
    with no_dispatch():
        result = func(*untraced(args), **{name: untraced(value) for name, value in kwargs.items()})
    return tensors_in(result)[: len(shapes)]


def plain(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Any other function: traced numbers given to it must keep their values."""
    for value in (*args, *kwargs.values()):
        kind = type(value)
        if kind is TracedInt or kind in (tuple, list, torch.Size, slice):
            for number in numbers_in(value):
                recording.integers.fix(number, f"as an argument of {getattr(func, '__name__', func)}")
    return func(*args, **kwargs)
