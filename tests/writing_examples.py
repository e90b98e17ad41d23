"""For the tests of what gets to its place whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prunecli.checkpoint.atomic import replacing_directory

LEFT = "0123456789abcdef"
"""In the name of a temporary that nobody writes any more."""


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def replaced(path: Path, name: str = "new") -> None:
    with replacing_directory(path) as new, new.file(name) as file:
        file.write(b"x")
