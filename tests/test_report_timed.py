from __future__ import annotations

from dataclasses import replace

from prunecli.report.timed import Latency, Spread


def test_the_result_is_the_pruned_network_where_there_is_one() -> None:
    dense, cut = Spread(2.0, 1.0, 3.0), Spread(1.0, 0.5, 1.5)
    alone = Latency("cpu", 1, 1, "float32", 20, dense)
    assert alone.result is dense
    assert replace(alone, after=cut).result is cut
