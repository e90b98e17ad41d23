"""``torch.save`` files, read without running anything that they contain."""

from __future__ import annotations

import argparse
import re
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from prunecli.checkpoint.opcodes import wanted
from prunecli.errors import InputError

# What damaged or hostile bytes have been seen to raise in the restricted unpickler and the zip reader.
_FAILURES = (
    UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError,
    ArithmeticError, AssertionError, MemoryError, ImportError, struct.error,
)  # fmt: skip
_GLOBAL = re.compile(r"(?:GLOBAL|global|class|build|type)s?:? +`?([\w.]+\.[\w.]+)`? was not an allowed")

_MOST = 4000
"""Characters of an error that are looked at: a name in the file may have millions."""
TOO_LARGE = "needs more memory than a file of its size may have"


class NeedsCodeError(InputError):
    """A pickle that asks for something which is neither a container nor a tensor."""


def kind(start: bytes) -> str:
    return "zip pickle" if start.startswith(b"PK") else "pickle"


def load(path: Path) -> object:
    """The object saved in ``path``: containers, numbers, texts and tensors only. Raises ``InputError``."""
    try:
        # An open file, because torch goes by the ending of a name.
        with (
            path.open("rb") as file,
            warnings.catch_warnings(),
            torch.serialization.safe_globals(_harmless()),
        ):
            warnings.simplefilter("ignore")
            return torch.load(file, weights_only=True, map_location="cpu")
    except _FAILURES as error:
        raise _refusal(path, error) from None


def _harmless() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Plain data that training scripts leave beside the weights: parsed arguments and NumPy numbers."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(code)) for code in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    return [
        argparse.Namespace, np.dtype, *dtypes,
        (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"),
    ]  # fmt: skip


def _refusal(path: Path, error: BaseException) -> InputError:
    text = str(error)[:_MOST]
    if isinstance(error, MemoryError) or "allocate" in text:
        return InputError(f"'{path}' {TOO_LARGE}", "it was made so, or is damaged; get it again")
    if "TorchScript" in text:
        return InputError(
            f"'{path}' is a TorchScript program, not weights",
            "in Python: torch.save(torch.jit.load(FILE).state_dict(), NEW)",
        )
    named = re.search(r"GLOBAL ([\w.]+)", text) or _GLOBAL.search(text)
    name = wanted(path) or (named.group(1) if named else None)
    if name:
        return NeedsCodeError(
            f"'{path}' is a pickle that needs code to open: it asks for {name:.200}",
            "only where you trust its source: in its own project torch.save(model.state_dict(), NEW), or "
            "--unsafe-load (in Python unsafe_load=True), which lets it do anything",
        )
    if "Unsupported operand" in text or "Unsupported class" in text:
        reason = text.split("error:")[-1].split("Check")[0].strip()
        return InputError(
            f"'{path}' is a pickle, but not one that torch.save makes of weights ({reason})",
            "save the state_dict: torch.save(model.state_dict(), FILE)",
        )
    return InputError(
        f"'{path}' is a damaged checkpoint, or no torch.save file ({type(error).__name__})",
        "the copy or download may be incomplete; get it again",
    )
