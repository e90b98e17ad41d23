"""What a network is like: its space, its MACs, its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from prunecli import inputs as input_room
from prunecli.assembly import all_tensors, evaluating, rebuilt
from prunecli.counting import Count, count, sizes_of
from prunecli.coupling import Space, trace
from prunecli.coupling.build import never, trace_with_uses
from prunecli.coupling.space import Group, Use
from prunecli.errors import InputError, PruneError, first_line
from prunecli.proofs import FORWARD_ERRORS, run
from prunecli.report.model import Totals
from prunecli.subjects import MODULE, Dense


def traced(
    dense: Dense, free: Callable[[Group], bool] = never, held: Mapping[str, str] | None = None
) -> Space:
    """The space of ``dense``; ``free`` and ``held`` as for :func:`prunecli.coupling.trace`. Raises
    ``InputError`` where forward does not run on the inputs.
    """
    with _forward_errors(dense):
        return trace(_copy(dense), input_room.make(dense.specs), free=free, held=held)


def traced_with_uses(dense: Dense) -> tuple[Space, Mapping[str, tuple[Use, ...]]]:
    """:func:`traced`, and per group the operators that its units went through."""
    with _forward_errors(dense):
        return trace_with_uses(_copy(dense), input_room.make(dense.specs))


def _copy(dense: Dense) -> nn.Module:
    """For a trace: a forward may keep what it computed in containers of the module."""
    return rebuilt(dense.module, all_tensors(dense.module))


@contextmanager
def _forward_errors(dense: Dense) -> Iterator[None]:
    try:
        yield
    except FORWARD_ERRORS as error:
        hint = error.hint if isinstance(error, InputError) else None
        raise _does_not_run(dense, first_line(error), hint) from error
    except Exception as error:
        if isinstance(error, PruneError) or not _raises_by_itself(dense, type(error)):
            raise
        raise _does_not_run(dense, f"{type(error).__name__}: {first_line(error)}", None) from error


def _does_not_run(dense: Dense, problem: str, hint: str | None) -> InputError:
    shapes = ", ".join(
        f"{spec.name + ' ' if spec.name else ''}{'x'.join(map(str, spec.shape))}" for spec in dense.specs
    )
    own = dense.arch == MODULE or dense.given_arch is not None
    return InputError(
        f"the network does not run on an input of {shapes}: {problem}",
        hint or f"give another --input{', or mend example_inputs or forward' if own else ''}",
    )


def _raises_by_itself(dense: Dense, kind: type[Exception]) -> bool:
    """Whether the network raises the same without being traced: then the fault is not ours."""
    try:
        run(_copy(dense), input_room.make(dense.specs))
    except kind:
        return True
    except Exception:
        return False
    return False


def counted(dense: Dense, module: nn.Module, space: Space) -> Count:
    """MACs of ``module`` (``dense`` itself, or what is left of it), in float32 where it runs in that.

    ``space`` has the sizes of ``module``: what torch's counter leaves out is taken from its formula. The
    module is not touched. Raises ``InputError`` where it cannot be run to be counted.
    """
    tensors, values = all_tensors(module), input_room.make(dense.specs)
    floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    attempts = [(floats, values.cast(torch.float32)), (tensors, values)]
    problem = ""
    for weights, arguments in attempts:
        try:
            copy = rebuilt(module, weights).eval()
            return count(copy, arguments, left_out=space.other_macs.value(space.sizes))
        except FORWARD_ERRORS as error:
            problem = first_line(error)
    raise InputError(f"the network could not be run to be counted: {problem}", "give another --input")


def sizes(dense: Dense) -> tuple[Totals, Count]:
    """Of a network that is only looked at, dense or cut. Raises as :func:`traced` and :func:`counted`."""
    with evaluating(dense.module):
        found = counted(dense, dense.module, traced(dense))
    return totals(dense.module, found), found


def totals(module: nn.Module, counted: Count) -> Totals:
    params, size = sizes_of(module, module.state_dict())
    return Totals(params, counted.total, size)


def unknown_operator_notes(space: Space) -> tuple[str, ...]:
    """A line per operator that the tracer has no rule for."""
    return tuple(
        f"operator {name} has no rule: what it touches is left whole" for name in space.unknown_operators
    )
