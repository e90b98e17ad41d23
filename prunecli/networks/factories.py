"""The user's own network: ``FILE.py:factory`` or ``pkg.mod:factory``. The only place that runs foreign
code.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.errors import InputError, PruneError, UsageError, unknown_name
from prunecli.inputs import describe

_MEND_CALL = "give its arguments with --arch-arg name=value, or mend the file"
_MEND_FILE = {
    "--arch": "mend the file: it is imported, so training belongs under if __name__ == '__main__'",
    "--data": "mend the file",
    "--loss": "mend the file",
}


@dataclass(frozen=True)
class Factory:
    """``make(**arguments)`` builds the network; ``inputs`` come from the file's ``example_inputs()``, if it
    has one. ``directories``: where they may import from.
    """

    spec: str
    make: Callable[..., Any]
    examples: Callable[[], Any] | None
    directories: tuple[Path, ...] = ()

    def build(self, arguments: Mapping[str, Scalar]) -> nn.Module:
        """Raises ``UsageError`` for arguments that the factory does not take, ``InputError`` in one line for
        whatever it raises, or if it makes something else.
        """
        _require_arguments(self.spec, self.make, arguments)
        with _importable(*self.directories), Foreign(self.spec, _MEND_CALL):
            module = self.make(**arguments)
        if not isinstance(module, nn.Module):
            raise InputError(
                f"{self.spec} returned {type(module).__name__}, not an nn.Module",
                "return the network from the factory",
            )
        unmade = next((name for name, tensor in module.named_parameters() if is_lazy(tensor)), None)
        if unmade is not None:
            raise InputError(
                f"{self.spec} leaves '{unmade}' without a size: its layer waits for a first forward",
                "run the network once in the factory before returning it",
            )
        return module

    def inputs(self, module: nn.Module) -> tuple[InputSpec, ...]:
        """What ``example_inputs()`` shows: a tensor, a tuple of tensors (or of lists and dicts of them), or a
        mapping by name.
        """
        if self.examples is None:
            return ()
        where = f"example_inputs() beside {self.spec}"
        with _importable(*self.directories), Foreign(where, "it is called without arguments; mend it"):
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
    is_file = where.endswith(".py")
    module = _import_file(Path(where), spec, "--arch") if is_file else _import_module(where, spec)
    make = _function(module, spec, "factory", "name a function that builds the network")
    examples = getattr(module, "example_inputs", None)
    directories = (Path(where).resolve().parent, Path.cwd()) if is_file else (Path.cwd(),)
    return Factory(spec, make, examples if callable(examples) else None, directories)


def _require_arguments(spec: str, make: Callable[..., Any], arguments: Mapping[str, Scalar]) -> None:
    """Raises ``UsageError`` for an argument that ``make`` does not take, and for one that it lacks."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in arguments:
            if name not in named:
                raise unknown_name(f"argument of {spec}", name, named)
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise UsageError(f"{spec} needs a value for '{name}'", f"--arch-arg {name}=VALUE")


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
    with (
        _importable(path.resolve().parent, Path.cwd()),
        Foreign(spec, _MEND_FILE[option], _dotted(path, spec) if option == "--arch" else None),
    ):
        found.loader.exec_module(module)
    return module


def _import_module(name: str, spec: str) -> ModuleType:
    with _importable(Path.cwd()), Foreign(spec, _MEND_FILE["--arch"]):
        try:
            missing = importlib.util.find_spec(name) is None
        except (ImportError, ValueError):
            missing = True
        if missing:
            near = get_close_matches(name, ("torchvision", "timm", "cifar", "ultralytics"), n=1)
            hint = f"did you mean {near[0]}:?" if near else "for a file write FILE.py:factory"
            raise UsageError(f"no module '{name}' for --arch '{spec}'", hint)
        return importlib.import_module(name)


def _dotted(path: Path, spec: str) -> str | None:
    """How a file below the working directory is named as a module of a package."""
    with suppress(ValueError):
        parts = path.resolve().relative_to(Path.cwd().resolve()).with_suffix("").parts
        if len(parts) > 1 and all(part.isidentifier() for part in parts):
            return f"it belongs to a package: --arch {'.'.join(parts)}:{spec.rpartition(':')[2]}"
    return None


@contextmanager
def _importable(*directories: Path) -> Iterator[None]:
    """A user's file may import its neighbours, as it could if it were run, and what lies where ``prune``
    runs.
    """
    added = [str(directory) for directory in dict.fromkeys(directories)]
    sys.path[:0] = added
    try:
        yield
    finally:
        for directory in added:
            with suppress(ValueError):
                sys.path.remove(directory)


class Foreign:
    """Any error out of the user's code becomes one line with its type and text; ``package`` is the hint
    where a relative import fails.
    """

    def __init__(self, where: str, hint: str = "mend the file", package: str | None = None) -> None:
        self._where = where
        self._hint = hint
        self._package = package

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, PruneError):
            text = " ".join(str(error).split())[:300]
            told = f"{type(error).__name__}{': ' if text else ''}{text}"
            raise InputError(f"{self._where} raised {told}", self._hint_for(error)) from error

    def _hint_for(self, error: BaseException) -> str:
        if isinstance(error, ModuleNotFoundError):
            return "install it in this environment, or run prune where its directory is"
        if isinstance(error, ImportError) and "relative import" in str(error) and self._package:
            return self._package
        return self._hint
