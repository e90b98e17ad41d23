"""Statistics of norms, taken anew from the training data once training is over (``--recalibrate``)."""

from __future__ import annotations

import torch
from torch import nn

from prunecli.assembly import all_tensors, working_copy
from prunecli.data.samples import Samples
from prunecli.repair.statistics import recalibrate
from prunecli.report.text import plural
from prunecli.running.chunks import one_thread_each

SAMPLES, _CHUNK = 2048, 32


@torch.no_grad()
def recalibrated(network: nn.Module, samples: Samples, device: torch.device) -> str:
    """Set the statistics of ``network`` in place, from the first samples as they are without augmentation;
    returns what to say of it.
    """
    copy = working_copy(network)
    inputs, count = [], 0
    for batch in samples.chunks(_CHUNK):
        inputs.append(batch.inputs.map(lambda tensor: tensor.to(device)))
        count += len(batch)
        if count >= SAMPLES:
            break
    with one_thread_each(device) as chunks:
        norms = recalibrate(copy, inputs, chunks)
    found = all_tensors(copy)
    for name, buffer in network.named_buffers():
        buffer.copy_(found[name])
    return f"statistics of {plural(norms, 'norm')} recomputed on {plural(count, 'sample')}"
