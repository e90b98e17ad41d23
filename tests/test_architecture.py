"""Promises of docs/architecture.md that can be read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import prunecli

ROOT = Path(prunecli.__file__).parent
KNOWING = ("coupling/adapters", "networks/", "demo/")
"""Where module classes may be named: what describes torch's layers, what builds networks, the demo's own."""
BASES = {nn.Module, nn.Parameter}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def named_classes(tree: ast.Module) -> Iterator[str]:
    """Module classes that code (not a docstring) names, as ``nn.X``, ``torch.jit.X`` or by import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch.nn.modules"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name[1:2].isupper())
            continue
        else:
            continue
        found: object = {"nn": nn, "torch": torch}.get(text.partition(".")[0])
        for part in text.split(".")[1:]:
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, nn.Module) and found not in BASES:
            yield found.__name__


def test_at_most_five_module_classes_are_named_outside_the_rooms_that_know_them() -> None:
    found = {
        name: path for path, tree in sources() if not path.startswith(KNOWING) for name in named_classes(tree)
    }
    assert len(found) <= 5, found
    assert "Linear" in {
        name for path, tree in sources() if path.startswith(KNOWING) for name in named_classes(tree)
    }


def test_nothing_depends_on_the_name_of_a_network() -> None:
    """No comparison of a name with a string that is a network's."""
    from prunecli.networks import names

    known = {name.partition(":")[2] for name in names()}
    compared = {
        (path, constant.value)
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for constant in ast.walk(node)
        if isinstance(constant, ast.Constant) and constant.value in known
    }
    assert "resnet50" in known
    assert not compared


def test_every_file_of_the_coupling_stands_in_the_architecture_page() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = [path.name for path in (ROOT / "coupling").glob("[a-z]*.py") if f"`{path.name}`" not in page]
    assert not missing
