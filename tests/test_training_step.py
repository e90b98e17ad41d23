from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from training_examples import equal, loop_of, pictures, small

from prunecli.errors import ImpossibleError
from prunecli.losses import Loss
from prunecli.training.objective import Objective
from prunecli.training.step import Stepper, Sums

(BATCH,) = pictures(12).batches


class Forgetful(nn.Module):
    """A network that runs out of memory with more than ``most`` samples at once."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network = network
        self.most = most
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > self.most:
            torch.rand(7)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(x)


def stepper_of(network: nn.Module, **settings: object) -> Stepper:
    return loop_of(network, **{"momentum": 0.0, "batch_size": 12, **settings}).stepper  # type: ignore[arg-type]


def step(stepper: Stepper) -> Sums:
    torch.manual_seed(5)
    return stepper.step(BATCH)


def test_one_step_of_plain_sgd_written_out() -> None:
    network, twin = small(), small()
    sums = step(stepper_of(network, lr=0.1, weight_decay=0.0, label_smoothing=0.1))
    torch.manual_seed(5)
    scores = twin(BATCH.inputs.tensors[0])
    loss = functional.cross_entropy(scores, BATCH.labels, label_smoothing=0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in twin.parameters():
            assert parameter.grad is not None
            parameter -= 0.1 * parameter.grad
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-7)
    assert float(sums.loss) == pytest.approx(12 * loss.item(), rel=1e-6)
    assert float(sums.right) == int((scores.argmax(1) == BATCH.labels).sum())
    assert (sums.seen, sums.scored) == (12, 12)


@pytest.mark.parametrize("pieces", [2, 3, 5, 12])
def test_pieces_equal_the_whole_batch_in_float64_where_norms_do_not_see_it(pieces: int) -> None:
    whole, parts = (small("group", dropout=0.0).double() for _ in range(2))
    exact = BATCH.inputs.map(lambda t: t.double())
    batch = type(BATCH)(exact, BATCH.labels)
    stepper_of(whole, momentum=0.9).step(batch)
    split = stepper_of(parts, momentum=0.9)
    split.micro = -(-12 // pieces)
    split.step(batch)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-14)


def test_out_of_memory_halves_until_it_fits_and_says_so() -> None:
    network = Forgetful(small("group", dropout=0.0), 4)
    stepper = stepper_of(network)
    step(stepper)
    assert network.sizes == [12, 6, 3, 3, 3, 3]
    assert stepper.micro == 3
    assert len(stepper.notes) == 1
    assert "batches of 12 went through the network 3 samples at a time" in stepper.notes[0]
    assert "batch norms take the statistics of each piece" in stepper.notes[0]
    step(stepper)
    assert network.sizes[6:] == [3, 3, 3, 3]
    wanted = small("group", dropout=0.0)
    plain = stepper_of(wanted)
    step(plain)
    step(plain)
    assert plain.notes == []
    for one, other in zip(network.network.parameters(), wanted.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_what_was_drawn_before_memory_ran_out_is_drawn_again() -> None:
    once = Forgetful(small("group"), 6)
    stepper = stepper_of(once)
    step(stepper)
    told = Forgetful(small("group"), 6)
    other = stepper_of(told)
    other.micro = 6
    step(other)
    assert once.sizes == [12, 6, 6]
    assert equal(once, told)


def test_not_even_one_sample_is_one_line() -> None:
    with pytest.raises(ImpossibleError) as caught:
        step(stepper_of(Forgetful(small("group"), 0)))
    assert caught.value.message == "out of memory with a single sample"
    assert caught.value.exit_code == 4


def test_the_regularizer_acts_between_the_clipped_gradient_and_the_step() -> None:
    network = small()
    before = copy.deepcopy(network)
    norms: list[float] = []

    class Silence:
        def after_backward(self) -> None:
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))
            for gradient in gradients:
                gradient.zero_()

    stepper = loop_of(
        network, regularizer=Silence(), clip=1e-3, weight_decay=0.0, batch_size=12, lr=1.0
    ).stepper
    step(stepper)
    assert norms == pytest.approx([1e-3], rel=1e-3)
    for one, other in zip(network.parameters(), before.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_half_precision_is_near_to_full(amp: str) -> None:
    full, half = small(dropout=0.0), small(dropout=0.0)
    step(stepper_of(full))
    found = step(stepper_of(half, amp=amp))
    assert found.loss.dtype == torch.float64
    for one, other in zip(full.parameters(), half.parameters(), strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert torch.allclose(one, other, atol=5e-3)


def test_channels_last_computes_the_same() -> None:
    network, plain = small(dropout=0.0), small(dropout=0.0)
    seen: list[bool] = []
    network.first.register_forward_hook(
        lambda _, args, __: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    step(stepper_of(network, channels_last=True))
    step(stepper_of(plain))
    assert seen == [True]
    for one, other in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_without_labels_nothing_is_scored() -> None:
    (batch,) = pictures(12, labelled=False).batches
    stepper = loop_of(small(), objective=Objective(None, small(seed=3).eval(), 1.0)).stepper
    sums = stepper.step(batch)
    assert (sums.scored, sums.seen) == (0, 12)
    assert float(sums.loss) > 0


def test_sums_survive_a_file() -> None:
    sums = step(stepper_of(small()))
    again = Sums.from_json(sums.to_json(), torch.device("cpu"))
    assert again == sums
    assert sums.plus(again).seen == 24


def test_a_loss_of_the_users_gets_the_outputs_as_they_are() -> None:
    kinds: list[torch.dtype] = []

    def own(outputs: Tensor, labels: Tensor | None) -> Tensor:
        kinds.append(outputs.dtype)
        assert labels is not None
        return functional.cross_entropy(outputs.float(), labels)

    aim = Objective(Loss("own", function=own))
    loop_of(small(), objective=aim, amp="bf16", batch_size=12).stepper.step(BATCH)
    assert kinds == [torch.bfloat16]
