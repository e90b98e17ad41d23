from __future__ import annotations

from dataclasses import replace

from report_examples import LATENCY, SPARSITY

from prunecli.report import remarks
from prunecli.report.sparse import LayerSparsity


def test_a_speedup_is_said_beside_that_of_the_macs() -> None:
    found = dict(remarks.latency(LATENCY))
    assert found["latency"] == (
        "81.4 ms -> 66.0 ms, 1.23x faster, where the MACs are 2.00x fewer "
        "(batch 8, float32, cpu (2 threads of a test), 2 threads, 30 runs)"
    )
    assert found["slow layers"] == "conv1"
    assert found["advice"].startswith("--round-to 8")


def test_one_network_alone_is_no_faster() -> None:
    alone = replace(LATENCY, after=None, speedup=None, macs_ratio=None, slow=(), advice=None, runs=1)
    ((name, said),) = remarks.latency(alone)
    assert name == "latency"
    assert said == "81.4 ms (batch 8, float32, cpu (2 threads of a test), 2 threads, 1 run)"
    assert remarks.latency(None) == []


def test_zeros_are_added_up() -> None:
    ((_, said),) = remarks.zeros(SPARSITY)
    idle = "3 channels dead in their layer, 1 duplicate, 2 inactive channels"
    assert said == f"1,470 of 16,130 parameters (9.1%), {idle}"
    ((_, one),) = remarks.zeros([LayerSparsity("a", 4, 2, 0, 2, 1, 0)])
    assert one == "2 of 4 parameters (50.0%), 1 channel dead in its layer"
    assert remarks.zeros(()) == []
    assert [remarks.idle(row) for row in SPARSITY] == [True, False]
    assert remarks.zeros([LayerSparsity("a", 0, 0, 0, 0, 0, 0)]) == [("zeros", "0 of 0 parameters (0.0%)")]
