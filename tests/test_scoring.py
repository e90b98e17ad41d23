"""``prunecli.score`` against plain loops over units, written for one small network."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from resnet8 import IMAGE, Own, same_tensors
from torch import Tensor, nn

import prunecli
from prunecli.data import Batch, Samples
from prunecli.errors import ImpossibleError, InputError, UsageError
from prunecli.inputs import Inputs
from prunecli.report.figures import DataFacts
from prunecli.report.scored import Scoring


@pytest.fixture
def own() -> Own:
    torch.manual_seed(3)
    return Own(6).double()


def samples(labels: bool = True, count: int = 5) -> Samples:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, 32, 32, generator=generator, dtype=torch.float64)
    return Samples((Batch(Inputs((images,)), torch.arange(count) % 4 if labels else None),), "mine")


def scored(network: nn.Module, *criteria: str, **options: object) -> Scoring:
    example = IMAGE.to(next(network.parameters()).dtype)
    return prunecli.score(network, example_inputs=example, criteria=criteria, **options)  # type: ignore[arg-type]


def of(found: Scoring, group: str, criterion: str) -> Tensor:
    (row,) = (row for row in found.groups if row.name == group)
    return torch.tensor(row.scores[criterion], dtype=torch.float64)


def units(network: Own, tensors: dict[str, Tensor], k: int) -> Tensor:
    """All that unit ``k`` of the first convolution owns: its filter, its bias, and what takes it."""
    first, second = tensors["features.0.weight"][k], tensors["features.2.weight"][:, k]
    return torch.cat([first.flatten(), tensors["features.0.bias"][k : k + 1], second.flatten()])


def parameters(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in network.named_parameters()}


def gradients(network: nn.Module, image: Tensor, label: Tensor) -> dict[str, Tensor]:
    network = copy.deepcopy(network)
    nn.functional.cross_entropy(network(image), label).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def test_weights_and_data_in_one_call_by_plain_loops(own: Own) -> None:
    found = scored(own, "magnitude-l1", "taylor", "loss-preservation", normalize="none", data=samples())
    weights = parameters(own)
    l1 = torch.stack([units(own, weights, k).abs().sum() for k in range(6)])
    torch.testing.assert_close(of(found, "features.0", "magnitude-l1"), l1, rtol=1e-6, atol=0)
    (batch,) = samples().batches
    assert batch.labels is not None
    each = []
    for image, label in zip(batch.inputs.tensors[0], batch.labels, strict=True):
        gradient = gradients(own, image[None], label[None])
        products = {name: weights[name] * gradient[name] for name in weights}
        each.append(torch.stack([units(own, products, k).sum() for k in range(6)]))
    rows = torch.stack(each)
    torch.testing.assert_close(
        of(found, "features.0", "taylor"), rows.square().mean(0), rtol=1e-6, atol=1e-12
    )
    torch.testing.assert_close(
        of(found, "features.0", "loss-preservation"), rows.mean(0).abs(), rtol=1e-6, atol=1e-12
    )
    assert found.data == DataFacts("mine", 5, True)
    assert [(c.name, c.reduce, c.normalize, c.loss) for c in found.criteria] == [
        ("magnitude-l1", "sum", "none", None),
        ("taylor", "sum", "none", "cross-entropy"),
        ("loss-preservation", "sum", "none", "cross-entropy"),
    ]
    assert list(found.timings) == ["read", "trace", "data", "gather", "score"]


def test_a_criterion_alone_scores_as_among_others(own: Own) -> None:
    together = scored(own, "taylor", "obd-c", "grasp", "cp", "fisher", data=samples())
    for name in ("taylor", "obd-c", "grasp", "cp", "fisher"):
        alone = scored(own, name, data=samples())
        torch.testing.assert_close(of(alone, "features.0", name), of(together, "features.0", name))


def test_defaults_are_the_criterions_own(own: Own) -> None:
    found = scored(own, "magnitude-l2", "activation", data=samples(labels=False))
    assert [(c.reduce, c.normalize) for c in found.criteria] == [("sum", "mean"), ("mean", "mean")]
    assert float(of(found, "features.0", "magnitude-l2").mean()) == pytest.approx(1, rel=1e-6)
    assert found.data == DataFacts("mine", 5, False)


def test_the_network_is_left_as_it_was(own: Own) -> None:
    before = copy.deepcopy(own.train().state_dict())
    scored(own, "taylor", data=samples())
    assert own.training
    assert same_tensors(own.state_dict(), before)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in own.parameters())


def test_frozen_and_not_scorable_groups_are_told(own: Own) -> None:
    found = scored(own, "bn-scale", "magnitude-l2")
    rows = {row.name: row for row in found.groups}
    assert rows["features.0"].not_scorable == {"bn-scale": "no BatchNorm"}
    assert set(rows["features.0"].scores) == {"magnitude-l2"}
    (pair,) = found.correlations
    assert (pair.within, pair.groups, pair.across, pair.units) == (None, 0, None, 0)
    grouped = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(), nn.Linear(7200, 2)
    )
    frozen = [row for row in scored(grouped, "magnitude-l2").groups if row.frozen]
    assert [(row.kind, row.scores, row.not_scorable) for row in frozen] == [("convolution groups", {}, {})]


def test_correlations_are_of_the_scores_shown(own: Own) -> None:
    found = scored(own, "magnitude-l1", "magnitude-l2", "random")
    assert [(c.first, c.second) for c in found.correlations] == [
        ("magnitude-l1", "magnitude-l2"),
        ("magnitude-l1", "random"),
        ("magnitude-l2", "random"),
    ]
    a, b = (of(found, "features.0", name) for name in ("magnitude-l1", "random"))
    ranks = [values.argsort().argsort().double() for values in (a, b)]
    by_hand = 1 - 6 * float((ranks[0] - ranks[1]).square().sum()) / (6 * 35)
    others = [row for row in found.groups if row.scores and row.name != "features.0"]
    assert len(others) == 1
    other = scored(own, "magnitude-l1", "random", only=("features.2",)).correlations[0].within
    assert other is not None
    assert found.correlations[1].within == pytest.approx((by_hand + other) / 2)


def test_only_and_ignore_choose_the_groups(own: Own) -> None:
    assert [row.name for row in scored(own, "magnitude-l2", only=("features.0",)).groups] == ["features.0"]
    left = scored(own, "magnitude-l2", ignore=("features.0",))
    assert "features.0" not in [row.name for row in left.groups]
    whole = scored(own, "magnitude-l2")
    assert of(whole, "features.2", "magnitude-l2").equal(of(left, "features.2", "magnitude-l2"))
    with pytest.raises(UsageError, match=r"--only feature\.0 matches no layer"):
        scored(own, "magnitude-l2", only=("feature.0",))


def test_a_pruned_checkpoint_is_scored_as_its_module(saved: Path, checkpoint: Path) -> None:
    found = prunecli.score(saved, criteria=("magnitude-l2", "taylor"), data="digits", samples=8)
    module = prunecli.load(saved)
    again = prunecli.score(
        module, inputs=("3,32,32",), criteria=("magnitude-l2", "taylor"), data="digits", samples=8
    )
    assert found.groups == again.groups
    dense = {row.name: row.size for row in prunecli.score(checkpoint).groups}
    assert all(row.size <= dense[row.name] for row in found.groups)
    assert sum(row.size for row in found.groups) < sum(dense.values())


def test_distillation_needs_a_network_that_differs(checkpoint: Path, saved: Path) -> None:
    kd = {"loss": "kd", "criteria": ("loss-preservation",), "data": "digits", "samples": 8}
    found = prunecli.score(saved, against=checkpoint, temperature=4.0, **kd)  # type: ignore[arg-type]
    assert found.against is not None
    assert found.against.name == checkpoint.name
    assert found.criteria[0].loss == "kd at temperature 4"
    with pytest.raises(UsageError, match="--loss kd compares with another network") as caught:
        prunecli.score(saved, **kd)  # type: ignore[arg-type]
    assert caught.value.hint == "--against DENSE"
    with pytest.raises(UsageError, match="does not differ"):
        prunecli.score(checkpoint, against=checkpoint, **kd)  # type: ignore[arg-type]


def test_data_that_nothing_looks_at_is_not_read(own: Own) -> None:
    found = scored(own, "magnitude-l2", data="npz:missing.npz")
    assert found.data is None
    assert found.notes == ("--data was not read: no criterion here looks at data",)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"criteria": ()}, UsageError, "no criterion given"),
        ({"criteria": ("tailor",)}, UsageError, "unknown criterion 'tailor'"),
        ({"criteria": ("taylor",)}, UsageError, "criterion 'taylor' needs data"),
        ({"reduce": "summ"}, UsageError, "unknown reduction"),
        ({"normalize": "norm"}, UsageError, "unknown normalization"),
        ({"loss": "crossentropy"}, UsageError, "unknown loss"),
        ({"temperature": 0.0}, UsageError, "--temperature 0"),
        ({"seed": -1}, UsageError, "--seed -1"),
        ({"samples": 0}, UsageError, "--samples 0"),
        ({"memory": 10}, UsageError, "--memory is 10 bytes"),
        ({"threads": 0}, UsageError, "--threads 0"),
        ({"device": "cuda:99x"}, UsageError, "device"),
    ],
)
def test_wrong_usage_before_the_network_is_read(
    options: dict[str, object], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        prunecli.score(tmp_path / "missing.pth", **options)  # type: ignore[arg-type]


def test_what_cannot_be_scored(own: Own) -> None:
    with pytest.raises(InputError, match="label 9"):
        bad = samples()
        labels = torch.tensor([0, 1, 2, 3, 9])
        scored(own, "taylor", data=Samples((Batch(bad.batches[0].inputs, labels),), "bad"))
    with torch.no_grad():
        own.head.weight.zero_()
        own.head.bias.copy_(torch.tensor([800.0, 0, 0, 0]))
    right = Samples((Batch(samples().batches[0].inputs, torch.zeros(5, dtype=torch.int64)),), "right")
    with pytest.raises(ImpossibleError, match="zero"):
        scored(own, "loss-preservation", data=right)
    with torch.no_grad():
        own.features[0].weight[0] = torch.nan
    with pytest.raises(InputError, match=r"features\.0\.weight"):
        scored(own, "magnitude-l2")


def test_the_same_again(checkpoint: Path) -> None:
    first, again = (
        prunecli.score(checkpoint, criteria=("taylor", "thinet"), data="digits", samples=20, threads=threads)
        for threads in (1, 2)
    )
    assert first.groups == again.groups


class Attention(nn.Module):
    """The stream is as wide as heads times their size: ``C // heads`` ties all three."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Linear(5, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        n, tokens, width = x.shape
        parts = self.qkv(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(x + self.proj(y.transpose(1, 2).reshape(n, tokens, width)))


def test_heads_asked_for_alone_are_scored_though_their_number_is_tied_to_other_sizes() -> None:
    """A head owns rows of queries, keys and values with their biases, and columns of the projection."""
    torch.manual_seed(0)
    net = Attention()
    options = {"inputs": ("7,5",), "criteria": ("magnitude-l1",), "normalize": "none"}
    found = prunecli.score(net, only=("*:heads",), **options)  # type: ignore[arg-type]
    (row,) = found.groups
    assert (row.kind, row.size, row.frozen) == ("heads", 4, None)
    rows = net.qkv.weight.abs().sum(1) + net.qkv.bias.abs()
    wanted = rows.reshape(3, 4, 4).sum((0, 2)) + net.proj.weight.abs().sum(0).reshape(4, 4).sum(1)
    torch.testing.assert_close(torch.tensor(row.scores["magnitude-l1"]), wanted.detach())
