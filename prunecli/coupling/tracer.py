"""Run a network once without arithmetic and learn which axes are the same.

Two modes watch the run: :class:`_Operators` sees every ATen operator below all composite functions, and
:class:`_Functions` sees what ``forward`` wrote (numbers, attention, groups of convolutions). Parameters,
buffers and inputs are stand-ins on the meta device, so nothing is computed and no memory is used; constants
of the network are real, so that what ``forward`` reads from them is right. The module itself is left exactly
as it was.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import prunecli.coupling.attention
import prunecli.coupling.constants
import prunecli.coupling.fourier
import prunecli.coupling.layers
import prunecli.coupling.lookups
import prunecli.coupling.multihead
import prunecli.coupling.products
import prunecli.coupling.recurrent
import prunecli.coupling.reductions
import prunecli.coupling.repeats
import prunecli.coupling.shapes
import prunecli.coupling.slices
import prunecli.coupling.views
import prunecli.coupling.vision  # noqa: F401  (these register their rules and handlers)
from prunecli.assembly import same_along, without_fast_path
from prunecli.coupling.functions import HANDLERS, plain
from prunecli.coupling.integers import IntegerLog
from prunecli.coupling.nodes import fixed
from prunecli.coupling.operators import RULES, Call, Rule, pointwise, torch_tag_says_pointwise, unknown
from prunecli.coupling.recording import Recording, outputs_in, tensors_in, to_meta
from prunecli.coupling.scripted import pin_around, pin_hidden_numbers, python_modules, script_tensors
from prunecli.coupling.shortcuts import SHORTCUTS, WITHOUT_SHAPE
from prunecli.errors import InputError
from prunecli.inputs import Inputs

_META = torch.device("meta")
_CONTAINERS = frozenset({dict, OrderedDict, list, set})
_NEW = frozenset({"new_zeros", "new_ones", "new_full", "new_empty"})


class _Functions(TorchFunctionMode):
    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler, provenance = HANDLERS.get(func, plain), self.recording.provenance
        self.recording.functions_running += 1
        try:
            if provenance is not None:
                return provenance.around(self.recording, handler, func, args, kwargs or {})
            return handler(self.recording, func, args, kwargs or {})
        finally:
            self.recording.functions_running -= 1


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, recording: Recording, on_meta: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording = recording
        self.on_meta = on_meta

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.recording.functions_running:
            return self._follow(func, args, kwargs or {})
        # No function of torch's was called in Python: the numbers in this code cannot be seen.
        with torch._C.DisableTorchFunction():
            out = self._follow(func, args, kwargs or {})
            pin_hidden_numbers(self.recording, _rule(func)[1], args, out)
        return out

    def _follow(self, func: Any, args: Any, kwargs: Any) -> Any:
        recording = self.recording
        if func.overloadpacket.__name__ in _NEW:
            # A new tensor has nothing of the old one but its type: a constant, computed for real.
            like = args[0].new_empty(0, device="cpu")
            return func(like, *args[1:], **{**kwargs, "device": torch.device("cpu")})
        tensors = tensors_in(args) + tensors_in(list(kwargs.values())) if kwargs else tensors_in(args)
        traced = [tensor for tensor in tensors if recording.is_traced(tensor)]
        rule, name = _rule(func)
        if traced and rule is unknown:
            with self:
                # Inside ``torch.inference_mode`` operators arrive before torch has taken them apart.
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        if self.on_meta:
            # A constant may have axes of its own and still be computed for real.
            stand_ins = any(tensor.is_meta for tensor in traced)
            args, kwargs = self._placed(args, kwargs, stand_ins)
            out = self._shortcut(func, args, kwargs) if stand_ins else func(*args, **kwargs)
        else:
            out = func(*args, **kwargs)
        if traced:
            for tensor in traced:
                recording.use(tensor)
            if kwargs:
                args = _positional(func, args, kwargs)
            rule(recording, Call(name, args, out))
            if recording.provenance is not None:
                recording.provenance.note(recording, name, traced, tensors_in(out))
        return out

    def _shortcut(self, func: Any, args: Any, kwargs: Any) -> Any:
        shortcut = SHORTCUTS.get(func) if WITHOUT_SHAPE.issuperset(kwargs) else None
        out = None if shortcut is None else shortcut(args)
        return func(*args, **kwargs) if out is None else out

    def _placed(self, args: Any, kwargs: Any, stand_ins: bool) -> tuple[Any, Any]:
        """Constants are computed for real on the CPU; meeting stand-ins they become such."""
        if stand_ins:
            args = _map(args, self.recording.stand_in)
            kwargs = {k: _map(v, self.recording.stand_in) for k, v in kwargs.items()}
            if kwargs.get("device") is not None:
                kwargs["device"] = _META
        elif kwargs.get("device") == _META and not any(t.is_meta for t in tensors_in(args)):
            kwargs = {**kwargs, "device": torch.device("cpu")}
        return args, kwargs


def _map(value: Any, change: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)(_map(item, change) for item in value)
    return value


_CACHE: dict[Any, tuple[Rule, str]] = {}


def _rule(func: Any) -> tuple[Rule, str]:
    """Its rule, which may have been registered since the last trace, and its name."""
    found = _CACHE.get(func)
    if found is None:
        name = f"{func.namespace}.{func.overloadpacket.__name__}".rstrip("_")
        name = name.replace("aten.aten.", "aten.")
        found = _CACHE[func] = (pointwise if torch_tag_says_pointwise(func) else unknown, name)
    otherwise, name = found
    return RULES.get(name, otherwise), name


def _positional(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arguments in schema order, keyword ones filled in."""
    rest = func._schema.arguments[len(args) :]
    return (*args, *(kwargs.get(argument.name, argument.default_value) for argument in rest))


