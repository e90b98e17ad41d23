"""``load``: from a pruned file alone to the ordinary network class, ready to run or to finetune.

The recipe in the file is untrusted: it builds only networks of the built-in registries and sets only existing
integers of existing modules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.assembly import shortened
from prunecli.checkpoint.digests import tensor_digest
from prunecli.checkpoint.locating import CONFIG, implied_arch
from prunecli.checkpoint.reading import Checkpoint, read
from prunecli.checkpoint.recipe import AttributePatch, Recipe
from prunecli.checkpoint.specs import Scalar
from prunecli.errors import ImpossibleError, InputError, UsageError
from prunecli.networks.building import build, real_maker, recorded
from prunecli.networks.catalogue import COUNTERS
from prunecli.networks.families import FAMILIES
from prunecli.networks.layers import is_geometry
from prunecli.networks.limits import limited
from prunecli.networks.matching import shared_names, under_all_names
from prunecli.networks.resolving import Network, load_weights, resolve
from prunecli.networks.sketching import materialise

MAX_ARGUMENT = 1_000_000
# Names of networks and of classes: no path, no address.
_PLAIN = re.compile(r"\w[\w.\-]*", re.ASCII)


def load(
    path: str | Path,
    *,
    factory: Callable[..., nn.Module] | None = None,
    into: nn.Module | None = None,
    arch: str | None = None,
) -> nn.Module:
    """The pruned network in ``path`` (a file, or a model directory), in eval mode on the CPU. Needs only that
    and the network's library.

    A network of the user's own is named by the caller, never by the file: ``factory(**arguments)`` builds
    the dense one, ``into`` is one (changed in place), ``arch`` is ``FILE.py:factory``. Raises
    ``InputError`` if the file has no usable recipe, ``ImpossibleError`` if a tensor is not the one that was
    written.
    """
    return restored(read(path), factory=factory, into=into, arch=arch)


def restored(
    checkpoint: Checkpoint,
    *,
    factory: Callable[..., nn.Module] | None = None,
    into: nn.Module | None = None,
    arch: str | None = None,
) -> nn.Module:
    """:func:`load` of what was read already."""
    path = checkpoint.path
    if checkpoint.recipe is None:
        raise InputError(
            f"'{path}' has no recipe: it was not written by prune run", "load it as any state_dict"
        )
    recipe = checkpoint.recipe
    verify_digests(checkpoint.tensors, recipe)
    with warranted(checkpoint, named=any(given is not None for given in (factory, into, arch))):
        module, rebuild = _dense(recipe, path, factory, into, arch)
        resize_module(module, recipe.shapes, recipe.patches)
        tensors = under_all_names(checkpoint.tensors, shared_names(module))
        _require_same(module, tensors)
        load_weights(module, tensors)
        materialise(module, rebuild)
    return module.eval()


def warranted(checkpoint: Checkpoint, named: bool) -> AbstractContextManager[None]:
    """Whoever names a network knows what it takes; a file may not exhaust this machine."""
    return nullcontext() if named else limited(checkpoint.tensors)


def verify_digests(tensors: Mapping[str, Tensor], recipe: Recipe) -> None:
    """Raises ``ImpossibleError`` naming the first tensor that is missing, extra or not as written."""
    odd = sorted(tensors.keys() ^ recipe.digests.keys())
    if odd:
        raise ImpossibleError(
            f"tensor '{odd[0]}' is {'not in the recipe' if odd[0] in tensors else 'missing'}"
        )
    for name, tensor in tensors.items():
        if tensor_digest(tensor) != recipe.digests[name]:
            raise ImpossibleError(
                f"digest of tensor '{name}' is not the recorded one", "the file was changed; get it again"
            )


def resize_module(
    module: nn.Module, shapes: Mapping[str, tuple[int, ...]], patches: Iterable[AttributePatch]
) -> nn.Module:
    """Give parameters and buffers of ``module`` (in place) the ``shapes`` of the pruned network, and set
    ``patches``.

    Tensors whose shape changes become empty ones on the meta device; weights are to be loaded with
    ``assign=True``. A buffer outside the state_dict that has values keeps the first of them. Raises
    ``InputError`` for a name or attribute which is not there, for a shape larger than the network's, and for
    such a buffer where the first values could not stand for any others.
    """
    tensors = dict(module.named_parameters(remove_duplicate=False)) | dict(
        module.named_buffers(remove_duplicate=False)
    )
    shared: dict[int, nn.Parameter] = {}
    for name, shape in shapes.items():
        if name not in tensors:
            raise InputError(
                f"the recipe sizes '{name}', which the network has not", "was another class given?"
            )
        old = tensors[name]
        if old.dim() != len(shape):
            raise InputError(f"the recipe gives '{name}' {len(shape)} dimensions, the network {old.dim()}")
        if any(size > dense for size, dense in zip(shape, old.shape, strict=True)):
            raise InputError(
                f"refused recipe: it makes '{name}' {list(shape)}, larger than the network's "
                f"{list(old.shape)}"
            )
        if tuple(old.shape) != tuple(shape):
            _replace(module, name, old, tuple(shape), shared)
    return apply_patches(module, patches)


def apply_patches(module: nn.Module, patches: Iterable[AttributePatch]) -> nn.Module:
    """Set ``patches`` on ``module``, in place. Raises ``InputError`` for one that is not a size of the
    network.
    """
    for patch in patches:
        _apply(module, patch)
    return module


def _replace(
    module: nn.Module, name: str, old: Tensor, shape: tuple[int, ...], shared: dict[int, nn.Parameter]
) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    empty = torch.empty(shape, dtype=old.dtype, device="meta")
    if isinstance(old, nn.Parameter):
        # One parameter under two names stays one.
        new = shared.setdefault(id(old), nn.Parameter(empty, requires_grad=old.requires_grad))
        setattr(owner, leaf, new)
    elif old.is_meta or leaf not in owner._non_persistent_buffers_set:
        setattr(owner, leaf, empty)
    else:
        short = shortened(old, shape)
        if short is None:
            raise InputError(
                f"refused recipe: it makes the buffer '{name}' {list(shape)}, whose indices differ and are "
                "not in the file"
            )
        setattr(owner, leaf, short)


def _apply(module: nn.Module, patch: AttributePatch) -> None:
    """Set an existing int, or one element of an existing tuple or list of ints, to a positive value."""
    where = f"{patch.module}.{patch.attribute}".lstrip(".")
    try:
        owner = module.get_submodule(patch.module)
    except AttributeError:
        raise InputError(f"the recipe patches '{where}', but there is no module '{patch.module}'") from None
    old: Any = vars(owner).get(patch.attribute)
    if patch.attribute.startswith("_") or patch.value < 1 or is_geometry(owner, patch.attribute):
        raise InputError(f"refused recipe: it sets '{where}' to {patch.value}")
    if type(old) is int and patch.index is None:
        _require_cut(where, old, patch.value)
        setattr(owner, patch.attribute, patch.value)
        return
    integers = isinstance(old, tuple | list) and all(type(item) is int for item in old)
    if not integers or patch.index is None or not 0 <= patch.index < len(old):
        raise InputError(
            f"refused recipe: '{where}' is no integer (or tuple of integers) that a cut could change"
        )
    _require_cut(where, old[patch.index], patch.value)
    items = [*old[: patch.index], patch.value, *old[patch.index + 1 :]]
    setattr(owner, patch.attribute, items if isinstance(old, list) else tuple(items))


def _require_cut(where: str, old: int, new: int) -> None:
    """A cut makes nothing larger."""
    if new > old:
        raise InputError(f"refused recipe: it sets '{where}' to {new}, the network has {old}")


def dense_of(recipe: Recipe, dense_file: Checkpoint, arch: str | None) -> Network:
    """The network that ``recipe`` was cut from, with the weights of ``dense_file``. Raises ``InputError``,
    and ``UsageError`` for an ``arch`` of the caller's.
    """
    if arch is None:
        require_registry(recipe)
    own, arguments = arch or local(recipe, dense_file.path), recipe.arguments
    if recipe.arch.startswith("hf:"):
        own, arguments = arch or implied_arch(dense_file.path) or own, {}
    try:
        with warranted(dense_file, named=arch is not None):
            return resolve(dense_file.tensors, arch=own, arguments=arguments, inputs=recipe.inputs)
    except UsageError as error:
        raise _not_built(error, arch) from None


def _not_built(error: UsageError, arch: str | None) -> UsageError | InputError:
    """What is wrong is in the file, unless the caller named the network."""
    return error if arch else InputError(f"the recipe cannot be built: {error.message}", error.hint)


def _dense(
    recipe: Recipe,
    path: Path,
    factory: Callable[..., nn.Module] | None,
    into: nn.Module | None,
    arch: str | None,
) -> tuple[nn.Module, Callable[[], nn.Module]]:
    """The dense network to resize, and how to build it with every buffer real."""
    if sum(given is not None for given in (factory, into, arch)) > 1:
        raise UsageError("give only one of factory, into and arch")
    if into is not None:
        module = into
        return module, lambda: module
    if factory is not None:
        make = factory
        return make(**recipe.arguments), lambda: make(**recipe.arguments)
    if arch is None:
        require_registry(recipe)
    spec = arch or local(recipe, path)
    try:
        module = build(spec, recipe.arguments)[0]
        found = recorded(spec, module)
        if arch is None and found != recipe.arch:
            raise InputError(f"{CONFIG} beside the weights names {found}, the recipe {recipe.arch:.80}")
        return module, real_maker(spec, recipe.arguments)
    except UsageError as error:
        raise _not_built(error, arch) from None


def local(recipe: Recipe, path: Path) -> str:
    """What to build: the recipe's network, whose configuration lies beside the weights where it has one."""
    if recipe.arch.startswith("hf:"):
        return f"hf:{path if path.is_dir() else path.parent}"
    return recipe.arch


