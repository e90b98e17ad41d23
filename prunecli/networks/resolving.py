"""From tensors (and perhaps ``--arch``) to a network with its weights in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from prunecli.checkpoint.specs import DTYPES, InputSpec, Scalar
from prunecli.errors import InputError, UsageError
from prunecli.networks.arguments import parse_input
from prunecli.networks.building import build, family_of, real_maker
from prunecli.networks.catalogue import candidates, nearest
from prunecli.networks.family import Family
from prunecli.networks.legacy import modern
from prunecli.networks.matching import Match, match, mismatches, resized_arguments
from prunecli.networks.sketching import materialise

_NEAR = 0.2
"""Share of common names from which a network is worth naming as a likely one."""


@dataclass(frozen=True)
class Network:
    """``module``: weights loaded, eval mode, on the CPU. ``inputs``: with batch.

    ``notes``: lines for stderr on how it was found. ``assumed``: what a state_dict cannot show.
    """

    spec: str
    arguments: dict[str, Scalar]
    module: nn.Module
    inputs: tuple[InputSpec, ...]
    notes: tuple[str, ...]
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class _Fit:
    spec: str
    arguments: dict[str, Scalar]
    module: nn.Module
    inputs: tuple[InputSpec, ...]
    match: Match


def resolve(
    tensors: Mapping[str, Tensor],
    *,
    arch: str | None,
    arguments: Mapping[str, Scalar],
    inputs: Sequence[str | InputSpec] = (),
) -> Network:
    """The network that ``tensors`` belong to: the one ``arch`` names, else the one their names and shapes
    show.

    Raises ``UsageError`` for an unknown ``arch`` or a missing input size, ``InputError`` if nothing fits.
    """
    typed = tuple(spec if isinstance(spec, InputSpec) else parse_input(spec) for spec in inputs)
    tensors, renamed = modern(tensors)
    if arch is None:
        if arguments:
            raise UsageError(
                "--arch-arg is given without --arch", "name the network: --arch torchvision:NAME"
            )
        fit, notes = _identify(tensors)
    else:
        fit, notes = _fit(arch, arguments, tensors), ()
    load_weights(fit.module, fit.match.tensors)
    materialise(fit.module, real_maker(fit.spec, fit.arguments))
    fit.module.eval()
    return Network(
        spec=fit.spec,
        arguments=fit.arguments,
        module=fit.module,
        inputs=_in_dtype_of(tensors, typed) if typed else _in_dtype_of(tensors, _default_inputs(fit), True),
        notes=(*notes, *renamed, *fit.match.notes),
        assumed=_assumed(fit.spec, fit.arguments, arch),
    )


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make ``tensors`` (all of the state_dict, right shapes) the parameters and buffers of ``module``.

    They keep their dtype; parameters that the network shares between two names stay shared.
    """
    shared: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        shared.setdefault(id(parameter), []).append(name)
    # The module's own state_dict carries the version of each layer, which some need to read their weights.
    state = module.state_dict()
    for name in state:
        state[name] = tensors[name]
    module.load_state_dict(state, assign=True)
    for first, *others in shared.values():
        for other in others:
            path, _, leaf = other.rpartition(".")
            setattr(module.get_submodule(path), leaf, module.get_parameter(first))


def _fit(spec: str, arguments: Mapping[str, Scalar], tensors: Mapping[str, Tensor]) -> _Fit:
    """Build ``spec``, inferring what the checkpoint shows and the user did not say. Raises ``InputError``."""
    found = family_of(spec)
    inferred: dict[str, Scalar] = {}
    if found is not None:
        family, name = found
        inferred = family.infer(name, tensors)
    chosen = {**inferred, **arguments}
    module, inputs = build(spec, chosen)
    if found is not None:
        more = _head_arguments(found[0], chosen, arguments, tensors, module)
        if more:
            chosen |= more
            module, inputs = build(spec, chosen)
    try:
        return _Fit(spec, chosen, module, inputs, match(tensors, module, spec))
    except InputError as error:
        if found is not None and found[0].translate is not None:
            renamed = found[0].translate(found[1], tensors, module)
            told = replace(match(renamed, module, spec), notes=("older names translated",))
            return _Fit(spec, chosen, module, inputs, told)
        raise InputError(error.message, error.hint or _hint(spec, tensors)) from None


