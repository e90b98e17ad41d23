from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from training_examples import pictures, small

from prunecli.data.samples import Batch
from prunecli.errors import InputError, UsageError
from prunecli.inputs import Inputs
from prunecli.losses import Loss
from prunecli.training.objective import Objective, divergence, objective, squared_difference
from prunecli.training.settings import Settings

SCORES = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 2, 1, 2])
BATCH = Batch(Inputs((torch.zeros(4, 1, 6, 6),)), LABELS)


def by_hand(scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """T^2 sum over samples of sum over classes p (log p - log q)."""
    p = (wanted / temperature).exp() / (wanted / temperature).exp().sum(1, keepdim=True)
    q = (scores / temperature).exp() / (scores / temperature).exp().sum(1, keepdim=True)
    return temperature**2 * (p * (p.log() - q.log())).sum()


def test_the_divergence_and_its_gradient_are_those_of_the_formula() -> None:
    scores, again = (SCORES.clone().requires_grad_() for _ in range(2))
    found = divergence(scores[:, None], OTHER[:, None], 4.0)
    wanted = by_hand(again, OTHER, 4.0)
    found.backward()  # type: ignore[no-untyped-call]
    wanted.backward()  # type: ignore[no-untyped-call]
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert scores.grad is not None and again.grad is not None
    assert torch.allclose(scores.grad, again.grad, rtol=1e-10, atol=1e-14)
    # In closed form: T (q - p).
    p, q = (OTHER / 4).softmax(1), (SCORES / 4).softmax(1)
    assert torch.allclose(scores.grad, 4 * (q - p), rtol=1e-10, atol=1e-14)


def test_labels_and_the_dense_network_share_the_loss() -> None:
    teacher = nn.Identity()
    aim = Objective(Loss("cross-entropy", smoothing=0.1), teacher, 0.3, 2.0)
    found = aim.value(SCORES, BATCH, OTHER)
    on_labels = functional.cross_entropy(SCORES, LABELS, label_smoothing=0.1, reduction="sum")
    assert float(found) == pytest.approx(float(0.7 * on_labels + 0.3 * by_hand(SCORES, OTHER, 2.0)))


def test_micro_batches_add_up() -> None:
    aim = Objective(Loss("cross-entropy"), nn.Identity(), 0.5)
    parts = [aim.value(SCORES[at], BATCH[at], OTHER[at]) for at in (slice(0, 1), slice(1, 4))]
    assert float(torch.stack(parts).sum()) == pytest.approx(float(aim.value(SCORES, BATCH, OTHER)))


def test_other_outputs_are_compared_by_their_squares() -> None:
    maps, other = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    aim = Objective(None, nn.Identity(), 1.0, scores=False)
    assert float(aim.value(maps, BATCH[:2], other)) == pytest.approx(
        float((maps - other).square().mean() * 2)
    )
    with pytest.raises(InputError, match="the dense network gives"):
        squared_difference(maps, other[:, :2])
    with pytest.raises(InputError, match=r"the dense network gives \[4, 1, 2\]"):
        Objective(None, nn.Identity(), 1.0).value(SCORES, BATCH, OTHER[:, :2])


def chosen(labelled: bool, teacher: nn.Module | None, **settings: object) -> Objective:
    return objective(Settings.of(settings), SCORES, 4, labelled, teacher)


def test_what_is_made_small() -> None:
    teacher = small()
    plain = chosen(True, None, label_smoothing=0.2)
    assert plain.loss is not None
    assert (plain.loss.name, plain.loss.smoothing, plain.share, plain.teacher) == (
        "cross-entropy",
        0.2,
        0,
        None,
    )
    both = chosen(True, teacher)
    assert (both.share, both.temperature, both.teacher) == (0.5, 4.0, teacher)
    assert chosen(False, teacher).loss is None
    assert chosen(False, teacher).share == 1.0
    assert chosen(True, teacher, distill=1.0).loss is None
    assert chosen(True, teacher, distill=0.0).teacher is None
    with pytest.raises(UsageError, match="no labels, and there is no dense network"):
        chosen(False, None)
    with pytest.raises(UsageError, match="unknown loss 'mes'"):
        chosen(True, None, loss="mes")


def test_a_loss_of_the_users(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def third(outputs, labels):\n    return outputs[:, 2].mean()\n", encoding="utf-8")
    aim = chosen(True, None, loss=f"{file}:third")
    assert float(aim.value(SCORES, BATCH, None)) == pytest.approx(float(SCORES[:, 2].sum()))


def test_the_dense_network_gives_no_gradient() -> None:
    teacher = small().eval()
    (batch,) = pictures(4).batches
    assert not Objective(None, teacher, 1.0).taught(batch).requires_grad
    assert Objective(Loss("mse")).taught(batch) is None
