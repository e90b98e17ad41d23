"""The user's own network: ``FILE.py:factory`` or ``pkg.mod:factory``. The only place that runs foreign
code.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from torch import nn

from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.errors import InputError, PruneError, UsageError, unknown_name
from prunecli.inputs import describe

_MEND = {
    "--arch": "give its arguments with --arch-arg name=value, or mend the file",
    "--data": "mend the file",
}


@dataclass(frozen=True)
class Factory:
    """``make(**arguments)`` builds the network; ``inputs`` come from the file's ``example_inputs()``, if it
    has one.
    """

    spec: str
    make: Callable[..., Any]
    examples: Callable[[], Any] | None

    def build(self, arguments: Mapping[str, Scalar]) -> nn.Module:
        """Raises ``InputError`` in one line for whatever the factory raises, or if it makes something
        else.
        """
        with Foreign(self.spec):
            module = self.make(**arguments)
        if not isinstance(module, nn.Module):
            raise InputError(
                f"{self.spec} returned {type(module).__name__}, not an nn.Module",
                "return the network from the factory",
            )
        return module

    def inputs(self, module: nn.Module) -> tuple[InputSpec, ...]:
        """What ``example_inputs()`` shows: a tensor, a tuple of tensors (or of lists and dicts of them), or a
        mapping by name.
        """
        if self.examples is None:
            return ()
        with Foreign(f"example_inputs() beside {self.spec}"):
            examples = self.examples()
        try:
            return describe(examples, module)
        except UsageError as error:
            raise InputError(f"beside {self.spec}: {error.message}", error.hint) from None


def find(spec: str) -> Factory:
    """Import what ``spec`` names. Raises ``UsageError`` if it is not there, ``InputError`` if importing it
    fails.
    """
    where, _, name = spec.rpartition(":")
    if not where or not name.isidentifier():
        raise UsageError(
            f"--arch '{spec}' is not FILE.py:factory or pkg.mod:factory", "name the factory after a colon"
        )
    in_file = where.endswith(".py")
    module = _import_file(Path(where), spec, "--arch") if in_file else _import_module(where, spec)
    make = _function(module, spec, "factory", "name a function that builds the network")
    examples = getattr(module, "example_inputs", None)
    return Factory(spec, make, examples if callable(examples) else None)


def find_function(path: Path, name: str, option: str) -> Callable[..., Any]:
    """A function in the user's file, for ``option``. Raises as :func:`find`."""
    spec = f"{path}:{name}"
    return _function(_import_file(path, spec, option), spec, "function", f"name a function in {option}")


def _function(module: ModuleType, spec: str, kind: str, hint: str) -> Callable[..., Any]:
    where, _, name = spec.rpartition(":")
    public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if not hasattr(module, name):
        raise unknown_name(f"{kind} in {where}", name, public)
    found = getattr(module, name)
    if isinstance(found, nn.Module) or not callable(found):
        raise UsageError(f"{spec} is a {type(found).__name__}, not a function", hint)
    return found  # type: ignore[no-any-return]


def _import_file(path: Path, spec: str, option: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"no such file: '{path}'", f"check the path in {option}")
    name = f"prunecli_user_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise UsageError(f"'{path}' is not a Python file", f"name a .py file in {option}")
    module = importlib.util.module_from_spec(found)
    # Dataclasses and pickling look their module up by name while the file runs.
    sys.modules[name] = module
    with _importable(path.resolve().parent), Foreign(spec, _MEND[option]):
        found.loader.exec_module(module)
    return module


def _import_module(name: str, spec: str) -> ModuleType:
    with _importable(Path.cwd()), Foreign(spec):
        try:
            missing = importlib.util.find_spec(name) is None
        except (ImportError, ValueError):
            missing = True
        if missing:
            near = get_close_matches(name, ("torchvision", "timm", "cifar"), n=1)
            hint = f"did you mean {near[0]}:?" if near else "for a file write FILE.py:factory"
            raise UsageError(f"no module '{name}' for --arch '{spec}'", hint)
        return importlib.import_module(name)


@contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """A user's file may import its neighbours, as it could if it were run."""
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(str(directory))


class Foreign:
    """Any error out of the user's code becomes one line with its type and text."""

    def __init__(self, where: str, hint: str = "") -> None:
        self._where = where
        self._hint = hint or _MEND["--arch"]

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, PruneError):
            text = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self._where} raised {type(error).__name__}: {text}",
                self._hint,
            ) from error
