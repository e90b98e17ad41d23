from __future__ import annotations

import pytest

from prunecli.gates import Figures, Gates
from prunecli.gating import foretold
from prunecli.report.model import Totals
from prunecli.selection import Target

DENSE = Totals(params=1000, macs=4000, bytes=4000)


@pytest.mark.parametrize(
    ("gates", "target", "cut", "found"),
    [
        (Gates(max_macs=1900), Target("speedup", 2), Totals(500, 2000, 2000), Figures(macs=2000)),
        (Gates(max_macs=1900), Target("flops", 0.5), Totals(500, 2008, 2000), Figures(macs=2008)),
        (Gates(max_params=400), Target("params", 0.5), Totals(498, 2000, 2000), Figures(params=498)),
        # The cut after training may be smaller by the tolerance.
        (Gates(max_macs=1991), Target("speedup", 2), Totals(500, 2000, 2000), None),
        (Gates(max_macs=1989), Target("speedup", 2), Totals(500, 2000, 2000), Figures(macs=2000)),
        # Widths so coarse that the target is missed, by any amount then.
        (Gates(max_macs=1500), Target("speedup", 2), Totals(500, 1900, 2000), None),
        (Gates(max_macs=1500), Target("speedup", 2), Totals(500, 2100, 2000), None),
        # What the target does not say.
        (Gates(max_params=1, max_bytes=1), Target("speedup", 2), Totals(500, 2000, 2000), None),
        (Gates(max_macs=1), Target("params", 0.5), Totals(500, 2000, 2000), None),
        (Gates(max_macs=1, max_params=1), Target("ratio", 0.5), Totals(500, 2000, 2000), None),
        (Gates(max_macs=1), None, Totals(500, 2000, 2000), None),
        (Gates(max_macs=2500), Target("speedup", 2), Totals(500, 2000, 2000), None),
        (Gates(), Target("speedup", 2), Totals(500, 2000, 2000), None),
    ],
)
def test_what_a_target_says_about_the_size_after_training(
    gates: Gates, target: Target | None, cut: Totals, found: Figures | None
) -> None:
    assert foretold(gates, target, DENSE, cut, 0.005) == found
