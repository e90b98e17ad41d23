"""The space, the MACs and the size of a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from resnet8 import elements, macs, resnet8
from torch import Tensor, nn

import prunecli
from prunecli import InputError
from prunecli.measuring import counted, totals, traced, unknown_operator_notes
from prunecli.subjects import Dense, open_dense


def test_an_input_the_network_cannot_take_is_refused(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="does not run on an input of 1x4x32x32"):
        prunecli.prune(checkpoint, inputs=["4,32,32"], speedup=2)


class Untraceable(nn.Module):
    """Not for torch's tracer; half norms, which torch's counter does not see and the cost formula does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 1)
        self.norms = nn.Sequential(*[nn.BatchNorm2d(32) for _ in range(20)])
        self.middle = nn.Conv2d(32, 32, 1)
        self.last = nn.Conv2d(32, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("this cannot be traced")
        result: Tensor = self.last(self.middle(self.norms(self.first(x))))
        return result


def test_a_network_that_only_torch_can_count_reaches_its_target() -> None:
    torch.manual_seed(0)
    result = prunecli.prune(Untraceable(), example_inputs=torch.zeros(1, 3, 8, 8), speedup=2)
    assert result.report.counter == "torch"
    assert result.report.target.met


def test_torchs_total_has_the_terms_that_torch_leaves_out() -> None:
    torch.manual_seed(0)
    result = prunecli.prune(Untraceable(), example_inputs=torch.zeros(1, 3, 8, 8), speedup=2)
    products, norms = 64 * (3 * 32 + 32 * 32 + 32 * 8), 20 * 2 * 32 * 64
    assert result.report.before.macs == products + norms
    assert result.report.target.reached == pytest.approx(2, rel=0.03)  # a column is 3 % here


@dataclass(frozen=True)
class Space:
    unknown_operators: tuple[str, ...]


def test_every_unknown_operator_has_a_line() -> None:
    assert unknown_operator_notes(Space(())) == ()  # type: ignore[arg-type]
    notes = unknown_operator_notes(Space(("mine.twist", "mine.turn")))  # type: ignore[arg-type]
    assert len(notes) == 2
    assert "mine.twist has no rule" in notes[0]


def opened(module: nn.Module, example: Tensor | None = None) -> Dense:
    image = torch.zeros(1, 3, 32, 32, dtype=next(module.parameters()).dtype)
    return open_dense(module, image if example is None else example, None, None, ())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_counts_the_same_in_every_precision(dtype: torch.dtype) -> None:
    """Kernels for half precision may be missing on a CPU; the count is taken in float32."""
    dense = opened(resnet8().to(dtype))
    found = counted(dense, dense.module, traced(dense))
    assert found.total == macs(resnet8())
    assert all(p.dtype == dtype for p in dense.module.parameters())


def test_the_size_is_that_of_the_state_dict() -> None:
    net = resnet8().half()
    dense = opened(net)
    found = totals(net, counted(dense, net, traced(dense)))
    assert found.params == elements(net)
    assert found.bytes == sum(t.numel() * t.element_size() for t in net.state_dict().values())
    assert found.macs == macs(resnet8())


class Misspelt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.leyer(x)  # type: ignore[no-any-return, operator]


def test_a_fault_in_forward_is_told_in_one_line() -> None:
    with pytest.raises(InputError, match=r"not run on an input of 1x4: AttributeError: .*'leyer'") as caught:
        traced(opened(Misspelt(), torch.zeros(1, 4)))
    assert caught.value.hint == "give another --input, or mend example_inputs or forward"


def test_a_fault_of_ours_is_not_blamed_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("prunecli.measuring.trace", broken)
    with pytest.raises(KeyError, match="ours"):
        traced(opened(nn.Linear(4, 4), torch.zeros(1, 4)))
