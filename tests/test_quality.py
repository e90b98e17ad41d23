from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prunecli.data import Batch, Samples
from prunecli.errors import InputError
from prunecli.inputs import Inputs
from prunecli.quality import measure
from prunecli.report.figures import Quality


class Answers(nn.Module):
    """Gives what it is told to for the sample whose number it sees."""

    def __init__(self, answers: Any, form: Callable[[Tensor], Any] = lambda rows: rows) -> None:
        super().__init__()
        self.answers = nn.Parameter(torch.tensor(answers))
        self.form = form
        self.runs = 0

    def forward(self, x: Tensor) -> Any:
        self.runs += 1
        assert not self.training
        return self.form(self.answers[x.long()])


def numbered(count: int, labels: list[int] | None = None) -> Samples:
    known = None if labels is None else torch.tensor(labels)
    return Samples((Batch(Inputs((torch.arange(float(count)),)), known),), "x")


def quality(module: nn.Module, samples: Samples, against: nn.Module | None = None, size: int = 2) -> Quality:
    return measure({"it": module}, samples, against=against, batch_size=size)["it"]


LOGITS = [[2.0, 0.0, -1.0], [0.0, 1.0, 0.0], [0.5, 0.2, 0.1], [0.0, 0.0, 3.0], [1.0, 2.0, 0.0]]
OTHER = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.1, 0.2, 0.0], [0.0, 0.0, 2.0], [0.0, 2.0, 1.0]]
LABELS = [0, 1, 0, 2, 0]


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_figures_by_plain_loops(size: int) -> None:
    found = quality(Answers(LOGITS), numbered(5, LABELS), Answers(OTHER), size)
    loss = divergence = difference = norm = 0.0
    for ours, theirs, label in zip(LOGITS, OTHER, LABELS, strict=True):
        p, q = ([exp / sum(exps) for exp in exps] for exps in map(_exponentials, (theirs, ours)))
        loss -= _log(q[label])
        divergence += sum(a * (_log(a) - _log(b)) for a, b in zip(p, q, strict=True))
        difference += sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True))
        norm += sum(b**2 for b in theirs)
    assert found.samples == 5
    assert found.top1 == 4 / 5
    assert found.top5 is None
    assert found.agreement == 3 / 5
    assert found.loss == pytest.approx(loss / 5, rel=1e-6)
    assert found.divergence == pytest.approx(divergence / 5, rel=1e-6)
    assert found.error == pytest.approx((difference / norm) ** 0.5, rel=1e-6)


def _exponentials(row: list[float]) -> list[float]:
    return [2.718281828459045**value for value in row]


def _log(value: float) -> float:
    import math

    return math.log(value)


def test_top5_counts_the_five_best() -> None:
    rows = [[float(-abs(i - best)) - i / 100 for i in range(9)] for best in (0, 4, 8, 8)]
    # Best first: 0..4; 4,3,5,2,6; 8,7,6,5,4; the same.
    found = quality(Answers(rows), numbered(4, [4, 7, 4, 3]))
    assert found.top5 == 2 / 4
    assert found.top1 == 0.0


def test_the_same_network_is_as_near_as_can_be() -> None:
    found = quality(Answers(LOGITS), numbered(5), Answers(LOGITS))
    assert (found.agreement, found.error, found.divergence) == (1.0, 0.0, 0.0)
    assert (found.top1, found.loss) == (None, None)
    assert not found.is_empty
    assert quality(Answers(LOGITS), numbered(5)).is_empty


def test_several_networks_go_side_by_side_and_the_dense_one_runs_once() -> None:
    dense, cut = Answers(OTHER), Answers(LOGITS)
    cut.train()
    heard: list[str] = []
    found = measure(
        {"dense": dense, "cut": cut}, numbered(5, LABELS), against=dense, batch_size=5, progress=heard.append
    )
    assert dense.runs == cut.runs == 1
    assert found["dense"].agreement is None
    assert found["dense"].top1 == 2 / 5
    assert found["cut"] == quality(Answers(LOGITS), numbered(5, LABELS), Answers(OTHER), 5)
    assert heard == ["evaluate 5 of 5"]
    assert cut.training


@dataclass
class Output:
    scores: Tensor
    more: Tensor


@pytest.mark.parametrize(
    "form",
    [
        lambda rows: (rows, 2 * rows),
        lambda rows: {"a": rows, "b": {"c": 2 * rows}},
        lambda rows: Output(rows, 2 * rows),
        lambda rows: [rows, None, [2 * rows, rows.argmax(1)]],
    ],
)
def test_of_other_outputs_only_the_error_is_taken_over_all_of_them(form: Callable[[Tensor], Any]) -> None:
    found = quality(Answers(LOGITS, form), numbered(5, LABELS), Answers(OTHER, form))
    assert found.error == pytest.approx(quality(Answers(LOGITS), numbered(5), Answers(OTHER)).error)
    assert (found.top1, found.agreement, found.divergence) == (None, None, None)


def test_a_single_score_row_in_a_container_is_a_classifier() -> None:
    found = quality(Answers(LOGITS, lambda rows: {"logits": rows}), numbered(5, LABELS), Answers(OTHER))
    assert found == quality(Answers(LOGITS), numbered(5, LABELS), Answers(OTHER))


def test_maps_are_no_classifier() -> None:
    found = quality(Answers([[[1.0, 2.0]]] * 5), numbered(5, LABELS), Answers([[[1.0, 1.0]]] * 5))
    assert found.top1 is None
    assert found.error == pytest.approx(0.5**0.5)


def test_a_detector_that_finds_more_has_no_error() -> None:
    more = Answers(LOGITS, lambda rows: [rows, rows])
    found = quality(more, numbered(5), Answers(OTHER, lambda rows: [rows, rows[:1]]))
    assert found.error is None
    assert quality(Answers([[0.0, 0.0]] * 2), numbered(2), Answers([[0.0, 0.0]] * 2)).error == 0.0
    assert quality(Answers([[0.0, 1.0]] * 2), numbered(2), Answers([[0.0, 0.0]] * 2)).error == float("inf")


@pytest.mark.parametrize(
    ("module", "labels", "message"),
    [
        (Answers([*LOGITS[:4], [float("nan"), 0.0, 0.0]]), LABELS, "outputs of it are NaN or Inf"),
        (Answers([*LOGITS[:4], [float("inf"), 0.0, 0.0]]), None, "outputs of it are NaN or Inf"),
        (Answers(LOGITS), [0, 0, 0, 0, 3], "the data has label 3, the network 3 classes"),
        (Answers(LOGITS, lambda rows: rows.view(7, 7)), None, "it does not run on 2 of the samples: shape"),
        (
            Answers(LOGITS, lambda rows: iter([rows])),
            None,
            "it does not run on 2 of the samples: forward returns",
        ),
    ],
)
def test_what_cannot_be_measured(module: nn.Module, labels: list[int] | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        quality(module, numbered(5, labels), Answers(OTHER))
    assert caught.value.message.startswith(message)
    assert caught.value.hint
    quality(Answers(LOGITS), numbered(5, LABELS), Answers(OTHER))
