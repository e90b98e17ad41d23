from __future__ import annotations

from dataclasses import replace

import pytest

from prunecli.repair.budget import Budget, plan, seconds
from prunecli.repair.operations import Operation, Survey
from prunecli.running.calls import Geometry

WIDE = Operation(
    0, "convolution", "w", (512, 512, 3, 3), (4608, 9, 3, 1), 0, Geometry(groups=1), 49, 4608, 512
)
NARROW = replace(WIDE, shape=(64, 64, 3, 3), rows=3136, columns=576, outputs=64)
NETWORK = Survey((NARROW, NARROW, WIDE), 20 << 20)


@pytest.mark.parametrize(("samples", "chunk", "chunks"), [(512, 32, 16), (32, 4, 8), (8, 1, 8), (100, 12, 9)])
def test_samples_come_in_chunks_of_which_some_are_kept_apart(samples: int, chunk: int, chunks: int) -> None:
    work = plan(NETWORK, NETWORK, Budget(samples, 100 << 30), "lstsq")
    assert (work.samples, work.chunk, work.notes) == (samples, chunk, ())
    assert -(-samples // work.chunk) == chunks
    assert work.judged == max(1, chunks // 8)


def test_memory_limits_the_samples_and_says_so() -> None:
    work = plan(NETWORK, NETWORK, Budget(512, 4 << 30), "lstsq")
    assert work.samples == (4 << 30) // (40 << 20) == 102
    assert work.notes == ("repair: 102 of 512 samples fit into --memory (4 GiB)",)


def test_time_takes_samples_first_then_width_then_all_but_statistics() -> None:
    everything = plan(NETWORK, NETWORK, Budget(64), "lstsq")
    cost = seconds(NETWORK, everything)
    assert plan(NETWORK, NETWORK, Budget(64, seconds=cost * 1.01), "lstsq") == everything
    less = plan(NETWORK, NETWORK, Budget(64, seconds=cost * 0.9), "lstsq")
    assert less.method == "lstsq"
    assert less.samples < 64
    assert "to stay within" in less.notes[0]
    little = plan(NETWORK, NETWORK, Budget(64, seconds=1e-6), "lstsq")
    assert little.method == "bn"
    assert "statistics of norms only" in little.notes[0]
    assert plan(NETWORK, NETWORK, Budget(64, seconds=1e-6), "bn").notes == ()


def test_logits_cost_what_their_heads_and_queries_do() -> None:
    work = plan(NETWORK, NETWORK, Budget(64), "lstsq")
    made = replace(NARROW, kind="product", rows=197, columns=192, outputs=576)

    def cost(**sizes: int) -> float:
        heads = replace(
            made, kind="logits", **({"rows": 3 * 197, "columns": 40, "outputs": 3, "blocks": 1} | sizes)
        )
        return seconds(Survey((made, heads), 1), work) - seconds(Survey((made,), 1), work)

    assert 0 < cost() < cost(rows=6 * 197) < cost(rows=6 * 197, outputs=6)
    assert cost() < cost(blocks=4, rows=12 * 197) < cost(blocks=8, rows=24 * 197)
    assert cost(columns=20) < cost(columns=40) < cost(columns=80)
