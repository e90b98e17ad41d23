from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from prunecli.data.samples import Batch
from prunecli.errors import InputError, UsageError
from prunecli.inputs import Inputs
from prunecli.losses import Loss, drawn, fitting_loss, required_difference, scores_in


def batch(count: int, labels: list[int] | None = None) -> Batch:
    given = torch.arange(count * 3, dtype=torch.float32).reshape(count, 3) / 7
    return Batch(Inputs((given,)), None if labels is None else torch.tensor(labels))


@dataclass
class Output:
    logits: Tensor
    note: str = "an output in a dataclass"


def value(loss: Loss, outputs: object, of: Batch) -> float:
    with torch.no_grad():
        return float(loss.value(outputs, loss.targets(outputs, of, 0), len(of)))


def test_cross_entropy_is_the_sum_over_samples() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    by_hand = sum(
        -float(torch.log(torch.exp(s[k]) / torch.exp(s).sum())) for s, k in zip(scores, (1, 0), strict=True)
    )
    assert value(Loss("cross-entropy"), scores, batch(2, [1, 0])) == pytest.approx(by_hand, rel=1e-6)
    assert value(Loss("cross-entropy"), Output(scores), batch(2, [1, 0])) == pytest.approx(by_hand, rel=1e-6)
    cold = sum(
        -float(torch.log(torch.exp(s[k] / 4) / torch.exp(s / 4).sum()))
        for s, k in zip(scores, (1, 0), strict=True)
    )
    assert value(Loss("cross-entropy", 4.0), scores, batch(2, [1, 0])) == pytest.approx(cold, rel=1e-6)


def test_a_loss_over_positions_is_their_mean() -> None:
    maps = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    loss = Loss("cross-entropy", seed=3)
    (labels,) = loss.targets(maps, batch(2), 0)
    assert labels.shape == (2, 12)
    by_torch = sum(
        float(nn.functional.cross_entropy(maps[i : i + 1], labels[i].reshape(1, 3, 4))) for i in range(2)
    )
    assert float(loss.value(maps, (labels,), 2)) == pytest.approx(by_torch, rel=1e-6)
    assert scores_in(torch.zeros(2, 7, 11), 2).shape == (2, 7, 11), "tokens before classes"


def test_labels_are_drawn_as_often_as_the_softmax_says_and_by_sample() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(20_000, 1)[:, None]
    labels = drawn(scores, 0, 0)[:, 0]
    share = torch.bincount(labels, minlength=4) / len(labels)
    assert torch.allclose(share, scores[0, 0].softmax(0), atol=0.012)
    assert torch.equal(drawn(scores[:50], 0, 100)[:, 0], labels[100:150]), "a sample's own number decides"
    assert not torch.equal(drawn(scores[:500], 1, 0)[:, 0], labels[:500])


def test_a_class_without_probability_is_never_drawn() -> None:
    scores = torch.tensor([[[float("-inf"), 0.0, float("-inf")]]]).repeat(300, 1, 1)
    assert set(drawn(scores, 0, 0).flatten().tolist()) == {1}


def test_mse_asks_for_the_output_and_noise() -> None:
    outputs = [torch.zeros(4, 50, 50), torch.ones(4, 7)]
    loss = Loss("mse", seed=1)
    noisy = loss.targets(outputs, batch(4), 0)
    assert abs(float(noisy[0].std()) - 1) < 0.05 and abs(float(noisy[1].mean()) - 1) < 1
    again = loss.targets([o[2:] for o in outputs], batch(2), 2)
    assert all(torch.equal(a, b[2:]) for a, b in zip(again, noisy, strict=True))
    by_hand = sum(float((t - o).square().sum()) / o[0].numel() for t, o in zip(noisy, outputs, strict=True))
    assert float(loss.value(outputs, noisy, 4)) == pytest.approx(by_hand, rel=1e-5)


def test_mse_to_labels_is_that_to_one_hot_rows() -> None:
    scores = torch.tensor([[1.0, 2.0], [0.0, 0.5]])
    assert value(Loss("mse"), scores, batch(2, [1, 0])) == pytest.approx((1 + 1) / 2 + (1 + 0.25) / 2)


def test_distillation_is_zero_for_the_teacher_and_positive_elsewhere() -> None:
    torch.manual_seed(0)
    teacher, student = nn.Linear(3, 4), nn.Linear(3, 4)
    of = batch(5)
    loss = Loss("kd", 2.0, teacher=teacher)
    assert value(loss, of.inputs.run(teacher), of) == pytest.approx(0, abs=1e-6)
    wanted, found = (of.inputs.run(net).detach().div(2).softmax(1) for net in (teacher, student))
    by_hand = float((wanted * (wanted / found).log()).sum())
    assert value(loss, of.inputs.run(student), of) == pytest.approx(by_hand, rel=1e-4)
    required_difference(student, teacher)
    with pytest.raises(UsageError, match="does not differ"):
        required_difference(teacher, teacher)


def test_the_users_function_gives_the_mean_of_a_batch() -> None:
    loss = Loss("mine.py:loss", function=lambda out, labels: (out[:, 0] * labels).mean())
    scores = torch.tensor([[1.0, 9.0], [3.0, 9.0]])
    assert value(loss, scores, batch(2, [1, 2])) == pytest.approx(7.0)
    unlabelled = Loss("mine.py:loss", function=lambda out, labels: out.sum() if labels is None else None)
    assert value(unlabelled, scores, batch(2)) == pytest.approx(44.0)
    with pytest.raises(InputError, match=r"a tensor of shape \[2\], not one number"):
        value(Loss("mine.py:loss", function=lambda out, labels: out[:, 0]), scores, batch(2))
    with pytest.raises(InputError, match="a str, not one number"):
        value(Loss("mine.py:loss", function=lambda out, labels: "no"), scores, batch(2))


@pytest.mark.parametrize(
    ("loss", "outputs", "labels", "text"),
    [
        (Loss("cross-entropy"), torch.zeros(2, 3), [0, 3], "label 3, the network 3 classes"),
        (Loss("cross-entropy"), torch.zeros(2, 3, 4, 4), [0, 1], "predicts 16 classes for each"),
        (Loss("cross-entropy"), torch.zeros(3), [0, 1], "not one row of scores"),
        (Loss("cross-entropy"), torch.zeros(2, 3, dtype=torch.int64), [0, 1], "no floating output"),
        (Loss("mse"), [torch.zeros(2, 3), torch.zeros(2, 3)], [0, 1], "needs one output"),
        (Loss("kd", teacher=nn.Linear(3, 5)), torch.zeros(2, 4), None, r"gives \[2, 1, 5\]"),
    ],
)
def test_what_does_not_fit_is_refused(
    loss: Loss, outputs: object, labels: list[int] | None, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        loss.targets(outputs, batch(2, labels), 0)


def test_the_loss_that_suits_an_output() -> None:
    assert fitting_loss(torch.zeros(2, 10), 2) == "cross-entropy"
    assert fitting_loss(Output(torch.zeros(2, 10)), 2) == "cross-entropy"
    assert fitting_loss(torch.zeros(2, 1), 2) == "mse"
    assert fitting_loss(torch.zeros(2, 10, 4, 4), 2) == "mse"
    assert fitting_loss([torch.zeros(2, 10), torch.zeros(2, 10)], 2) == "mse"
