from __future__ import annotations

import pytest
import torch

from prunecli.data import Batch, Samples
from prunecli.data.samples import Lazy, join
from prunecli.inputs import Inputs


def batch(*numbers: int) -> Batch:
    x = torch.tensor(numbers)
    return Batch(Inputs((x.float().unsqueeze(1),), {"mask": [x * 2]}), x * 10)


def told(part: Batch) -> tuple[list[float], list[int], list[int]]:
    assert part.labels is not None
    return (
        part.inputs.positional[0].flatten().tolist(),
        part.inputs.named["mask"][0].tolist(),
        part.labels.tolist(),
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize(
    "batches", [(batch(*range(7)),), tuple(batch(i) for i in range(7)), (batch(0, 1, 2), batch(3, 4, 5, 6))]
)
def test_chunks_do_not_depend_on_how_the_samples_lie(batches: tuple[Batch, ...], size: int) -> None:
    samples = Samples(batches, "x")
    wanted = [list(range(start, min(start + size, 7))) for start in range(0, 7, size)]
    for _ in range(2):
        found = [told(chunk) for chunk in samples.chunks(size)]
        assert found == [(list(map(float, w)), [2 * n for n in w], [10 * n for n in w]) for w in wanted]
    assert len(samples) == 7
    assert samples.labelled


def test_what_cannot_be_put_together_comes_one_by_one() -> None:
    images = tuple(Batch(Inputs((), {"images": [torch.zeros(3, 4, 4)]}), None, True) for _ in range(3))
    samples = Samples(images, "x")
    assert len(samples) == 3
    assert [chunk is image for chunk, image in zip(samples.chunks(2), images, strict=True)] == [True] * 3
    assert not samples.labelled


def test_labels_are_joined_and_may_be_absent() -> None:
    joined = join([batch(1), batch(2)]).labels
    assert joined is not None
    assert joined.tolist() == [10, 20]
    assert join([Batch(Inputs((torch.zeros(1, 2),)))] * 2).labels is None


def test_a_lazy_sequence_reads_once_what_it_can_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def one(index: int) -> Batch:
        read.append(index)
        return Batch(Inputs((torch.full((1, 1), float(index)),)))

    monkeypatch.setattr("prunecli.data.samples.CACHE_BYTES", 8)
    lazy = Lazy(3, one)
    samples = Samples(lazy, "x", count=3)
    assert len(samples) == 3
    assert not read
    for _ in range(2):
        assert [c.inputs.positional[0].flatten().tolist() for c in samples.chunks(2)] == [[0, 1], [2]]
    assert read == [0, 1, 2, 2]
    assert [b.inputs.positional[0].item() for b in lazy[1:]] == [1, 2]
    with pytest.raises(IndexError):
        lazy[3]