def _head_arguments(
    family: Family,
    chosen: Mapping[str, Scalar],
    given: Mapping[str, Scalar],
    tensors: Mapping[str, Tensor],
    module: nn.Module,
) -> dict[str, Scalar]:
    """Number of classes and input channels, where those alone are what differs."""
    differing = mismatches(tensors, module)
    if not differing:
        return {}
    classes = chosen.get(family.classes_argument, family.default_classes(module))
    if not isinstance(classes, int):
        return {}
    more = resized_arguments(differing, classes, family.classes_argument, family.channels_argument)
    return {key: value for key, value in (more or {}).items() if key not in given}


def _identify(tensors: Mapping[str, Tensor]) -> tuple[_Fit, tuple[str, ...]]:
    fits: list[_Fit] = []
    refused: list[InputError] = []
    for entry in candidates(tensors):
        if any(fit.spec == entry.spec for fit in fits):
            continue
        try:
            fits.append(_fit(entry.spec, {}, tensors))
        except InputError as error:
            refused.append(error)
    if not fits:
        raise _unknown(tensors, refused)
    best = fits[0]
    head = "".join(f", {key}={value}" for key, value in best.arguments.items())
    notes = [f"identified {best.spec}{head} from names and shapes"]
    if len(fits) > 1:
        notes.append(f"it also fits {', '.join(fit.spec for fit in fits[1:])}; give --arch to choose")
    return best, tuple(notes)


def _unknown(tensors: Mapping[str, Tensor], refused: Sequence[InputError]) -> InputError:
    if refused:
        return InputError(
            f"parameter names of a known network, but other shapes: {refused[0].message}",
            "describe your variant in Python and give --arch FILE.py:factory",
        )
    near = ", ".join(f"{spec} ({share:.0%} of names)" for spec, share in nearest(tensors) if share >= _NEAR)
    shown = ", ".join(repr(name) for name in list(tensors)[:3])
    facts = f"; nearest: {near}" if near else f"; its names begin {shown}"
    return InputError(
        f"the network of this checkpoint is not known{facts}",
        "give --arch torchvision:NAME, timm:NAME, cifar:NAME or FILE.py:factory",
    )


def _hint(spec: str, tensors: Mapping[str, Tensor]) -> str:
    others = dict.fromkeys(entry.spec for entry in candidates(tensors) if entry.spec != spec)
    if others:
        return (
            f"its names are those of {' or '.join(list(others)[:3])}; leave --arch out to have it identified"
        )
    if family_of(spec) is None:
        return "the factory must build what was saved (--arch-arg name=value), and the file hold nothing else"
    near = [name for name, share in nearest(tensors, 2) if name != spec and share > 0.5]
    return (
        f"nearest by names: {', '.join(near)}"
        if near
        else "check --arch and --arch-arg, or write FILE.py:factory"
    )


def _default_inputs(fit: _Fit) -> tuple[InputSpec, ...]:
    if not fit.inputs:
        raise UsageError(
            f"the input size of {fit.spec} is not known",
            "give --input C,H,W, or define example_inputs() beside the factory",
        )
    return fit.inputs


def _in_dtype_of(
    tensors: Mapping[str, Tensor], inputs: tuple[InputSpec, ...], named: bool = False
) -> tuple[InputSpec, ...]:
    """Float inputs without a name (``named``: with one too) follow the weights, when those are all of one
    dtype (half precision).
    """
    floats = {str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()}
    if len(floats) != 1 or not floats <= set(DTYPES):
        return inputs
    dtype = floats.pop()
    return tuple(
        replace(spec, dtype=dtype) if (named or spec.name is None) and spec.dtype == "float32" else spec
        for spec in inputs
    )


def _assumed(spec: str, arguments: Mapping[str, Scalar], arch: str | None) -> tuple[str, ...]:
    found = family_of(spec)
    told = () if found is None else found[0].assumed(found[1], arguments)
    return (*told, *((f"strides, dilation and activations are those of {spec}",) if arch is None else ()))
