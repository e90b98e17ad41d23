"""What each weight of a network makes on its way through a run: behind which norm, and whether it is ever
anything but zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.assembly import all_tensors, without_fast_path
from prunecli.coupling.recording import tensors_in
from prunecli.inputs import Inputs
from prunecli.running.calls import Call, Parameters, recognise, rows_of

_MADE = "_prunecli_made"
_SAME = frozenset({"view", "_unsafe_view", "alias", "detach", "clone", "_to_copy"})
_AFFINE = frozenset({"add", "sub", "mul", "div"})


@dataclass
class Layer:
    """One weight that something was multiplied by. ``outputs_first``: its rows are outputs. ``norm`` is the
    running mean of the norm that alone sees what it makes, None without. ``active [C]``: which channels were
    ever anything but zero, behind the norm and the activation that follow.
    """

    call: Call
    outputs_first: bool
    norm: str | None = None
    active: Tensor | None = None

    def saw(self, out: Tensor, dim: int) -> None:
        seen = (out.movedim(dim, 0).flatten(1) != 0).any(1)
        if self.active is None or self.active.shape != seen.shape:
            self.active = seen
        else:
            self.active |= seen


@dataclass
class _Made:
    """A tensor that ``layer`` made, with channels along ``dim``. ``stage``: 0 as made, 1 behind a norm, 2
    behind an activation; ``uses``: how often it was taken.
    """

    layer: Layer
    dim: int
    stage: int = 0
    uses: int = 0


@dataclass
class Layers:
    """Weights by name, over one run or several of :meth:`run`. ``values``: whether activity is of interest;
    if not, ``module`` and the inputs may be on the meta device.
    """

    module: nn.Module
    values: bool = False
    of: dict[str, Layer] = field(default_factory=dict)

    def run(self, inputs: Inputs) -> None:
        """Raises what forward raises."""
        mode = _Watch(self)
        with torch.no_grad(), without_fast_path(), mode:
            inputs.run(self.module)
        mode.end()


class _OnMeta(Parameters):
    """On the meta device nothing has an address, but views still share one storage."""

    def __init__(self, module: nn.Module) -> None:
        self.tensors = all_tensors(module)
        self._shared: dict[int, str] = {}
        for name, tensor in self.tensors.items():
            self._shared.setdefault(tensor.untyped_storage()._cdata, name)

    def name(self, tensor: object) -> str | None:
        return self._shared.get(tensor.untyped_storage()._cdata) if isinstance(tensor, Tensor) else None


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, layers: Layers) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._layers = layers
        on_meta = any(parameter.is_meta for parameter in layers.module.parameters())
        self._known = _OnMeta(layers.module) if on_meta else Parameters(layers.module)
        self._tensors = all_tensors(layers.module)
        self._normed: list[_Made] = []
        self._last: dict[int, tuple[_Made, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = recognise(func, args, kwargs, self._known)
        given = [tensor for tensor in tensors_in(args) if self._known.name(tensor) is None]
        out = func(*args, **kwargs)
        made = tensors_in(out)
        taken: list[_Made] = [getattr(tensor, _MADE) for tensor in given if hasattr(tensor, _MADE)]
        for one in taken:
            one.uses += 1
        if made:
            found = self._onward(func, call, given, taken, made[0])
            if found is not None:
                setattr(made[0], _MADE, found)
            elif hasattr(made[0], _MADE):
                delattr(made[0], _MADE)
        return out

    def _onward(
        self, func: Any, call: Call | None, given: list[Tensor], taken: list[_Made], out: Tensor
    ) -> _Made | None:
        if call is not None and call.kind != "norm" and call.name is not None:
            return self._begun(call, out)
        if len(taken) != 1 or len(given) != 1 or taken[0].stage > 1:
            return None
        before = taken[0]
        if call is not None and before.stage == 0 and before.dim == 1:
            before.layer.norm = call.name
            self._normed.append(before)
            return self._moved(before, 1, out)
        name = func.overloadpacket.__name__
        if name in _SAME and (before.dim == 1 or out.shape[-1] == given[0].shape[-1]):
            same = out.shape == given[0].shape or before.dim == -1
            # What it becomes is looked at, not that it was moved.
            before.uses -= same
            return before if same else None
        if torch.Tag.pointwise in func.tags and out.shape == given[0].shape:
            # What is added, or scales, by a parameter or a number is no activation yet.
            return self._moved(before, before.stage if name.rstrip("_") in _AFFINE else 2, out)
        return None

    def _begun(self, call: Call, out: Tensor) -> _Made:
        name = call.name or ""
        rows = rows_of(call, self._tensors[name]) if call.kind == "product" else None
        layer = self._layers.of.setdefault(name, Layer(call, rows is None or rows.are_outputs))
        return self._moved(_Made(layer, -1 if call.kind == "product" else 1), 0, out)

    def _moved(self, before: _Made, stage: int, out: Tensor) -> _Made:
        made = _Made(before.layer, before.dim, stage)
        if self._layers.values and stage == 2:
            before.layer.saw(out, before.dim)
        elif self._layers.values:
            self._last[id(before.layer)] = made, out.detach()
        if stage == 2:
            self._last.pop(id(before.layer), None)
        return made

    def end(self) -> None:
        """What was taken by more than its norm is not behind it alone; what met no activation is looked at as
        it was.
        """
        for made in self._normed:
            if made.uses > 1:
                made.layer.norm = None
        for made, out in self._last.values():
            made.layer.saw(out, made.dim)
