from __future__ import annotations

import torch
from torch import nn

from prunecli.criteria.passes import Passes
from prunecli.data.samples import Batch, Samples
from prunecli.inputs import Inputs
from prunecli.running.chunks import one_thread_each

CPU = torch.device("cpu")


def passes(net: nn.Module, said: list[str] | None = None) -> Passes:
    samples = Samples((Batch(Inputs((torch.arange(7.0)[:, None],)), torch.arange(7)),), "made")
    with one_thread_each(CPU) as chunks:
        return Passes.over(net, samples, CPU, chunks, None if said is None else said.append)


def test_chunks_know_which_samples_they_are() -> None:
    found = passes(nn.Linear(1, 1)).chunked(3)
    assert [(c.first, c.index, len(c.batch)) for c in found] == [(0, 0, 3), (3, 1, 3), (6, 2, 1)]
    assert [c.told for c in found] == ["samples 0 to 2", "samples 3 to 5", "sample 6"]
    assert torch.equal(
        torch.cat([c.batch.labels for c in found if c.batch.labels is not None]), torch.arange(7)
    )


def test_the_network_is_a_copy_in_the_widest_of_its_dtypes() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)).half().train()
    work = passes(net)
    assert work.dtype == torch.float32 and not work.network.training and net.training
    assert {p.dtype for p in work.network.parameters()} == {torch.float32}
    assert passes(net.double()).chunked(1)[0].batch.inputs.tensors[0].dtype == torch.float64
    one = work.network.get_parameter("0.weight")
    assert work.copy().get_parameter("0.weight").data_ptr() == one.data_ptr()


def test_progress_says_how_far_it_is() -> None:
    said: list[str] = []
    work = passes(nn.Linear(1, 1), said)
    assert list(work.each("gradients", lambda chunk: len(chunk.batch), work.chunked(4))) == [4, 3]
    assert [text.partition(", about")[0] for text in said] == [
        "gradients: 4 of 7 samples",
        "gradients: 7 of 7 samples",
    ]
    assert said[-1].endswith("about 0 s left")
