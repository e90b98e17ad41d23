from __future__ import annotations

import torch
from training_examples import CPU, pictures, small

from prunecli.training.norms import recalibrated


def test_statistics_are_those_of_the_samples() -> None:
    network = small()
    weights = {name: parameter.clone() for name, parameter in network.named_parameters()}
    samples = pictures(50)
    note = recalibrated(network, samples, CPU)
    assert note == "statistics of 1 norm recomputed on 50 samples"
    with torch.no_grad():
        made = network.first(samples.batches[0].inputs.tensors[0]).transpose(0, 1).flatten(1)
    assert torch.allclose(network.norm.running_mean, made.mean(1), atol=1e-5)
    assert torch.allclose(network.norm.running_var, made.var(1), atol=1e-5)
    assert all(torch.equal(parameter, weights[name]) for name, parameter in network.named_parameters())


def test_where_there_are_none() -> None:
    assert recalibrated(small("group"), pictures(50), CPU).startswith("statistics of 0 norms")