def record(
    module: nn.Module,
    inputs: Inputs | Sequence[Any],
    recording: Recording,
    *,
    on_meta: bool = True,
    counting: bool = True,
) -> None:
    """Run ``module`` on ``inputs`` once and write what happens into ``recording``.

    With ``on_meta`` false the network runs on real tensors, for forwards that look at values.
    Whatever the network's own code raises comes through.
    """
    recording.counting = counting
    if recording.provenance is not None:
        recording.provenance.begin(again=not on_meta)
    stand_in = to_meta if on_meta else _real
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(without_fast_path())
        stack.enter_context(_untouched(module, recording.integers))
        stack.enter_context(_module_paths(module, recording))
        state = _stand_ins(module, recording, stand_in)
        _pin_buffers_without_a_file(module, recording)
        arguments = Inputs.of(inputs).map(lambda value: _input(recording, value, stand_in))
        stack.enter_context(_Functions(recording))
        stack.enter_context(_Operators(recording, on_meta))
        output = functional_call(module, state, arguments.positional, dict(arguments.named), tie_weights=True)
    outputs = outputs_in(output)
    if not outputs:
        raise InputError("forward returns no tensor", "return what the network computes")
    recording.pin_all(outputs, "the network's output")


def _real(tensor: Tensor) -> Tensor:
    copy = tensor.detach().clone()
    return copy.float() if copy.is_floating_point() else copy


def _pin_buffers_without_a_file(module: nn.Module, recording: Recording) -> None:
    """Buffers outside the state_dict are rebuilt by the network's own code, at their full size. Along a
    dimension where all their slices are the same, whoever loads the network can take the first few.
    """
    saved = set(module.state_dict(keep_vars=True))
    for name, buffer in module.named_buffers(remove_duplicate=False):
        if name in saved:
            continue
        reason = f"its indices differ in the buffer {name}, which is not in the checkpoint"
        for dim, node in enumerate(recording.parameter_axes[name]):
            if not same_along(buffer, dim):
                recording.algebra.pin(node, reason)


def _stand_ins(module: nn.Module, recording: Recording, stand_in: Any) -> dict[str, Tensor]:
    named: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for source in (
        module.named_parameters(remove_duplicate=False),
        module.named_buffers(remove_duplicate=False),
    ):
        for name, tensor in source:
            named.setdefault(id(tensor), []).append(name)
            tensors[id(tensor)] = tensor
    state: dict[str, Tensor] = {}
    scripted = script_tensors(module)
    for key, names in named.items():
        fake = stand_in(tensors[key])
        recording.add_parameter(names, fake)
        if scripted.isdisjoint(names):
            state.update(dict.fromkeys(names, fake))
        else:
            recording.use(fake)
            recording.pin_all([fake], "it belongs to a TorchScript module")
    return state


def _input(recording: Recording, value: Tensor, stand_in: Any) -> Tensor:
    fake: Tensor = stand_in(value)
    recording.set_axes(fake, [fixed(size, "the network's input") for size in fake.shape])
    return fake


@contextmanager
def _untouched(module: nn.Module, log: IntegerLog) -> Iterator[None]:
    """Integer attributes are traced numbers inside; afterwards every module has what it had before, in its
    containers (parameters, hooks, caches) too.
    """
    before = [(child, dict(child.__dict__)) for _, child in python_modules(module)]
    containers = [
        (value, copy(value))
        for _, attributes in before
        for value in attributes.values()
        if type(value) in _CONTAINERS
    ]
    try:
        for path, child in python_modules(module):
            for name, value in list(child.__dict__.items()):
                traced = _traced_attribute(log, path, name, value)
                if traced is not None:
                    child.__dict__[name] = traced
        yield
    finally:
        for child, attributes in before:
            child.__dict__.clear()
            child.__dict__.update(attributes)
        for container, content in containers:
            container.clear()
            (container.extend if isinstance(container, list) else container.update)(content)


def _traced_attribute(log: IntegerLog, path: str, name: str, value: Any) -> Any:
    if type(value) is int:
        return log.attribute(path, name, None, value)
    if type(value) in (tuple, list, torch.Size) and value and all(type(item) is int for item in value):
        return type(value)([log.attribute(path, name, index, item) for index, item in enumerate(value)])
    return None


@contextmanager
def _module_paths(module: nn.Module, recording: Recording) -> Iterator[None]:
    paths = {id(child): path for path, child in module.named_modules()}

    def enter(child: nn.Module, args: Any) -> None:
        recording.module_stack.append(paths.get(id(child), ""))
        pin_around(recording, child, recording.where, given=args)

    def leave(child: nn.Module, args: Any, output: Any) -> None:
        pin_around(recording, child, recording.where, given=args, back=output)
        recording.module_stack.pop()

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        recording.module_stack.clear()
