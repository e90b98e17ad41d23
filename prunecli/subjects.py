"""What the API works on: a network with its weights, wherever it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli import inputs as input_room
from prunecli.assembly import all_tensors
from prunecli.checkpoint.locating import implied_arch
from prunecli.checkpoint.reading import Checkpoint, require_finite
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.soundness import is_eight_bit_float
from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.errors import InputError, UsageError
from prunecli.loading import local, require_registry, verify_digests, warranted
from prunecli.networks import parse_input
from prunecli.networks.building import build, real_maker, recorded
from prunecli.networks.families import FAMILIES
from prunecli.networks.resolving import resolve
from prunecli.report.model import Input, NetworkFacts, Source
from prunecli.unsafe import opened

MODULE = "module"
"""The architecture of a recipe for a module that was handed over in Python."""


@dataclass(frozen=True)
class Dense:
    """A dense network to inspect or prune. ``arch`` and ``arguments`` go into the recipe; ``given_arch`` is
    what a fresh process must be told to build it, where the recipe alone may not. ``directory``: where its
    ``config.json`` is, for a network that is written as a directory.
    """

    module: nn.Module
    specs: tuple[InputSpec, ...]
    arch: str
    arguments: Mapping[str, Scalar]
    given_arch: str | None
    source: Source | None
    facts: NetworkFacts
    directory: Path | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        return all_tensors(self.module)

    @property
    def report_inputs(self) -> tuple[Input, ...]:
        return tuple(Input(spec.shape, spec.dtype, spec.name) for spec in self.specs)


def open_dense(
    model_or_path: nn.Module | str | Path,
    example_inputs: Any,
    arch: str | None,
    arch_args: Mapping[str, Scalar] | None,
    inputs: Sequence[str | InputSpec],
    unsafe_load: bool = False,
    instead: str = "prune the dense checkpoint to the higher target",
) -> Dense:
    """Read and identify a checkpoint, or take a module as it is. Raises ``UsageError`` and ``InputError``,
    which says what to do ``instead`` where the checkpoint is pruned already.
    """
    if isinstance(model_or_path, nn.Module):
        dense = _from_module(model_or_path, example_inputs, arch, arch_args or {}, inputs)
    else:
        dense = _from_path(model_or_path, example_inputs, arch, arch_args or {}, inputs, unsafe_load, instead)
    _require_followable(dense.module)
    return replace(dense, specs=input_room.at_arguments(dense.module, dense.specs))


def _require_followable(module: nn.Module) -> None:
    if not any(True for _ in module.parameters()):
        raise InputError("the network has no parameters")
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            "the network is TorchScript, which cannot be resized", "give the nn.Module it came from"
        )
    for child in module.modules():
        if isinstance(child, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            raise InputError(f"the network is wrapped in {type(child).__name__}", "give model.module")
        if "_orig_mod" in child._modules:
            raise InputError(
                "the network is compiled, and cannot be looked into",
                "give it as it was before torch.compile, and compile what is loaded",
            )


def _from_path(
    path: str | Path,
    example: Any,
    arch: str | None,
    arguments: Mapping[str, Scalar],
    inputs: Sequence[str | InputSpec],
    unsafe_load: bool,
    instead: str,
) -> Dense:
    found = opened(path, unsafe_load)
    checkpoint = found.checkpoint
    recipe = checkpoint.recipe
    if recipe is not None and recipe.plan.keep:
        raise InputError(
            f"'{Path(path).name}' was pruned by this tool already",
            f"{instead} instead; prune verify checks this one",
        )
    typed = arch is not None
    arch = arch or found.arch or implied_arch(Path(path))
    if recipe is not None:
        arch, arguments, inputs = _by_recipe(checkpoint, recipe, arch, arguments, inputs)
    with warranted(checkpoint, named=typed):
        network = resolve(checkpoint.tensors, arch=arch, arguments=arguments, inputs=inputs)
    specs = network.inputs if example is None else input_room.describe(example, network.module)
    source = Source(Path(path).name, checkpoint.digest, checkpoint.layout, checkpoint.dropped)
    own_code = arch is not None and not _is_registry(arch)
    spec = Path(network.spec).name if own_code else recorded(network.spec, network.module)
    left_out = [f"left out of the result: {', '.join(checkpoint.dropped)}"] if checkpoint.dropped else []
    facts = NetworkFacts(
        spec, dict(network.arguments), network.assumed, (*found.notes, *network.notes, *left_out)
    )
    return Dense(
        module=network.module,
        specs=specs,
        arch=spec,
        arguments=network.arguments,
        given_arch=arch if own_code else None,
        source=source,
        facts=facts,
        directory=_directory(arch),
    )


def _by_recipe(
    checkpoint: Checkpoint,
    recipe: Recipe,
    arch: str | None,
    arguments: Mapping[str, Scalar],
    inputs: Sequence[str | InputSpec],
) -> tuple[str | None, Mapping[str, Scalar], Sequence[str | InputSpec]]:
    """What this tool wrote without cutting anything (it was trained) says itself what it is. Raises
    ``ImpossibleError`` where a tensor is not the one that was written.
    """
    verify_digests(checkpoint.tensors, recipe)
    if arch is None and _is_registry(recipe.arch):
        require_registry(recipe)
        arch, arguments = local(recipe, checkpoint.path), {**recipe.arguments, **arguments}
    return arch, arguments, inputs or recipe.inputs


def open_random(
    arch: str, arguments: Mapping[str, Scalar], inputs: Sequence[str], example: Any, seed: int
) -> Dense:
    """``arch`` with weights drawn by ``seed``. Raises ``UsageError``."""
    _, default = build(arch, arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = real_maker(arch, arguments)().eval()
    specs = tuple(parse_input(text) for text in inputs) or default
    if example is not None:
        specs = input_room.describe(example, module)
    if not specs:
        raise UsageError(f"{arch} does not say what it takes", "--input 1,3,224,224")
    own_code = not _is_registry(arch)
    spec = Path(arch).name if own_code else recorded(arch, module)
    facts = NetworkFacts(spec, dict(arguments), (), (f"weights drawn at random by seed {seed}",))
    _require_followable(module)
    specs = input_room.at_arguments(module, specs)
    given = arch if own_code else None
    return Dense(module, specs, spec, arguments, given, None, facts, _directory(arch))


def _directory(arch: str | None) -> Path | None:
    prefix, _, name = (arch or "").partition(":")
    return Path(name) if prefix == "hf" else None


def _is_registry(arch: str) -> bool:
    return arch.partition(":")[0] in FAMILIES


def _from_module(
    module: nn.Module,
    example: Any,
    arch: str | None,
    arguments: Mapping[str, Scalar],
    inputs: Sequence[str | InputSpec],
) -> Dense:
    if example is None and not inputs:
        raise UsageError(
            "a module needs example_inputs", "prune(model, example_inputs=torch.randn(1, 3, 224, 224))"
        )
    if example is None:
        specs = tuple(each if isinstance(each, InputSpec) else parse_input(each) for each in inputs)
    else:
        specs = input_room.describe(example, module)
    spec = recorded(arch, module) if arch is not None and _is_registry(arch) else arch
    facts = NetworkFacts(spec, dict(arguments))
    return Dense(module, specs, spec or MODULE, arguments, None, None, facts, _directory(arch))


def require_prunable(dense: Dense) -> None:
    """Raises ``InputError`` for a NaN or Inf weight, naming the tensor, for missing weights, and for floats
    of eight bits, in which torch computes nothing, so that no cut could be proved. A buffer of one number may
    be infinite: a limit that limits nothing.
    """
    for name, tensor in dense.tensors.items():
        if tensor.is_meta:
            raise InputError(f"tensor '{name}' is on the meta device: it has no values")
    limits = {name for name, buffer in dense.module.named_buffers() if buffer.numel() == 1}
    require_finite(dense.tensors, limits=limits)
    for name, tensor in dense.tensors.items():
        if is_eight_bit_float(tensor):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(
                f"tensor '{name}' is {kind}, in which no network can be run",
                "prune the weights as they were before quantisation, or cast to bfloat16",
            )


def choose_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU. Raises ``UsageError`` for a device that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind = name.partition(":")[0]
    if not available.get(kind, False):
        raise UsageError(f"device '{name}' is not available here", "--device cpu")
    return torch.device(name)
