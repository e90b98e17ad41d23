"""Can ``config.json`` say what is left of a network? Found by trying, not from a table of models.

Numbers of the configuration that equal a size which the cut changed are set to the new size, one at a time,
as long as the network built from it comes closer to the pruned one. What fits in every shape and every
patched attribute must then also compute the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from itertools import combinations
from operator import ne
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from prunecli import inputs as input_room
from prunecli.checkpoint.recipe import AttributePatch
from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import InputError
from prunecli.networks.hugging_face import Config, auto_class, build_from, model_class, read_config
from prunecli.networks.resolving import load_weights
from prunecli.networks.sketching import materialise, sketch
from prunecli.proofs import FORWARD_ERRORS, TOLERANCE, evidence, relative_error

Key: TypeAlias = tuple[Any, ...]
Changes: TypeAlias = Mapping[Key, int]

_MOST_BUILDS = 400
_MOST_PER_NUMBER = 8
_MOST_IN_PAIRS = 16


@dataclass(frozen=True)
class Written:
    """``config``: what ``config.json`` of the result says. ``loader``: the class whose ``from_pretrained``
    loads it, or None if only ``prunecli.load`` does, with the ``reason``.
    """

    config: Config
    loader: str | None
    reason: str | None = None

    @property
    def note(self) -> str:
        if self.loader is not None:
            return f"config.json has the new sizes: {self.loader}.from_pretrained(DIR) loads the result"
        return f"config.json keeps the dense sizes ({self.reason}): prunecli.load(DIR) loads the result"


def fitted(
    directory: Path, module: nn.Module, patches: Sequence[AttributePatch], specs: Sequence[InputSpec]
) -> Written:
    """The configuration for the pruned ``module``, whose own is updated where it can say its sizes."""
    dense = read_config(directory)
    search = _Search(dense, module, patches)
    changes = search.best()
    if changes is None:
        return Written(dense, None, "it has no numbers for these widths")
    config = search.written(changes)
    rebuilt = sketch(lambda: build_from(config))
    load_weights(rebuilt, module.state_dict())
    materialise(rebuilt, lambda: build_from(config))
    kept, computed = _floats(module), _floats(rebuilt)
    other = next((name for name in kept if computed.get(name) != kept[name]), None)
    if other is not None:
        return Written(dense, None, f"{other} would follow the new ones, and the cut left it as it was")
    inputs = input_room.make(specs)
    try:
        error = relative_error(evidence(module, inputs), evidence(rebuilt.eval(), inputs))
    except FORWARD_ERRORS:
        error = float("inf")
    if error > TOLERANCE:
        return Written(dense, None, "with the new ones the class computes something else")
    vars(module.config).update(vars(rebuilt.config))
    return Written(config, auto_class(module))


class _Search:
    """From the dense configuration to one that builds ``module``, by steps that come closer to it."""

    def __init__(self, config: Config, module: nn.Module, patches: Sequence[AttributePatch]) -> None:
        self.kind = model_class(config)
        self.config = config
        self.module = module
        self.patches = patches
        self.wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        self.left = _MOST_BUILDS

    @cached_property
    def derived(self) -> tuple[str, ...]:
        """Keys that the class computes from others; what is written down of them may be outdated."""
        kind = self.kind.config_class
        own = {item.name for item in fields(kind)} if is_dataclass(kind) else set(self.config)

        def computed(key: str) -> bool:
            rest = {name: item for name, item in self.config.items() if name != key}
            return hasattr(kind.from_dict(_as_json(rest)), key)

        numbers = [key for key, value in self.config.items() if type(value) is int and key not in own]
        return tuple(key for key in numbers if computed(key))

    @cached_property
    def base(self) -> Config:
        """All that the class reads, defaults too."""
        plain = {key: item for key, item in self.config.items() if key not in self.derived}
        full: Config = self.kind.config_class.from_dict(_as_json(plain)).to_dict()
        return {key: item for key, item in full.items() if key not in self.derived}

    @cached_property
    def dense(self) -> nn.Module:
        return sketch(lambda: build_from(self.base))

    def best(self) -> dict[Key, int] | None:
        """The changes that make the configuration fit, or None."""
        found: dict[Key, int] = {}
        misfit = self.misfit(found)
        for candidates in (self.numbers(), [*self.numbers(), *self.unset()]):
            while misfit and (step := self.step(found, misfit, candidates)) is not None:
                found |= step
                misfit = self.misfit(found)
        return found if misfit == 0 else None

    def step(
        self, found: Changes, misfit: int, candidates: Sequence[tuple[Key, int]]
    ) -> dict[Key, int] | None:
        """The candidate, or the pair of them, that comes closest; None if none comes closer."""
        singles = [{key: value} for key, value in candidates]
        pairs = [
            {a: x, b: y} for (a, x), (b, y) in combinations(candidates, 2)
            if a != b and len(candidates) <= _MOST_IN_PAIRS
        ]  # fmt: skip
        for attempts in (singles, pairs):
            rated = [
                (value, index)
                for index, attempt in enumerate(attempts)
                if (value := self.misfit({**found, **attempt})) is not None and value < misfit
            ]
            if rated:
                return attempts[min(rated)[1]]
        return None

    def misfit(self, changes: Changes) -> int | None:
        """How many dimensions and patched attributes differ; None for what cannot be built."""
        if not self.left:
            return None
        self.left -= 1
        try:
            built = sketch(lambda: build_from(_changed(self.base, changes)))
        except (InputError, TypeError, ValueError, RuntimeError, AssertionError, LookupError,
                AttributeError, ArithmeticError):  # fmt: skip
            return None
        shapes = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
        if shapes.keys() != self.wanted.keys():
            return None
        dims: list[int] = [
            (len(shape) != len(self.wanted[name])) + sum(map(ne, shape, self.wanted[name]))
            for name, shape in shapes.items()
        ]
        return sum(dims) + sum(_attribute(built, patch) != patch.value for patch in self.patches)

    def numbers(self) -> list[tuple[Key, int]]:
        """Integers of the configuration that equal a size which changed, each with the new sizes."""
        became = self.became
        return [
            (key, value)
            for key, number in _numbers(self.base, ())
            for value, _ in became.get(number, Counter[int]()).most_common(_MOST_PER_NUMBER)
        ]

    @cached_property
    def became(self) -> dict[int, Counter[int]]:
        """For every size of the dense network what it is in the pruned one, where that is another."""
        found: dict[int, Counter[int]] = {}
        for name, tensor in self.dense.state_dict().items():
            for before, after in zip(tensor.shape, self.wanted[name], strict=True):
                if before != after:
                    found.setdefault(before, Counter())[after] += 1
        for patch in self.patches:
            before = _attribute(self.dense, patch)
            if isinstance(before, int) and before != patch.value:
                found.setdefault(before, Counter())[patch.value] += 1
        return found

    def unset(self) -> Iterator[tuple[Key, int]]:
        """Numbers that the configuration leaves to the class: null, or named like an attribute of a module
        (``head_dim``).
        """
        sizes = sorted({after for counts in self.became.values() for after in counts})
        for key, value in self.base.items():
            if value is None and len(sizes) <= _MOST_PER_NUMBER:
                yield from (((key,), size) for size in sizes)
        values: dict[str, set[int]] = {}
        for child in self.module.modules():
            for name, value in vars(child).items():
                if type(value) is int and not name.startswith("_"):
                    values.setdefault(name, set()).add(value)
        for name, several in values.items():
            if self.base.get(name) is None and len(several) == 1 and name not in self.derived:
                yield (name,), several.pop()

    def written(self, changes: Changes) -> Config:
        """The dense ``config.json`` with ``changes``, and what the class computes from them."""
        kept = {key: item for key, item in self.config.items() if key not in self.derived}
        defaults = {key[0]: self.base.get(key[0]) for key in changes}
        config = _changed({**kept, **defaults}, changes)
        settings = self.kind.config_class.from_dict(_as_json(config))
        return config | {key: getattr(settings, key) for key in self.derived}


def _floats(module: nn.Module) -> dict[str, float]:
    """Factors that a class may have computed from sizes: the scale of an attention."""
    return {
        f"{path}.{name}".lstrip("."): value
        for path, child in module.named_modules()
        for name, value in vars(child).items()
        if type(value) is float
    }


def _numbers(value: Any, key: Key) -> Iterator[tuple[Key, int]]:
    if type(value) is int:
        yield key, value
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, item in items:
            yield from _numbers(item, (*key, name))


def _changed(config: Config, changes: Changes) -> Config:
    """A copy of ``config`` with other numbers at some places."""
    result: Config = _as_json(config)
    for (*way, last), value in changes.items():
        place: Any = result
        for name in way:
            place = place[name]
        place[last] = value
    return result


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value


def _attribute(module: nn.Module, patch: AttributePatch) -> object:
    try:
        value = getattr(module.get_submodule(patch.module), patch.attribute, None)
    except AttributeError:
        return None
    if patch.index is None:
        return value
    return value[patch.index] if isinstance(value, Sequence) and patch.index < len(value) else None
