"""How good networks are on samples: accuracy where there are labels, and how near their outputs are to those
of the dense network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunecli.assembly import all_tensors, evaluating
from prunecli.coupling.recording import outputs_in
from prunecli.data.samples import Batch, Samples
from prunecli.errors import InputError, first_line
from prunecli.proofs import FORWARD_ERRORS
from prunecli.report.figures import Quality

_TOP = 5


def measure(
    networks: Mapping[str, nn.Module],
    samples: Samples,
    *,
    against: nn.Module | None = None,
    batch_size: int = 64,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Quality]:
    """The quality of every network by its name, in one pass over the samples; each runs where its weights
    are, in eval mode.

    ``against`` is the dense network; if it is among ``networks`` too it runs once. Raises ``InputError`` for
    a network that does not run on the samples or whose outputs are not finite, and for labels beyond its
    classes.
    """
    tallies = {name: _Tally() for name in networks}
    done = 0
    with ExitStack() as stack, torch.no_grad():
        for module in {id(m): m for m in (*networks.values(), against) if m is not None}.values():
            stack.enter_context(evaluating(module))
        for batch in samples.chunks(batch_size):
            dense = None if against is None else _run(against, batch, "the dense network")
            for name, module in networks.items():
                if module is against and dense is not None:
                    tallies[name].add(dense, batch, None)
                else:
                    tallies[name].add(_run(module, batch, name), batch, dense)
            done += len(batch)
            if progress is not None:
                progress(f"evaluate {done} of {len(samples)}")
    return {name: tally.quality() for name, tally in tallies.items()}


def _run(module: nn.Module, batch: Batch, name: str) -> list[Tensor]:
    """All outputs, on the CPU, floating ones in float64."""
    device = next((tensor.device for tensor in all_tensors(module).values()), torch.device("cpu"))
    try:
        outputs = outputs_in(batch.inputs.map(lambda tensor: tensor.to(device)).run(module))
    except FORWARD_ERRORS as error:
        raise InputError(
            f"{name} does not run on {len(batch)} of the samples: {first_line(error)}",
            "--batch-size 1, or data of another shape",
        ) from error
    found = [tensor.cpu().double() if tensor.is_floating_point() else tensor.cpu() for tensor in outputs]
    if not all(bool(tensor.isfinite().all()) for tensor in found if tensor.is_floating_point()):
        raise InputError(f"outputs of {name} are NaN or Inf", "look for the layer where its weights overflow")
    return found


def logits_in(outputs: Sequence[Tensor], samples: int) -> Tensor | None:
    """The scores of a classifier, ``[n, classes]``: its only output. None where the outputs are something
    else.
    """
    if len(outputs) != 1 or not outputs[0].is_floating_point() or outputs[0].dim() != 2:
        return None
    return outputs[0] if outputs[0].shape[0] == samples and outputs[0].shape[1] > 1 else None


@dataclass
class _Tally:
    """Running sums over batches."""

    samples: int = 0
    classes: int | None = None
    labelled: int = 0
    right: int = 0
    among: int | None = None
    loss: float = 0.0
    scored: int = 0
    agreeing: int = 0
    divergence: float = 0.0
    compared: bool = False
    comparable: bool = True
    difference: float = 0.0
    size: float = 0.0

    def add(self, outputs: Sequence[Tensor], batch: Batch, dense: Sequence[Tensor] | None) -> None:
        self.samples += len(batch)
        logits = logits_in(outputs, len(batch))
        self.classes = None if logits is None else logits.shape[1]
        if logits is not None and batch.labels is not None:
            self._label(logits, batch.labels)
        if dense is None:
            return
        self._compare(outputs, dense)
        wanted = logits_in(dense, len(batch))
        if logits is not None and wanted is not None and logits.shape == wanted.shape:
            self._agree(logits, wanted)

    def _label(self, logits: Tensor, labels: Tensor) -> None:
        classes = logits.shape[1]
        if int(labels.max()) >= classes:
            raise InputError(
                f"the data has label {int(labels.max())}, the network {classes} classes",
                "classes count from 0; is it the network for this data?",
            )
        self.labelled += len(labels)
        self.right += int((logits.argmax(1) == labels).sum())
        if classes > _TOP:
            top = logits.topk(_TOP).indices == labels.unsqueeze(1)
            self.among = (self.among or 0) + int(top.any(1).sum())
        self.loss += float(functional.cross_entropy(logits, labels, reduction="sum"))

    def _agree(self, logits: Tensor, wanted: Tensor) -> None:
        self.scored += len(logits)
        self.agreeing += int((logits.argmax(1) == wanted.argmax(1)).sum())
        ours, theirs = logits.log_softmax(1), wanted.log_softmax(1)
        self.divergence += float((theirs.exp() * (theirs - ours)).sum())

    def _compare(self, outputs: Sequence[Tensor], dense: Sequence[Tensor]) -> None:
        """A detector may find more boxes or fewer: then there is no error to be taken."""
        self.compared = True
        if [tensor.shape for tensor in outputs] != [tensor.shape for tensor in dense]:
            self.comparable = False
            return
        for found, wanted in zip(outputs, dense, strict=True):
            if wanted.is_floating_point():
                self.difference += float((found - wanted).square().sum())
                self.size += float(wanted.square().sum())

    def quality(self) -> Quality:
        labelled, scored = self.labelled, self.scored
        return Quality(
            samples=self.samples,
            top1=self.right / labelled if labelled else None,
            top5=self.among / labelled if self.among is not None else None,
            loss=self.loss / labelled if labelled else None,
            agreement=self.agreeing / scored if scored else None,
            error=self._error() if self.compared and self.comparable else None,
            # Rounding alone can make it a little less than nothing.
            divergence=max(0.0, self.divergence / scored) if scored else None,
            classes=self.classes,
        )

    def _error(self) -> float:
        if self.size == 0:
            return 0.0 if self.difference == 0 else float("inf")
        return sqrt(self.difference / self.size)
