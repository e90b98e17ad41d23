"""Which numbers of a forward are the same whatever the input.

Beside the run on a real input goes a second one, its *shadow*, in which everything that depends on the input
is NaN: the inputs are, and NaN goes through every operator by itself, element by element. What is left of
numbers in the shadow depends on the weights alone. Only operators in which a zero silences what it is
multiplied by need a rule, since torch says 0 * NaN = NaN; and what takes NaN for a number (a comparison, an
index) is told apart by the type of its result. An operator that loses NaN otherwise does not deceive: a
number counts as constant only where the real run has it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from prunecli.assembly import all_tensors, rebuilt, without_fast_path
from prunecli.coupling.recording import outputs_in, tensors_in
from prunecli.dead.rules import RULES
from prunecli.inputs import Inputs
from prunecli.running.calls import Call, Parameters, place, recognise

Visit = Callable[[Call, Call | None], None]
"""Told of every weighted operation: as it is in the real run, and in the shadow, None where nothing is known
there.
"""

Elsewhere = Callable[[str, str], None]
"""Told of every parameter that something else takes, and of what does."""

_SHADOW = "_prunecli_shadow"
_TAINTED = "_prunecli_tainted"


def shadowed(
    module: nn.Module, inputs: Inputs, visit: Visit, elsewhere: Elsewhere, *, strict: bool
) -> list[Tensor]:
    """Run ``module`` on ``inputs`` (both in float64) with its shadow; returns the outputs.

    ``strict``: what is constant, but another number at the border of a padded convolution, counts as
    unknown, so that what is constant is so for images of any size. ``module`` is not touched.
    """
    given = inputs.map(_unknown)
    # A forward may keep what it made on the module, and a shadow with it.
    module = rebuilt(module, all_tensors(module)).eval()
    # Fused attention is looked into: its parts have rules.
    fused = sdpa_kernel(SDPBackend.MATH)
    mode = _Shadow(Parameters(module), visit, elsewhere, strict)
    with torch.no_grad(), without_fast_path(), fused, mode:
        return outputs_in(given.run(module))


def _unknown(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().clone()
    if tensor.is_floating_point() or tensor.is_complex():
        setattr(tensor, _SHADOW, torch.full_like(tensor, torch.nan))
    else:
        setattr(tensor, _TAINTED, True)
    return tensor


class _Shadow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, known: Parameters, visit: Visit, elsewhere: Elsewhere, strict: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known
        self._visit = visit
        self._elsewhere = elsewhere
        self._strict = strict
        self._all_unknown = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = tensors_in((args, kwargs))
        tainted = self._all_unknown or any(hasattr(tensor, _TAINTED) for tensor in given)
        if func.overloadpacket.__name__ in ("_local_scalar_dense", "equal", "is_nonzero"):
            # What becomes of a Python number is not seen.
            self._all_unknown |= tainted or any(_has_unknown(_shadow(tensor)) for tensor in given)
            return func(*args, **kwargs)
        written = [tensor for tensor in _written(func, args, kwargs) if not hasattr(tensor, _SHADOW)]
        for tensor in written:
            setattr(tensor, _SHADOW, tensor.clone())
        dark_args, dark_kwargs = tree_map(_shadow, (args, kwargs))
        call = recognise(func, args, kwargs, self._known)
        if call is not None and call.kind != "norm" and call.name is not None:
            self._visit(call, None if tainted else recognise(func, dark_args, dark_kwargs, self._known))
        unknown = tainted or any(_has_unknown(tensor) for tensor in tensors_in((dark_args, dark_kwargs)))
        dark = None if tainted else self._in_shadow(func, given, dark_args, dark_kwargs)
        out = func(*args, **kwargs)
        if call is None:
            self._note(func, given, tensors_in(out))
        if dark is None:
            for tensor in _written(func, args, kwargs):
                _forget(_shadow(tensor))
        _attach(tensors_in(out), None if dark is None else tensors_in(dark), unknown)
        return out

    def _in_shadow(
        self, func: Any, given: Sequence[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """The result of ``func`` in the shadow; None where nothing can be said of it."""
        if not given:
            return None if torch.Tag.nondeterministic_seeded in func.tags else func(*args, **kwargs)
        rule = RULES.get(func.overloadpacket.__name__)
        try:
            return func(*args, **kwargs) if rule is None else rule(func, args, kwargs, self._strict)
        except (RuntimeError, ValueError, IndexError):
            return None

    def _note(self, func: Any, given: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        """A view of a parameter is still that; anything else made of it is not followed."""
        views = {place(tensor) for tensor in made}
        for tensor in given:
            name = self._known.name(tensor)
            if name is not None and place(tensor) not in views:
                self._elsewhere(name, func.overloadpacket.__name__)


def _shadow(value: Any) -> Any:
    return getattr(value, _SHADOW, value) if isinstance(value, Tensor) else value


def _has_unknown(tensor: Tensor) -> bool:
    return (tensor.is_floating_point() or tensor.is_complex()) and bool(tensor.isnan().any())


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The arguments that ``func`` changes in place."""
    found = []
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            found += tensors_in((value,))
    return found


def _forget(tensor: Tensor) -> None:
    if tensor.is_floating_point() or tensor.is_complex():
        tensor.fill_(torch.nan)
    else:
        setattr(tensor, _TAINTED, True)


def _attach(made: Sequence[Tensor], dark: Sequence[Tensor] | None, unknown: bool) -> None:
    """Give what a call made its shadow; all NaN where there is none that fits."""
    fits = dark is not None and [t.shape for t in made] == [t.shape for t in dark]
    for index, tensor in enumerate(made):
        if not (tensor.is_floating_point() or tensor.is_complex()):
            if unknown or not fits:
                setattr(tensor, _TAINTED, True)
        elif fits and dark is not None:
            if dark[index] is not tensor:
                setattr(tensor, _SHADOW, dark[index])
        elif hasattr(tensor, _SHADOW):
            _forget(_shadow(tensor))
        else:
            setattr(tensor, _SHADOW, torch.full_like(tensor, torch.nan))