def require_registry(recipe: Recipe) -> None:
    """A file may name networks of known libraries, never code: raises ``InputError``."""
    if recipe.arch.partition(":")[0] not in FAMILIES:
        own = recipe.arch == "module"
        kind = "a module of your own" if own else f"'{recipe.arch:.80}'"
        raise InputError(
            f"the recipe needs {kind}, which a file may not run by itself",
            "name it: load(path, factory=f), load(path, into=module), load(path, arch='FILE.py:factory') "
            "or --arch FILE.py:factory",
        )
    name = recipe.arch.partition(":")[2]
    if not _PLAIN.fullmatch(name):
        raise InputError(
            f"refused recipe: '{name[:80]}' is not the name of a network", "prune the checkpoint again"
        )
    for name, value in recipe.arguments.items():
        if _too_large(value):
            raise InputError(f"refused recipe: argument {name}={value} is beyond {MAX_ARGUMENT}")


def _too_large(value: Scalar) -> bool:
    return isinstance(value, int | float) and abs(value) > MAX_ARGUMENT


def _require_same(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    state = module.state_dict()
    odd = sorted(state.keys() ^ tensors.keys())
    if odd:
        place = "the network" if odd[0] in state else "the file"
        raise InputError(
            f"tensor '{odd[0]}' is only in {place}", "the recipe names another network, or library version"
        )
    for name, tensor in state.items():
        found = tensors[name]
        if tensor.shape != found.shape:
            raise InputError(f"tensor '{name}' is {list(found.shape)}, the recipe makes {list(tensor.shape)}")
        # What counts batches is a float where weights were averaged.
        if tensor.is_floating_point() != found.is_floating_point() and not name.endswith(COUNTERS):
            raise InputError(f"tensor '{name}' is {found.dtype}, the recipe makes {tensor.dtype}")
