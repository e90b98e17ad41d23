"""``Family``: what is known of the networks of one library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from prunecli.checkpoint.specs import InputSpec, Scalar

Arguments: TypeAlias = Mapping[str, Scalar]


def nothing(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Scalar]:
    """Where names and shapes leave nothing open."""
    return {}


@dataclass(frozen=True)
class Family:
    """``make(name, arguments)``; ``inputs(name, arguments, module)``; ``infer(name, tensors)`` ->
    arguments.

    ``names`` is None where the name is a path. ``assumed`` says what a state_dict of that network cannot
    show, ``translate(name, tensors, module)`` gives the network's own names where the file has others, and
    ``recorded(name, module)`` is what a recipe calls the network. ``plain(name)`` is the form of a name
    that is listed; ``sketched`` is False where the constructor needs memory for the parameters.
    """

    prefix: str
    names: Callable[[], tuple[str, ...]] | None
    make: Callable[[str, Arguments], nn.Module]
    inputs: Callable[[str, Arguments, nn.Module], tuple[InputSpec, ...]]
    infer: Callable[[str, Mapping[str, Tensor]], dict[str, Scalar]]
    classes_argument: str
    channels_argument: str | None
    default_classes: Callable[[nn.Module], int | None]
    assumed: Callable[[str, Arguments], tuple[str, ...]] = lambda name, arguments: ()
    translate: Callable[[str, Mapping[str, Tensor], nn.Module], Mapping[str, Tensor]] | None = None
    recorded: Callable[[str, nn.Module], str] = lambda name, module: name
    plain: Callable[[str], str] = lambda name: name
    sketched: bool = True


def image(channels: int, height: int, width: int) -> tuple[InputSpec, ...]:
    return (InputSpec(None, "float32", (1, channels, height, width)),)
