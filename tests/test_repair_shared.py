from __future__ import annotations

import torch
from repair_examples import by_lstsq, seen, sweep
from torch import Tensor, nn

from prunecli.assembly import all_tensors, rebuilt
from prunecli.coupling.axes import kept_indices
from prunecli.inputs import Inputs
from prunecli.repair.shared import put
from prunecli.repair.site import LEAST_SQUARES
from prunecli.repair.survey import survey
from prunecli.report.figures import OperationRow


class Twice(nn.Module):
    """One weight used at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.shared(self.shared(self.first(x).relu()).relu()))


def test_a_weight_that_is_used_twice_equals_lstsq_on_both_uses() -> None:
    torch.manual_seed(0)
    found = sweep(Twice(), torch.randn(80, 6, dtype=torch.float64), 5)
    rows, shared = found.done, found.repaired.shared
    assert rows["first.weight"].reason == "its output is that of the dense network already"
    row = rows["shared.weight"]
    assert row.method == LEAST_SQUARES and row.ridge is not None
    kept = kept_indices(
        found.result.space.axes["shared.weight"][0], found.result.space.sizes, found.result.plan.keep
    )
    before = rebuilt(
        found.repaired,
        dict(all_tensors(found.repaired))
        | {name: found.cut.get_parameter(name).detach() for name in ("shared.weight", "shared.bias")},
    )
    x, _ = seen(before, "shared", found.samples)
    _, y = seen(found.dense, "shared", found.samples)
    assert len(x) == 160
    wanted = by_lstsq(shared, found.cut.shared.weight, x, y[:, kept], row.ridge, True)
    assert float((shared.weight - wanted).abs().max()) < 1e-6 * float(wanted.abs().max())
    rest = (y[:, kept] - (x @ wanted.T)).mean(0)
    assert torch.allclose(shared.bias, rest, atol=1e-6)
    assert rows["last.weight"].method == LEAST_SQUARES


def test_a_weight_that_another_sweep_has_solved_is_not_touched() -> None:
    torch.manual_seed(0)
    solved = {("shared.weight", 0): OperationRow("shared.weight", LEAST_SQUARES, None, 0.1, 2.0, 1.0)}
    found = sweep(Twice(), torch.randn(80, 6, dtype=torch.float64), 5, solved=solved)
    assert found.done["shared.weight"] is solved["shared.weight", 0]
    assert torch.equal(found.repaired.shared.weight, found.cut.shared.weight)
    assert found.done["last.weight"].method == LEAST_SQUARES


def test_weights_used_several_times_go_from_one_network_to_another() -> None:
    one, other = Twice().eval(), Twice().eval()
    operations = survey(one, Inputs((torch.randn(1, 6),))).operations
    put(operations, dict(one.named_parameters()), dict(other.named_parameters()))
    assert torch.equal(one.shared.weight, other.shared.weight)
    assert torch.equal(one.shared.bias, other.shared.bias)
    assert not torch.equal(one.last.weight, other.last.weight)
    assert not torch.equal(one.last.bias, other.last.bias)
