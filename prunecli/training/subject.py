"""What is trained: a pruned file, a dense one or a module, and the recipe of what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors, rebuilt, working_copy
from prunecli.checkpoint.digests import tensor_digests
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import InputSpec
from prunecli.networks.families import FAMILIES
from prunecli.opening import Naming, Subject, open_any
from prunecli.plan import Plan
from prunecli.subjects import Dense

CHANGED_BY = "finetune"

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Trainee:
    """A network to train, cut or not."""

    subject: Subject

    @property
    def dense(self) -> Dense:
        """How it is built and written."""
        return self.subject.network

    @property
    def module(self) -> nn.Module:
        return self.dense.module

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

    def beside(self, dense: nn.Module, device: torch.device) -> nn.Module:
        """A copy of the ``dense`` network to learn from, on ``device``."""
        copied = working_copy(dense, device)
        return copied.float() if self.is_half else copied

    def finished(self, trained: nn.Module) -> nn.Module:
        """The trained weights in the types of those that were read, on the CPU, in eval mode."""
        kinds = {name: tensor.dtype for name, tensor in all_tensors(self.module).items()}
        tensors = {
            name: tensor.detach().to("cpu", kinds[name], copy=True).contiguous()
            for name, tensor in all_tensors(trained).items()
        }
        return rebuilt(self.module, tensors).eval()


def open_trainee(model_or_path: nn.Module | str | Path, naming: Naming) -> Trainee:
    """Raises ``UsageError`` and ``InputError``."""
    subject = open_any(model_or_path, naming)
    if subject.recipe is None or isinstance(model_or_path, nn.Module):
        return Trainee(subject)
    # A recipe's network is built anew by whoever loads what is written, from what may be told of it there.
    path, arch = Path(model_or_path), naming.arch
    own_code = arch is not None and arch.partition(":")[0] not in FAMILIES
    directory = path if path.is_dir() else path.parent
    network = replace(
        subject.network, given_arch=arch if own_code else None,
        directory=directory if subject.network.arch.startswith("hf:") else None,
    )  # fmt: skip
    return Trainee(replace(subject, network=network))


def recipe_after(
    trainee: Trainee, tensors: Mapping[str, Tensor], options: Mapping[str, Any], changed_by: str = CHANGED_BY
) -> Recipe:
    """The recipe of the trained ``tensors``: that of the file with its cut, or one that cuts nothing."""
    digests = tensor_digests(tensors)
    base = trainee.subject.recipe or _whole(trainee.dense, tensors)
    since = () if base.changed_by[-1:] == (changed_by,) else (changed_by,)
    return replace(
        base, digests=digests, changed_by=(*base.changed_by, *since), options={**base.options, **options}
    )


def digest_of(module: nn.Module) -> str:
    """SHA-256 of all that a file of it would hold."""
    found = tensor_digests({name: tensor.cpu() for name, tensor in module.state_dict().items()})
    return sha256("".join(found.values()).encode()).hexdigest()


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
