"""What is trained: a pruned file, a dense one or a module, and the recipe of what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors, rebuilt
from prunecli.checkpoint.digests import tensor_digests
from prunecli.checkpoint.reading import Checkpoint
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import InputSpec
from prunecli.evaluating import Evaluated, Naming
from prunecli.loading import restored
from prunecli.networks import parse_input
from prunecli.networks.families import FAMILIES
from prunecli.plan import Plan
from prunecli.report.model import NetworkFacts, Source
from prunecli.subjects import Dense, open_dense
from prunecli.unsafe import opened

CHANGED_BY = "finetune"

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Trainee:
    """``dense`` says how the network is built and written, whether it was cut or not; ``recipe`` is that of
    the file it was read from, if that had one.
    """

    dense: Dense
    recipe: Recipe | None

    @property
    def module(self) -> nn.Module:
        return self.dense.module

    @property
    def evaluated(self) -> Evaluated:
        return Evaluated(self.module, self.specs, self.dense.source, self.dense.facts, self.recipe)

    @property
    def is_half(self) -> bool:
        return any(parameter.dtype in _HALF for parameter in self.module.parameters())

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        """As training takes them: half precision is for running, not for small updates."""
        return tuple(
            replace(spec, dtype="float32") if spec.dtype in ("float16", "bfloat16") else spec
            for spec in self.dense.specs
        )

    @property
    def notes(self) -> tuple[str, ...]:
        kind = next((str(p.dtype).removeprefix("torch.") for p in self.module.parameters()), "")
        note = f"weights are {kind}: trained in float32 and written as {kind} again"
        return (note,) if self.is_half else ()

    def working(self, device: torch.device, channels_last: bool) -> nn.Module:
        """A copy to train, on ``device``."""
        copied = {
            name: tensor.detach().to(device, torch.float32 if tensor.dtype in _HALF else None, copy=True)
            for name, tensor in all_tensors(self.module).items()
        }
        network = rebuilt(self.module, copied)
        return network.to(memory_format=torch.channels_last) if channels_last else network

    def finished(self, trained: nn.Module) -> nn.Module:
        """The trained weights in the types of those that were read, on the CPU, in eval mode."""
        kinds = {name: tensor.dtype for name, tensor in all_tensors(self.module).items()}
        tensors = {
            name: tensor.detach().to("cpu", kinds[name], copy=True).contiguous()
            for name, tensor in all_tensors(trained).items()
        }
        return rebuilt(self.module, tensors).eval()


def open_trainee(model_or_path: nn.Module | str | Path, naming: Naming, unsafe_load: bool) -> Trainee:
    """Raises ``UsageError`` and ``InputError``."""
    if not isinstance(model_or_path, nn.Module):
        checkpoint = opened(model_or_path, unsafe_load).checkpoint
        if checkpoint.recipe is not None:
            return _pruned(checkpoint, checkpoint.recipe, naming)
    dense = open_dense(
        model_or_path, naming.example_inputs, naming.arch, naming.arguments, naming.inputs, unsafe_load
    )
    return Trainee(dense, None)


def _pruned(checkpoint: Checkpoint, recipe: Recipe, naming: Naming) -> Trainee:
    path = checkpoint.path
    own_code = naming.arch is not None and naming.arch.partition(":")[0] not in FAMILIES
    directory = path if path.is_dir() else path.parent
    dense = Dense(
        module=restored(checkpoint, arch=naming.arch),
        specs=tuple(parse_input(text) for text in naming.inputs) or recipe.inputs,
        arch=recipe.arch,
        arguments=recipe.arguments,
        given_arch=naming.arch if own_code else None,
        source=Source(path.name, checkpoint.digest, checkpoint.layout, checkpoint.dropped),
        facts=NetworkFacts(recipe.arch, dict(recipe.arguments)),
        directory=directory if recipe.arch.startswith("hf:") else None,
    )
    return Trainee(dense, recipe)


def recipe_after(trainee: Trainee, tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> Recipe:
    """The recipe of the trained ``tensors``: that of the file with its cut, or one that cuts nothing."""
    digests = tensor_digests(tensors)
    base = trainee.recipe or _whole(trainee.dense, tensors)
    since = () if base.changed_by[-1:] == (CHANGED_BY,) else (CHANGED_BY,)
    return replace(
        base, digests=digests, changed_by=(*base.changed_by, *since), options={**base.options, **options}
    )


def _whole(dense: Dense, tensors: Mapping[str, Tensor]) -> Recipe:
    before = dense.module.state_dict()
    return Recipe(
        arch=dense.arch,
        arguments=dict(dense.arguments),
        inputs=tuple(dense.specs),
        shapes={name: tuple(tensor.shape) for name, tensor in before.items()},
        patches=(),
        plan=Plan({}, {}),
        digests={},
        cut_digests=tensor_digests({name: before[name].cpu() for name in tensors}),
        source_digest="" if dense.source is None else dense.source.digest,
    )
