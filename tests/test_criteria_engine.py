from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunecli.coupling import trace
from prunecli.criteria import Criterion, gather, score
from prunecli.criteria.evidence import NOTHING
from prunecli.criteria.registry import CRITERIA, criteria, register_criterion
from prunecli.data.samples import Batch, Samples
from prunecli.errors import InputError, UsageError
from prunecli.inputs import Inputs
from prunecli.losses import Loss


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.mid, self.head = nn.Conv2d(5, 4, 1), nn.Linear(4, classes)
        self.runs = []

    def forward(self, x: Tensor) -> Tensor:
        self.runs.append(len(x))
        x = self.mid(self.norm(self.stem(x)).relu()).relu()
        return self.head(x.mean((2, 3)))


def subject(labelled: bool = True, classes: int = 3) -> tuple[Net, Samples]:
    torch.manual_seed(0)
    net = Net(classes).eval()
    x, labels = torch.randn(20, 1, 4, 4), torch.randint(0, 3, (20,))
    return net, Samples((Batch(Inputs((x,)), labels if labelled else None),), "made")


def data_driven() -> list[str]:
    return [name for name, criterion in criteria().items() if criterion.needs]


def test_together_criteria_score_as_each_alone() -> None:
    net, samples = subject()
    space = trace(net, (samples.batches[0].inputs.tensors[0][:1],))
    names = data_driven()
    assert len(names) >= 13
    together = gather(net, space, samples, names)
    for name in names:
        alone = gather(net, space, samples, [name])
        a, b = (score(space, dict(net.named_parameters()), name, evidence=e) for e in (together, alone))
        assert a.by_group.keys() == b.by_group.keys()
        for group, values in a.by_group.items():
            # Gradients of all samples may come from those of each.
            assert torch.allclose(values, b.by_group[group], rtol=1e-3, atol=1e-7), (name, group)


def test_the_network_is_left_as_it_was() -> None:
    net, samples = subject()
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    space = trace(net, (samples.batches[0].inputs.tensors[0][:1],))
    net.runs.clear()
    gather(net, space, samples, data_driven())
    assert net.training and not net.runs
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_what_nobody_asks_for_is_not_computed() -> None:
    net, samples = subject()
    space = trace(net, (samples.batches[0].inputs.tensors[0][:1],))
    assert gather(net, space, samples, ["magnitude-l2", "fpgm"]) is NOTHING
    found = gather(net, space, samples, ["activation"])
    assert found.inputs and not (found.gradient or found.ranks or found.grams)
    found = gather(net, space, samples, ["loss-preservation"])
    assert found.gradient and not (found.curvature or found.squared_gradient or found.inputs)
    assert found.samples == 20


def test_a_loss_that_suits_the_outputs_is_taken_and_said() -> None:
    net, samples = subject(labelled=False)
    space = trace(net, (samples.batches[0].inputs.tensors[0][:1],))
    drawn = gather(net, space, samples, ["loss-preservation"], seed=1)
    assert not drawn.notes
    explicit = gather(net, space, samples, ["loss-preservation"], loss=Loss("cross-entropy", seed=1))
    assert torch.equal(drawn.gradient["head.weight"], explicit.gradient["head.weight"])
    other = gather(net, space, samples, ["loss-preservation"], seed=2)
    assert not torch.equal(drawn.gradient["head.weight"], other.gradient["head.weight"])
    net, samples = subject(labelled=False, classes=1)
    found = gather(net, space, samples, ["loss-preservation"])
    assert found.notes == ("--loss mse was taken: the output is not one row of scores per sample",)


def test_the_way_to_reduce_is_that_of_the_criterion_unless_told() -> None:
    net, samples = subject()
    space = trace(net, (samples.batches[0].inputs.tensors[0][:1],))
    tensors = dict(net.named_parameters())
    scores = {}
    for reduce in (None, "sum", "mean", "first"):
        evidence = gather(net, space, samples, ["taylor"], reduce=reduce)
        scores[reduce] = score(space, tensors, "taylor", reduce=reduce, evidence=evidence).by_group["stem"]
    assert torch.equal(scores[None], scores["sum"])
    slots = len(space.by_name["stem"].slots)
    assert torch.allclose(scores["mean"] * slots**2, scores["sum"], rtol=1e-5)
    assert not torch.allclose(scores["first"], scores["sum"], rtol=0.01)


def test_a_criterion_of_somebody_else() -> None:
    net, samples = subject()
    space = trace(net, (samples.batches[0].inputs.tensors[0][:1],))
    register_criterion(
        Criterion(
            "largest-gradient", "for this test", "nobody", lambda slot: slot.sum(slot.gradient.abs()),
            needs=frozenset({"gradient"}),
        )
    )  # fmt: skip
    try:
        evidence = gather(net, space, samples, ["largest-gradient"])
        found = score(
            space, dict(net.named_parameters()), "largest-gradient", evidence=evidence, normalize="none"
        )
        gradient = {name: value.abs() for name, value in evidence.gradient.items()}
        by_hand = gradient["stem.weight"].sum((1, 2, 3)) + gradient["mid.weight"].sum((0, 2, 3))
        by_hand = by_hand + gradient["stem.bias"] + gradient["norm.weight"] + gradient["norm.bias"]
        assert torch.allclose(found.by_group["stem"].double(), by_hand, rtol=1e-5)
    finally:
        del CRITERIA["largest-gradient"]
    with pytest.raises(ValueError, match="needs telepathy, which is not one of gradient"):
        register_criterion(Criterion("odd", "", "", lambda slot: None, needs=frozenset({"telepathy"})))


def test_a_criterion_without_its_data_is_refused() -> None:
    net, samples = subject()
    space = trace(net, (samples.batches[0].inputs.tensors[0][:1],))
    with pytest.raises(UsageError, match="criterion 'taylor' needs data"):
        score(space, dict(net.named_parameters()), "taylor")
    with pytest.raises(UsageError, match="unknown criterion 'tailor'"):
        gather(net, space, samples, ["tailor"])
    wrong = Samples((Batch(samples.batches[0].inputs, torch.full((20,), 7)),), "made")
    with pytest.raises(InputError, match="label 7, the network 3 classes"):
        gather(net, space, wrong, ["taylor"])
