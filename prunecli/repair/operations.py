"""What is known of the weighted operations of a network before the sweep comes to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from prunecli.running.calls import Call, Geometry, Kind


@dataclass(frozen=True)
class Constant:
    """Where a constant added to the output of an operation can go: elements ``start`` to ``stop`` of
    ``name``; a running mean is subtracted (``sign`` -1).
    """

    name: str
    start: int
    stop: int
    sign: int = 1


@dataclass(frozen=True)
class Operation:
    """One weighted operation of ``forward``, the ``index``-th that the network comes to.

    ``name``: its parameter, of which ``shape``, ``stride`` and ``start`` say what it multiplies by. ``rows``
    (output positions), ``columns`` (inputs of one output) and ``outputs`` are those of one run; ``reason``:
    why it is left as it was cut. ``ordinal``: the how manieth it is without norms, sums and logits; a sum has
    that of the operation to be solved there, which is ``summed``. Logits have that of the projection that
    makes the queries: as many as ``rows``, with the ``columns`` of one head, and ``outputs`` heads, each of
    so many ``blocks``. ``biased``: whether it adds a bias itself; ``uses``: how often the run multiplies by
    its weight.
    """

    index: int
    kind: Kind
    name: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    start: int
    geometry: Geometry
    rows: int
    columns: int
    outputs: int
    constant: Constant | None = None
    reason: str | None = None
    ordinal: int = -1
    summed: bool = False
    biased: bool = False
    blocks: int = 0
    uses: int = 1

    @property
    def weight(self) -> tuple[str, int]:
        """What it multiplies by, the same for all its uses."""
        return self.name, self.start

    @property
    def signature(self) -> tuple[str, str, int]:
        """What the dense network must come to at the same place."""
        return self.kind, self.name, self.geometry.groups if self.kind == "norm" else 0


@dataclass(frozen=True)
class Survey:
    """``bytes``: the most that activations took at any time; ``fused``: whether a recurrent layer was
    computed by one operator, which hides its products.
    """

    operations: tuple[Operation, ...]
    bytes: int
    fused: bool = False

    @property
    def signatures(self) -> list[tuple[str, str, int]]:
        return [op.signature for op in self.operations]

    @property
    def summed(self) -> frozenset[int]:
        """Ordinals of the operations that are solved at a sum."""
        return frozenset(op.ordinal for op in self.operations if op.kind == "sum")

    @property
    def queries(self) -> frozenset[int]:
        """Ordinals of the operations whose queries are solved for at the logits."""
        return frozenset(op.ordinal for op in self.operations if op.kind == "logits")

    def sweeps(self, most_columns: int) -> int:
        """One, and another where weights are solved for several uses: those up to ``most_columns`` wide."""
        return 1 + any(op.uses > 1 and op.columns <= most_columns for op in self.operations)

    def without(self, *kinds: Kind) -> Survey:
        """No stops at these, ``sum`` or ``logits``."""
        left = [op for op in self.operations if op.kind not in kinds]
        numbered = (
            replace(op, index=index, summed=op.summed and "sum" not in kinds) for index, op in enumerate(left)
        )
        return replace(self, operations=tuple(numbered))


def described(index: int, call: Call, out: Tensor) -> Operation:
    """``call`` without its tensors."""
    weight, groups = call.weight, call.geometry.groups
    if call.kind == "norm":
        rows, columns, outputs = call.x.numel() // call.x.shape[1], 1, call.x.shape[1]
    elif call.kind == "product":
        rows, columns, outputs = call.x.shape[0], weight.shape[0], weight.shape[1]
    else:
        rows, outputs = out.numel() // out.shape[1], out.shape[1]
        columns = call.x.shape[1] // groups * weight.shape[2:].numel()
    return Operation(
        index, call.kind, call.name or "", tuple(weight.shape), tuple(weight.stride()),
        int(weight.storage_offset()), call.geometry, rows, columns, outputs,
        reason=None if call.name is not None else "its weight is computed in forward",
        biased=call.bias is not None,
    )  # fmt: skip
