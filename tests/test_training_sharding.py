from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_examples import judge, pictures, small

from prunecli.data.samples import Batch, Lazy, Samples
from prunecli.inputs import Inputs
from prunecli.quality import measure
from prunecli.report.figures import Quality
from prunecli.training.sharding import part_of, share, together


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", range(1, 14))
def test_the_mean_of_the_shares_is_the_mean_over_the_samples(count: int, size: int) -> None:
    places = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    loss = torch.arange(count).double() ** 2
    shares = [share(places, rank, size) for rank in range(size)]
    mean = sum(float(loss[one.places].sum()) / one.whole for one in shares) / size
    assert mean == pytest.approx(float(loss.mean()))
    counted = torch.cat([one.places for one in shares if one.counted])
    assert torch.equal(counted, places)
    if count > 1:
        assert min(len(one.places) for one in shares) >= 2
    if count >= 2 * size:
        assert max(len(one.places) for one in shares) - min(len(one.places) for one in shares) <= 1


def single(count: int, read: list[int]) -> Samples:
    def one(index: int) -> Batch:
        read.append(index)
        return pictures(count).batches[0][index : index + 1]

    return Samples(Lazy(count, one), "made up", count=count)


@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_figures_of_the_parts_are_those_of_the_whole(size: int) -> None:
    network, whole = small(dropout=0.0), pictures(9, 2)
    of_many = Samples(tuple(whole.batches[0][at : at + 2] for at in range(0, 9, 2)), "made up")
    wanted = judge(network)
    for samples in (whole, of_many):
        parts = [part_of(samples, rank, size) for rank in range(size)]
        found = together([None if p is None else measure({"": network}, p)[""] for p in parts])
        assert found == replace(wanted, loss=pytest.approx(wanted.loss))
    for rank in range(size):
        read: list[int] = []
        part = part_of(single(9, read), rank, size)
        assert len(part or ()) == len(range(rank, 9, size))
        labels = [] if part is None else [int(batch.labels) for batch in part.chunks(1)]  # type: ignore[arg-type]
        assert labels == [at % 3 for at in range(9)][rank::size]
        # The first tells what kind they are.
        assert set(read) <= {0, *range(rank, 9, size)}


def test_nothing_and_what_cannot_be_told() -> None:
    assert together([None, None]) is None
    assert together([Quality(2), None, Quality(1)]) == Quality(3)


def test_samples_that_go_one_by_one() -> None:
    ones = tuple(Batch(Inputs((torch.full((1, 2), float(at)),)), None, True) for at in range(5))
    part = part_of(Samples(ones, "made up"), 1, 2)
    assert part is not None
    assert [float(batch.inputs.tensors[0][0, 0]) for batch in part.chunks(4)] == [1.0, 3.0]
