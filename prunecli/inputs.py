"""Inputs of a network: from their description to seeded tensors, and back.

``forward`` gets unnamed inputs by position and named ones by keyword. A dot in a name leads into a
container: ``images.0`` is the first tensor of the list given as ``images``, ``batch.mask`` an entry of the
dict ``batch``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.checkpoint.specs import DTYPES, InputSpec
from prunecli.errors import UsageError, unknown_name

BINARY = (0, 1)
"""Valid as tokens of any vocabulary, as masks, as segments; used where nothing better is known."""


@dataclass(frozen=True)
class Inputs:
    """What a network is called with: ``module(*positional, **named)``; values may be lists and dicts of
    tensors.
    """

    positional: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(given: Inputs | Sequence[Any]) -> Inputs:
        """``given``, where a plain sequence means positional inputs."""
        return given if isinstance(given, Inputs) else Inputs(tuple(given))

    def run(self, module: Callable[..., Any]) -> Any:
        return module(*self.positional, **self.named)

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same structure around other tensors."""
        positional = tuple(_mapped(value, change) for value in self.positional)
        return Inputs(positional, {name: _mapped(value, change) for name, value in self.named.items()})

    def cast(self, dtype: torch.dtype) -> Inputs:
        """Everything floating in ``dtype``."""
        return self.map(lambda x: x.detach().to(dtype) if x.is_floating_point() else x.detach())

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, in the order in which :meth:`map` visits them."""
        found: list[Tensor] = []
        self.map(lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
        return found


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_mapped(item, change) for item in value)
    return value


def make(specs: Sequence[InputSpec], seed: int = 0) -> Inputs:
    """Seeded tensors: normal noise for floating types, uniform within their bounds for integers."""
    generator = torch.Generator().manual_seed(seed)
    return assemble(specs, [_one(spec, generator) for spec in specs])


def assemble(specs: Sequence[InputSpec], tensors: Sequence[Tensor]) -> Inputs:
    """One tensor per specification, each where the specification says."""
    positional: list[Tensor] = []
    tree: dict[str, Any] = {}
    for spec, tensor in zip(specs, tensors, strict=True):
        if spec.name is None:
            positional.append(tensor)
        else:
            _plant(tree, spec.name.split("."), tensor)
    return Inputs(tuple(positional), {name: _grown(branch) for name, branch in tree.items()})


def _one(spec: InputSpec, generator: torch.Generator) -> Tensor:
    dtype: torch.dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point:
        return torch.randn(spec.shape, generator=generator).to(dtype)
    low, high = spec.bounds or BINARY
    return torch.randint(low, high + 1, spec.shape, generator=generator).to(dtype)


def _plant(tree: dict[str, Any], path: Sequence[str], tensor: Tensor) -> None:
    name, *rest = path
    if not rest:
        tree[name] = tensor
    else:
        _plant(tree.setdefault(name, {}), rest, tensor)


def _grown(branch: Any) -> Any:
    """Keys that count 0, 1, ... are those of a list."""
    if isinstance(branch, Tensor):
        return branch
    grown = {name: _grown(part) for name, part in branch.items()}
    order = [str(index) for index in range(len(grown))]
    return [grown[index] for index in order] if grown.keys() == set(order) else grown


def describe(example: Any, module: nn.Module) -> tuple[InputSpec, ...]:
    """What :func:`make` needs to make inputs like ``example_inputs``: a tensor, a tuple or list of positional
    values, or a mapping by name; each value a tensor or a list or dict of tensors.

    A mapping of several that names no argument of a ``forward`` which takes only one is that argument. None
    is left out where it is the default. Integers are bounded by the smallest and largest value that the
    example holds. Raises ``UsageError``.
    """
    parameters = inspect.signature(module.forward).parameters
    named: list[tuple[str | None, Any]]
    if isinstance(example, Mapping) and not _is_one_argument(example, parameters):
        named = [(str(name), value) for name, value in example.items()]
    else:
        is_list = isinstance(example, tuple | list) and not _is_named_tuple(example)
        values = example if is_list else (example,)
        named = list(zip(_argument_names(parameters, values), values, strict=True))
    given = [(name, value) for name, value in named if value is not None or not _is_none(parameters, name)]
    leaves = [leaf for name, value in given for leaf in _leaves(name, value)]
    if not leaves:
        raise _not_an_example(type(example).__name__)
    return tuple(leaves)


def _is_one_argument(example: Mapping[Any, Any], parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Whether a batch as a dict is what the only argument of ``forward`` takes."""
    only = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return len(only) == len(parameters) == 1 < len(example) and not example.keys() & parameters.keys()


def _is_none(parameters: Mapping[str, inspect.Parameter], name: str | None) -> bool:
    return name is not None and name in parameters and parameters[name].default is None


def _argument_names(
    parameters: Mapping[str, inspect.Parameter], values: Sequence[Any]
) -> Iterator[str | None]:
    """None for a tensor given by position; a container, and what follows a None, needs the name of its
    argument.
    """
    names = iter(parameters)
    skipped = False
    for value in values:
        name = next(names, None)
        skipped = skipped or value is None
        yield None if isinstance(value, Tensor) and not skipped else name


