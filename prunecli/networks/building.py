"""From ``--arch`` and its arguments to an empty network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.errors import UsageError, unknown_name
from prunecli.networks import factories
from prunecli.networks.arguments import refuse_fetching
from prunecli.networks.catalogue import listed
from prunecli.networks.families import FAMILIES
from prunecli.networks.family import Family
from prunecli.networks.sketching import materialise, sketch

__all__ = ["build", "family_of", "materialise", "real_maker", "recorded"]

# What a constructor raises for an argument it does not know or cannot use.
_REJECTIONS = (
    TypeError, ValueError, RuntimeError, AssertionError, LookupError, AttributeError, ArithmeticError,
    OSError, ImportError,
)  # fmt: skip


def family_of(spec: str) -> tuple[Family, str] | None:
    """The family and the name in it, or None for a user's factory. Raises ``UsageError`` for an unknown
    name.
    """
    prefix, colon, name = spec.partition(":")
    family = FAMILIES.get(prefix)
    if family is None or not colon:
        if ":" not in spec or spec.startswith(":"):
            known = [full for full in listed() if full.partition(":")[2] == spec]
            hint = (
                f"did you mean {' or '.join(known)}?"
                if known
                else "write torchvision:NAME or FILE.py:factory"
            )
            raise UsageError(f"--arch '{spec}' does not say where the network comes from", hint)
        return None
    name = family.plain(name)
    known_names = None if family.names is None else family.names()
    if known_names is not None and name not in known_names:
        raise unknown_name("network", spec, [f"{prefix}:{known}" for known in known_names])
    return family, name


def real_maker(spec: str, arguments: Mapping[str, Scalar]) -> Callable[[], nn.Module]:
    """A function that builds the network with every tensor real. Raises ``UsageError`` for rejected
    arguments.
    """
    found = family_of(spec)
    if found is None:
        return lambda: _forked(lambda: factories.find(spec).build(arguments))
    family, name = found
    refuse_fetching(spec, arguments)

    def make() -> nn.Module:
        try:
            return family.make(name, arguments)
        except _REJECTIONS as error:
            text = " ".join(str(error).split())[:200]
            given = ", ".join(f"{key}={value}" for key, value in arguments.items()) or "no arguments"
            raise UsageError(
                f"{spec} cannot be built with {given:.200}: {text}", "check --arch-arg"
            ) from None

    return make


def recorded(spec: str, module: nn.Module) -> str:
    """What a recipe calls the network: never a path."""
    found = family_of(spec)
    return spec if found is None else f"{found[0].prefix}:{found[0].recorded(found[1], module)}"


def _forked(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return make()


def build(spec: str, arguments: Mapping[str, Scalar]) -> tuple[nn.Module, tuple[InputSpec, ...]]:
    """An empty network and its default inputs, which are ``()`` where a user's file does not give any.

    Parameters of torchvision, cifar and timm networks are on the meta device; buffers are real unless the
    family makes them without values (see :func:`materialise`). Raises ``UsageError`` or ``InputError``.
    """
    found = family_of(spec)
    if found is None:
        factory = factories.find(spec)
        module = _forked(lambda: factory.build(arguments))
        return module, factory.inputs(module)
    family, name = found
    make = real_maker(spec, arguments)
    try:
        module = sketch(make) if family.sketched else _forked(make)
    except UsageError:
        # A network that reads its own fresh parameters cannot be sketched; a wrong argument fails here again.
        module = _forked(make)
    return module, family.inputs(name, arguments, module)
