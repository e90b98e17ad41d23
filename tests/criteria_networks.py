"""Small networks of every kind that the criteria that read data are checked on.

Where a weight mixes channels there are at most 16 positions per sample, so that Gram matrices use them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import half

from prunecli.assembly import all_tensors
from prunecli.coupling import trace
from prunecli.coupling.space import Group, Space
from prunecli.data import Batch, Samples
from prunecli.inputs import Inputs
from prunecli.proofs import pruned
from prunecli.surgery import cut

CLASSES = 4


class Residual(nn.Module):
    """Convolutions with BatchNorm around a residual stream, which a block (twice), a convolution with bias
    and the classifier read; there a unit owns four columns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.first, self.first_norm = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.second, self.second_norm = nn.Conv2d(5, 6, 1), nn.BatchNorm2d(6)
        self.side = nn.Conv2d(6, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(6 * 4 + 4 * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x)).relu()
        for _ in range(2):
            x = (x + self.second_norm(self.second(self.first_norm(self.first(x)).relu()))).relu()
        side = self.side(x).tanh()
        return self.head(torch.cat([F.max_pool2d(x, 2).flatten(1), side.flatten(1)], 1))


class Grouped(nn.Module):
    """Two groups, a depthwise convolution, three groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.pairs, self.pairs_norm = nn.Conv2d(8, 12, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(12)
        self.depthwise, self.norm = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12)
        self.mix = nn.Conv2d(12, 6, 1)
        self.triples = nn.Conv2d(6, 6, 3, padding=1, dilation=2, groups=3)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pairs_norm(self.pairs(self.stem(x).relu())).relu()
        x = F.silu(self.norm(self.depthwise(x)))
        return self.head(self.triples(self.mix(x).relu()).tanh().mean((2, 3)))


class Attention(nn.Module):
    """A vision transformer with one block: class token, position table, heads of size ``d``."""

    def __init__(self, w: int = 7, heads: int = 3, d: int = 2) -> None:
        super().__init__()
        self.d = d
        self.patches = nn.Conv2d(2, w, 2, stride=2)
        self.token, self.positions = nn.Parameter(torch.zeros(1, 1, w)), nn.Parameter(torch.zeros(1, 10, w))
        self.norm1 = nn.LayerNorm(w)
        self.q, self.k, self.v = (nn.Linear(w, heads * d) for _ in range(3))
        self.proj = nn.Linear(heads * d, w)
        self.norm2, self.up, self.down = nn.LayerNorm(w), nn.Linear(w, 8), nn.Linear(8, w)
        self.norm, self.head = nn.LayerNorm(w), nn.Linear(w, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        x = x + self.attend(self.norm1(x))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(self.norm(x)[:, 0])

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (-1, self.d)).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = (q @ k.mT * self.d**-0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class GroupedQueries(nn.Module):
    """Tokens attend with four queries to two keys, through torch's fused attention."""

    def __init__(self, w: int = 6, q: int = 4, kv: int = 2, d: int = 3) -> None:
        super().__init__()
        self.d = d
        self.embed, self.norm = nn.Linear(5, w), nn.LayerNorm(w)
        self.q, self.k, self.v = nn.Linear(w, q * d), nn.Linear(w, kv * d), nn.Linear(w, kv * d)
        self.out, self.head = nn.Linear(q * d, w, bias=False), nn.Linear(w, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        normed = self.norm(x)
        q, k, v = (f(normed).unflatten(-1, (-1, self.d)).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return self.head(x.tanh().mean(1))


class Transposed(nn.Module):
    """A small decoder: transposed convolutions, plain and of two groups. Without ``pooled`` it says something
    of every position.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pooled = True
        self.stem, self.stem_norm = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.up_norm = nn.BatchNorm2d(8)
        self.pairs = nn.ConvTranspose2d(8, 6, 3, padding=1, groups=2)
        self.out = nn.ConvTranspose2d(6, CLASSES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up_norm(self.up(self.stem_norm(self.stem(x)).relu())).relu()
        maps = self.out(F.gelu(self.pairs(x)))
        return maps.mean((2, 3)) if self.pooled else maps


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (3, 4, 4)),
    "grouped": (Grouped, (3, 4, 4)),
    "attention": (Attention, (2, 6, 6)),
    "grouped queries": (GroupedQueries, (6, 5)),
    "transposed": (Transposed, (3, 2, 2)),
}
"""With the shape of one sample."""


@dataclass(frozen=True)
class Case:
    """A network in float64 whose numbers float32 can hold, and samples with their labels, one by one."""

    module: nn.Module
    space: Space
    inputs: tuple[Tensor, ...]
    labels: tuple[int, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        """Those that are scored."""
        return tuple(group for group in self.space.groups if group.frozen is None)

    def samples(self, dtype: torch.dtype, labelled: bool = True) -> Samples:
        """Three to a batch, the rest in the last."""
        batches = []
        for start in range(0, len(self.inputs), 3):
            inputs = Inputs((torch.cat(self.inputs[start : start + 3]).to(dtype),))
            labels = torch.tensor(self.labels[start : start + 3])
            batches.append(Batch(inputs, labels if labelled else None))
        return Samples(tuple(batches), "test")

    def halved(self) -> Case:
        """What is left when half of everything is cut: the network of the second round."""
        keep = half(self.space)
        module = pruned(self.module, self.space, cut(all_tensors(self.module), self.space, keep), keep)
        sizes = {name: len(kept) for name, kept in keep.items()}
        return replace(self, module=module.double().eval(), space=self.space.resized(sizes))


def case(name: str, samples: int = 8, seed: int = 0) -> Case:
    """The network called ``name`` with seeded weights; heads and group counts may be cut."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        factory, shape = NETWORKS[name]
        module = factory()
        _settle(module)
        inputs = torch.randn(samples, *shape)
        labels = torch.randint(CLASSES, (samples,)).tolist()
    space = trace(module, (inputs[:2],), free=lambda group: True)
    return Case(module.double(), space, tuple(inputs.double().split(1)), tuple(labels))


def _settle(module: nn.Module) -> None:
    """No parameter at 0 or 1, no statistics at rest: every term of a score is there to be seen."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            nn.init.normal_(child.running_mean, std=0.3)
            nn.init.uniform_(child.running_var, 0.5, 1.5)
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.3, 1.2)
        else:
            nn.init.normal_(parameter, std=0.9 * parameter[0].numel() ** -0.5)
    module.eval()