def _is_named_tuple(value: object) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _leaves(name: str | None, value: Any) -> Iterator[InputSpec]:
    if isinstance(value, Tensor):
        yield described(name, value)
    elif _is_named_tuple(value) or is_dataclass(value):
        kind, at = type(value).__name__, f" at {name}" if name else ""
        raise UsageError(
            f"example_inputs holds a {kind}{at}: a file cannot describe a class of yours",
            "let the factory return a module whose forward takes the tensors and makes it",
        )
    elif isinstance(value, Mapping | tuple | list) and name is not None and value:
        items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _leaves(f"{name}.{key}", item)
    else:
        raise _not_an_example(f"{type(value).__name__}{f' at {name}' if name else ''}")


def described(name: str | None, tensor: Tensor) -> InputSpec:
    """One tensor as a specification. Raises ``UsageError`` for a type that inputs cannot have."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    bounds = None
    if not tensor.is_floating_point() and tensor.numel() and not tensor.is_meta:
        bounds = (int(tensor.min()), int(tensor.max()))
    return InputSpec(name, dtype, tuple(tensor.shape), bounds)


def _not_an_example(found: str) -> UsageError:
    return UsageError(
        f"example_inputs is {found}", "give a tensor, a tuple of tensors, or a mapping of names to tensors"
    )


def at_arguments(module: nn.Module, specs: Sequence[InputSpec]) -> tuple[InputSpec, ...]:
    """Named inputs in the order of ``forward``'s arguments, unnamed ones beside them at the first free ones.

    Raises ``UsageError`` for a name that ``forward`` does not take, for an argument without a value, and for
    more values than arguments.
    """
    parameters = inspect.signature(module.forward).parameters
    plain = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if all(spec.name is None for spec in specs):
        _require_all(parameters, len(specs))
        return tuple(specs)
    known = [parameter.name for parameter in plain]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    taken = {_argument(spec) for spec in specs}
    free = iter(name for name in known if name not in taken)
    placed = [spec if spec.name is not None else replace(spec, name=next(free, None)) for spec in specs]
    given = {_argument(spec) for spec in placed}
    for name in sorted(given - set(known) - {""}):
        if not takes_any:
            raise unknown_name("input", name, known)
    missing = [p.name for p in plain if p.default is p.empty and p.name not in given]
    if missing:
        raise _missing(missing[0])
    return tuple(sorted(placed, key=lambda spec: _place(known, spec)))


def _require_all(parameters: Mapping[str, inspect.Parameter], count: int) -> None:
    """``count`` inputs by position are what ``forward`` takes."""
    by_position = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    if count > len(by_position) and not takes_any:
        names = ", ".join(p.name for p in by_position) or "no inputs"
        raise UsageError(f"{count} inputs are given, but forward takes {names}", "leave out what is too much")
    missing = [p.name for p in by_position[count:] if p.default is p.empty]
    if missing:
        raise _missing(missing[0])


def _missing(name: str) -> UsageError:
    return UsageError(
        f"--input names no size for '{name}'", f"--input {name}:1,... or {name}:int64:1,... with the batch"
    )


def _argument(spec: InputSpec) -> str:
    return (spec.name or "").partition(".")[0]


def _place(known: Sequence[str], spec: InputSpec) -> int:
    if spec.name is None:
        return -1
    argument = _argument(spec)
    return known.index(argument) if argument in known else len(known)


def smaller(specs: Sequence[InputSpec], macs: int, budget: float = 1.5e9) -> tuple[InputSpec, ...]:
    """The same inputs made smaller until a forward costs about ``budget`` multiply-adds: a single image or
    clip, or the sequence that all inputs share.

    Equality of two networks shows on a small image as well as on a large one, in a fraction of the time.
    """
    if macs <= budget:
        return tuple(specs)
    if len(specs) == 1 and len(specs[0].shape) in (4, 5):
        return (_smaller_image(specs[0], macs / budget),)
    lengths = {spec.shape[1:] for spec in specs}
    if len(lengths) == 1 and len(specs[0].shape) == 2 and specs[0].dtype == "int64":
        length = min(specs[0].shape[1], max(16, int(specs[0].shape[1] * budget / macs)))
        return tuple(replace(spec, shape=(spec.shape[0], length)) for spec in specs)
    return tuple(specs)


def _smaller_image(spec: InputSpec, excess: float) -> InputSpec:
    """``[N, C, H, W]``, or ``[N, C, T, H, W]`` of which half the frames stay."""
    sides = spec.shape[-2:]
    frames = spec.shape[2:-2]
    if frames:
        excess /= 2
        frames = (max(1, frames[0] // 2),)
    height, width = (min(size, max(96, round(size * excess**-0.5 / 32) * 32)) for size in sides)
    return replace(spec, shape=(*spec.shape[:2], *frames, height, width))
