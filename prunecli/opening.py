"""A network that is only looked at, dense or already pruned: a checkpoint of either kind, or a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunecli.checkpoint.locating import implied_arch
from prunecli.checkpoint.reading import Checkpoint
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.errors import UsageError, unknown_name
from prunecli.loading import restored
from prunecli.networks import parse_input
from prunecli.report.model import NetworkFacts, Source
from prunecli.subjects import MODULE, Dense, open_dense, open_random
from prunecli.unsafe import opened


@dataclass(frozen=True)
class Naming:
    """How the caller named the network. ``fallback``: inputs of a dense one beside it, to take where neither
    the caller nor the file says any.
    """

    example_inputs: Any
    arch: str | None
    arguments: Mapping[str, Scalar] | None
    inputs: Sequence[str]
    unsafe_load: bool = False
    fallback: Sequence[InputSpec] = ()


@dataclass(frozen=True)
class Subject:
    """A network that runs; ``recipe`` where it was pruned."""

    network: Dense
    recipe: Recipe | None = None

    def on(self, device: torch.device) -> nn.Module:
        """The caller's module stays where it is."""
        module = self.network.module
        return module if self.network.source is None else module.to(device)


def open_given(
    model_or_path: nn.Module | str | Path | None, naming: Naming, init: str | None, seed: int
) -> Dense:
    """What is to be pruned: a checkpoint, a module, or ``init="random"``, an architecture. Raises
    ``UsageError`` and ``InputError``.
    """
    if init is None:
        if model_or_path is None:
            raise UsageError("no checkpoint given", "prune run CKPT, or --init random --arch NAME")
        return open_dense(
            model_or_path, naming.example_inputs, naming.arch, naming.arguments, naming.inputs,
            naming.unsafe_load,
        )  # fmt: skip
    if init != "random":
        raise unknown_name("init", init, ("random",))
    if model_or_path is not None:
        raise UsageError("--init random begins with no checkpoint", "leave CKPT out, or --init random")
    if naming.arch is None:
        raise UsageError("--init random needs an architecture", "--arch torchvision:resnet18")
    return open_random(naming.arch, naming.arguments or {}, naming.inputs, naming.example_inputs, seed)


def open_any(model_or_path: nn.Module | str | Path, naming: Naming) -> Subject:
    """A checkpoint, dense or pruned, or a module. Raises as :func:`open_dense` and
    :func:`prunecli.loading.load`.
    """
    if not isinstance(model_or_path, nn.Module):
        checkpoint = opened(model_or_path, naming.unsafe_load).checkpoint
        if checkpoint.recipe is not None:
            return _pruned(checkpoint, checkpoint.recipe, naming)
        if naming.fallback and not naming.inputs:
            try:
                return _dense(model_or_path, naming, naming.fallback)
            except UsageError:
                pass  # Its forward has other arguments.
    return _dense(model_or_path, naming, naming.inputs)


def _dense(
    model_or_path: nn.Module | str | Path, naming: Naming, inputs: Sequence[str | InputSpec]
) -> Subject:
    return Subject(
        open_dense(
            model_or_path, naming.example_inputs, naming.arch, naming.arguments, inputs, naming.unsafe_load
        )
    )


def open_against(against: nn.Module | str | Path, naming: Naming, subject: Subject) -> Subject:
    """The network to compare with: what a pruned file was cut from is the one that its recipe names, on the
    inputs that it was cut on.
    """
    if isinstance(against, nn.Module):
        return Subject(Dense(against, subject.network.specs, MODULE, {}, None, None, NetworkFacts(None)))
    recipe = subject.recipe
    if recipe is not None:
        naming = replace(naming, fallback=recipe.inputs)
    if recipe is not None and naming.arch is None:
        own, arguments = recipe.arch, recipe.arguments
        if own.startswith("hf:"):
            own, arguments = implied_arch(Path(against)) or own, {}
        naming = replace(naming, example_inputs=None, arch=own, arguments=arguments)
    return open_any(against, naming)


def _pruned(checkpoint: Checkpoint, recipe: Recipe, naming: Naming) -> Subject:
    specs = tuple(parse_input(text) for text in naming.inputs) or recipe.inputs
    source = Source(checkpoint.path.name, checkpoint.digest, checkpoint.layout, checkpoint.dropped)
    facts = NetworkFacts(recipe.arch, dict(recipe.arguments))
    module = restored(checkpoint, arch=naming.arch)
    return Subject(Dense(module, specs, recipe.arch, recipe.arguments, naming.arch, source, facts), recipe)
