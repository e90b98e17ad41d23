from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

from prunecli.criteria.gradients import Gradients, Sums
from prunecli.criteria.passes import Passes
from prunecli.data.samples import Batch, Samples
from prunecli.errors import ImpossibleError, InputError
from prunecli.inputs import Inputs
from prunecli.losses import Loss
from prunecli.running.chunks import one_thread_each

CPU = torch.device("cpu")


class Net(nn.Module):
    """Small enough for an explicit Hessian; a norm and an attention are in it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 2)
        self.norm = nn.BatchNorm2d(3)
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).tanh().flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x.mean(1))


class Peeks(Net):
    """Its forward looks at a value, which vmap refuses."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.detach().sum()) > -1e9 else -x)


class One(Net):
    """It takes one sample at a time."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(1, 1, 3, 3).expand(2, 1, 3, 3)
        return super().forward(x)[:1]


def subject(kind: Callable[[], nn.Module] = Net, count: int = 11) -> tuple[nn.Module, Samples]:
    torch.manual_seed(0)
    net = kind().double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    x, labels = torch.randn(count, 1, 3, 3), torch.randint(0, 4, (count,))
    parts = [Batch(Inputs((x[:4],)), labels[:4]), Batch(Inputs((x[4:],)), labels[4:])]
    return net, Samples([part for part in parts if len(part)], "made")


def work(net: nn.Module, samples: Samples, what: Callable[[Gradients], Any], memory: int = 1 << 30) -> Any:
    with one_thread_each(CPU) as chunks:
        passes = Passes.over(net, samples, CPU, chunks, None)
        return what(Gradients(passes, Loss("cross-entropy"), memory)), passes.notes


def mean_loss(net: nn.Module, samples: Samples) -> Tensor:
    x = torch.cat([batch.inputs.tensors[0] for batch in samples.batches]).double()
    labels = torch.cat([batch.labels for batch in samples.batches if batch.labels is not None])
    # Twice each: of one sample alone torch 2.14 gets the gradient of the norm wrong (see the source).
    losses = []
    for one, label in zip(x, labels, strict=True):
        pair = net(torch.stack([one, one])) if type(net) is not One else net(one)
        losses.append(nn.functional.cross_entropy(pair, label.expand(len(pair))))
    return torch.stack(losses).mean()


def by_autograd(net: nn.Module, samples: Samples) -> list[Tensor]:
    return list(torch.autograd.grad(mean_loss(net, samples), list(net.parameters())))


def close(found: Sums, net: nn.Module, wanted: list[Tensor]) -> None:
    for (name, _), value in zip(net.named_parameters(), wanted, strict=True):
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("kind", [Net, Peeks, One])
@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_the_mean_gradient(kind: type[nn.Module], memory: int) -> None:
    net, samples = subject(kind)
    found, notes = work(net, samples, Gradients.mean, memory)
    close(found, net, by_autograd(net, samples))
    assert notes == (["samples went through the network one at a time: it takes no more"] * (memory > 1)
                     if kind is One else [])  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "noted"), [(Net, ""), (Peeks, "one sample at a time: vmap"), (One, "it takes no more")]
)
def test_gradients_of_single_samples(kind: type[nn.Module], noted: str) -> None:
    net, samples = subject(kind)

    def look(gradients: Sums) -> Sums:
        return {name: value.square().sum(0) for name, value in gradients.items()}

    found, notes = work(net, samples, lambda g: g.singles(look))
    each = [
        by_autograd(net, Samples((batch[i : i + 1],), "one"))
        for batch in samples.batches
        for i in range(len(batch))
    ]
    close(found, net, [torch.stack(column).square().mean(0) for column in zip(*each, strict=True)])
    assert (noted in notes[0]) if noted else not notes


def test_the_hessian_times_the_gradient() -> None:
    net, samples = subject()
    parameters = list(net.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        value = mean_loss(net, samples)
    first = torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters, create_graph=True)])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True) for entry in first]
    zeros = [torch.zeros_like(parameter) for parameter in parameters]
    full = [[z if g is None else g for g, z in zip(row, zeros, strict=True)] for row in rows]
    hessian = torch.stack([torch.cat([g.flatten() for g in row]) for row in full])
    wanted = (hessian @ first.detach()).split([p.numel() for p in parameters])
    found, _ = work(net, samples, lambda g: g.curvature(g.mean()))
    close(found, net, [w.reshape(p.shape) for w, p in zip(wanted, parameters, strict=True)])


def test_weights_do_not_make_chunks_small() -> None:
    # One sample keeps 4 KiB at most of each layer, the second weight is 2 MiB.
    net, told = nn.Sequential(nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 512)).double(), list[str]()
    samples = Samples([Batch(Inputs((torch.randn(8, 512),)), None)], "noise")
    with one_thread_each(CPU) as chunks:
        passes = Passes.over(net, samples, CPU, chunks, told.append)
        Gradients(passes, Loss("mse"), 1 << 17).mean()
    assert [line for line in told if line.startswith("gradients")] == [
        "gradients: 8 of 8 samples, about 0 s left"
    ]


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    net, samples = subject(count=40)
    net, before = net.float(), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found, _ = work(net, samples, lambda g: g.curvature(g.mean()), 40_000)
            results.append(found)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2 * ctx.saved_tensors[0]


class TwiceRefused(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Once.apply(self.stem.weight.sum()) * x)


class Dead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1)) * 0


class Broken(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / torch.zeros((), dtype=x.dtype)


def test_what_cannot_be_done_is_told() -> None:
    net, samples = subject(TwiceRefused)
    with pytest.raises(InputError, match="no second derivatives"):
        work(net, samples, lambda g: g.curvature(g.mean()))
    net, samples = subject(Dead)
    with pytest.raises(ImpossibleError, match="zero everywhere"):
        work(net, samples, Gradients.mean)
    net, samples = subject(Broken)
    with pytest.raises(InputError, match=r"the loss is (NaN|infinite) on samples 0 to 10"):
        work(net, samples, Gradients.mean)
    net, _ = subject()
    short = Samples((Batch(Inputs((torch.zeros(2, 1, 1, 1),)), torch.tensor([0, 1])),), "made")
    with pytest.raises(InputError, match="the network does not run on sample 0"):
        work(net, short, Gradients.mean)
