"""``names.txt``: every network that can be built by name, for completion. Read without importing torch.

``python -m prunecli.networks.listing --write`` writes it, for the installed libraries.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PATH = Path(__file__).with_name("names.txt")
FAMILIES = ("torchvision", "cifar", "timm", "ultralytics")
OURS = "cifar"


def listed() -> tuple[str, ...]:
    """As ``--arch`` takes them, family by family, whether or not the library is installed."""
    return tuple(PATH.read_text(encoding="utf-8").splitlines()[1:])


def of_timm() -> tuple[str, ...]:
    """Those of timm, where it is installed."""
    return tuple(name for name in listed() if name.startswith("timm:")) if find_spec("timm") else ()


def versions() -> dict[str, str]:
    """Of the libraries whose names the file has."""
    first = PATH.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    return dict(pair.split(" ") for pair in first.split(", "))


def installed(family: str) -> list[str]:
    """The names of ``family`` now, in order. Imports its library."""
    from prunecli.networks.families import FAMILIES as BUILDERS

    names = BUILDERS[family].names
    assert names is not None
    return [f"{family}:{name}" for name in sorted(names())]


def generate() -> str:
    """The text of ``names.txt`` for the installed libraries."""
    first = ", ".join(f"{family} {version(family)}" for family in FAMILIES if family != OURS)
    names = [name for family in FAMILIES for name in installed(family)]
    return "\n".join([f"# {first}", *names]) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m prunecli.networks.listing --write")
    PATH.write_text(generate(), encoding="utf-8")
