"""One run of the network on a few samples, to know beforehand what the sweep will meet: which operations, in
which order, where a constant can go, and how much memory the activations need.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.assembly import without_fast_path
from prunecli.coupling.recording import outputs_in, tensors_in
from prunecli.inputs import Inputs
from prunecli.repair.attention import Meeting, Queries, alone
from prunecli.repair.operations import Constant, Operation, Survey, described
from prunecli.repair.streams import Branches, Uses
from prunecli.running.calls import Call, Geometry, Parameters, place, recognise

CHOOSERS = frozenset(
    {"topk", "sort", "argsort", "nonzero", "nms", "argmax", "argmin", "multinomial", "bucketize"}
)
"""What follows them is about things chosen by value, which are others in the cut network."""

RECURRENT = frozenset({"mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn"})

_CHOSEN = "_prunecli_chosen"


def survey(module: nn.Module, inputs: Inputs) -> Survey:
    """Run ``module`` once. It is not touched; whatever its forward raises comes through."""
    mode = _Survey(Parameters(module))
    with torch.no_grad(), without_fast_path(), mode:
        out = inputs.run(module)
    mode.queries.end(outputs_in(out))
    fused = not RECURRENT.isdisjoint(mode.elsewhere.values())
    return Survey(_with_stops(_with_reasons(mode), mode), mode.most, fused)


def _with_stops(operations: list[Operation], mode: _Survey) -> tuple[Operation, ...]:
    """Sums and logits among the operations, in the order in which they come."""
    by_ordinal = {
        op.ordinal: op for op in operations if op.kind != "norm" and op.reason is None and op.uses == 1
    }
    met = Counter(found.trail.ordinal for _, found in mode.stops if isinstance(found, Meeting))
    stops: dict[int, list[Operation]] = {}
    for behind, found in mode.stops:
        if not isinstance(found, Meeting):
            stop = _sum([by_ordinal[n] for n, uses in found if uses.alone and n in by_ordinal])
        else:
            ordinal = found.trail.ordinal
            able = ordinal in by_ordinal and ordinal not in mode.barred and met[ordinal] == 1
            stop = _logits(by_ordinal[ordinal], found, mode.queries) if able else None
        if stop is not None:
            stops.setdefault(behind, []).append(stop)
    summed = {op.ordinal for some in stops.values() for op in some if op.kind == "sum"}
    found_all = []
    for behind, op in enumerate(operations, 1):
        found_all.append(replace(op, summed=op.kind != "norm" and op.ordinal in summed))
        found_all.extend(stops.get(behind, ()))
    return tuple(replace(op, index=index) for index, op in enumerate(found_all))


def _sum(able: Sequence[Operation]) -> Operation | None:
    """Of those that could be solved at a sum the one with the largest kernel is, or else the last."""
    if not able:
        return None
    last = max(able, key=lambda op: (torch.Size(op.shape[2:]).numel(), op.ordinal))
    return replace(last, kind="sum", geometry=Geometry())


def _logits(maker: Operation, found: Meeting, queries: Queries) -> Operation | None:
    """None where a change of the queries of ``maker`` cannot be written into its weights, or where something
    else sees it.
    """
    if maker.kind not in ("convolution", "product") or maker.geometry.groups > 1:
        return None
    place, added = maker.constant, found.trail.added
    if added is not None and (place is None or added != (place.name, place.start)):
        return None
    if place is None and maker.biased:
        return None
    channels = found.channels()
    if channels is None or not alone(channels, found, queries.ends):
        return None
    (heads, size), rows = channels.shape, found.q.numel() // found.q.shape[-1]
    blocks = rows // (heads * found.q.shape[-2])
    return replace(
        maker, kind="logits", geometry=Geometry(), rows=rows, columns=size, outputs=heads, blocks=blocks
    )


def _with_reasons(mode: _Survey) -> list[Operation]:
    """The operations with why they are left as they were cut, if they are, how often their weight is used,
    and without a place for a constant that is the place of others too.
    """
    uses: dict[tuple[str, int], list[Operation]] = {}
    for op in mode.operations:
        uses.setdefault(op.weight, []).append(op)
    return [
        op if op.kind == "norm" or not op.name else _with_reason(op, uses[op.weight], mode)
        for op in mode.operations
    ]


def _with_reason(operation: Operation, uses: Sequence[Operation], mode: _Survey) -> Operation:
    if operation.reason is None and operation.name in mode.elsewhere:
        return replace(operation, reason=f"its weight is used by {mode.elsewhere[operation.name]} too")
    alike = {(op.kind, op.shape, op.stride, op.geometry.groups, op.reason) for op in uses}
    if operation.reason is None and len(alike) > 1:
        return replace(operation, reason=f"its weight is used {len(uses)} times in one run, and not alike")
    place = operation.constant
    if place is not None and any(op.constant != place for op in uses):
        place = None
    if place is not None and mode.constants[place.name, place.start] > len(uses):
        place = None
    return replace(operation, constant=place, uses=len(uses))


class _Survey(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, known: Parameters) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = known
        self.operations: list[Operation] = []
        self.constants: Counter[tuple[str, int]] = Counter()
        self.elsewhere: dict[str, str] = {}
        self.most = 0
        self.stops: list[tuple[int, list[tuple[int, Uses]] | Meeting]] = []
        """Sums (ordinals of what could be solved there) and logits, each behind how many operations."""
        self.queries = Queries(known)
        self.barred: set[int] = set()
        self._branches = Branches(known)
        self._waiting: dict[int, tuple[int, Tensor]] = {}
        self._bytes: dict[int, int] = {}
        self._holders: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = recognise(func, args, kwargs, self.known)
        met = self.queries.meeting(func, args, kwargs)
        out = func(*args, **kwargs)
        given, made = tensors_in(args), tensors_in(out)
        self._consume(func, given, made, call)
        chosen = func.overloadpacket.__name__ in CHOOSERS or any(hasattr(t, _CHOSEN) for t in given)
        if chosen:
            for tensor in made:
                setattr(tensor, _CHOSEN, True)
        if call is not None:
            self._add(call, made[0])
            if chosen and self.operations[-1].reason is None:
                reason = "it sees what was chosen by value, which is something else in the cut network"
                self.operations[-1] = replace(self.operations[-1], reason=reason)
        else:
            self._note_other_uses(func, given, made)
        sums = self._branches.follow(func, args, kwargs, out, call)
        self.queries.follow(func, args, kwargs, out, call, self._branches.ordinal)
        if call is None and met is not None:
            self.stops.append((len(self.operations), met.without_data()))
            if chosen:
                self.barred.add(met.trail.ordinal)
        if sums and not chosen:
            ended = [(found.branch.ordinal, found.branch.uses) for found in sums]
            self.stops.append((len(self.operations), ended))
        for tensor in made:
            self._hold(tensor)
        return out

    def _add(self, call: Call, out: Tensor) -> None:
        index = len(self.operations)
        operation = described(index, call, out)
        if call.kind == "norm":
            self.operations.append(operation)
            return
        operation = replace(operation, ordinal=self._branches.ordinal + 1)
        self.operations.append(operation)
        bias = call.bias
        if bias is None:
            self._waiting[place(out)] = (index, out)
        elif self.known.name(bias) is not None:
            self._set_constant(index, bias, 1)

    def _set_constant(self, index: int, tensor: Tensor, sign: int) -> None:
        name = self.known.name(tensor)
        if name is None or tensor.dim() != 1 or not tensor.is_contiguous():
            return
        start = int(tensor.storage_offset())
        constant = Constant(name, start, start + tensor.numel(), sign)
        self.operations[index] = replace(self.operations[index], constant=constant)
        self.constants[name, start] += 1

    def _consume(self, func: Any, given: list[Tensor], made: list[Tensor], call: Call | None) -> None:
        """What first sees the output of an operation without a bias may hold its constant."""
        for tensor in given:
            index, _ = self._waiting.get(place(tensor), (None, None))
            if index is None:
                continue
            if not func._schema.is_mutable and any(place(t) == place(tensor) for t in made):
                continue
            del self._waiting[place(tensor)]
            if call is not None and call.kind == "norm":
                self._set_constant(index, call.weight, -1)
            elif func.overloadpacket.__name__ in ("add", "add_") and len(given) == 2:
                other = given[1] if given[0] is tensor else given[0]
                if other.numel() == tensor.shape[-1]:
                    self._set_constant(index, other, 1)

    def _note_other_uses(self, func: Any, given: list[Tensor], made: list[Tensor]) -> None:
        for tensor in given:
            name = self.known.name(tensor)
            if name is not None and not any(place(t) == place(tensor) for t in made):
                self.elsewhere.setdefault(name, func.overloadpacket.__name__)

    def _hold(self, tensor: Tensor) -> None:
        if not tensor.numel() or self.known.name(tensor) is not None:
            return
        where = place(tensor)
        if not self._holders[where]:
            self._bytes[where] = tensor.untyped_storage().nbytes()
        self._holders[where] += 1
        weakref.finalize(tensor, self._release, where)
        self.most = max(self.most, sum(self._bytes.values()))

    def _release(self, where: int) -> None:
        self._holders[where] -= 1
        if not self._holders[where]:
            del self._bytes[where]
