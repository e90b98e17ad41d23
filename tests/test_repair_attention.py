"""Which outputs of which projection the queries are, and where they meet the keys."""

from __future__ import annotations

import pytest
import torch
from attentions import FOLLOWED, HEADS, LEFT, LEFT_IN_A_BATCH, Attention, operands
from torch import Tensor, nn

from prunecli.inputs import Inputs
from prunecli.repair.lockstep import Forward
from prunecli.repair.operations import Operation
from prunecli.repair.survey import survey
from prunecli.running.calls import Call


def of_logits(net: nn.Module, x: Tensor) -> list[Operation]:
    found = survey(net.eval(), Inputs((x,)))
    assert found.queries == {op.ordinal for op in found.operations if op.kind == "logits"}
    return [op for op in found.operations if op.kind == "logits"]


@pytest.mark.parametrize("way", FOLLOWED)
def test_queries_that_are_outputs_of_a_projection(way: str) -> None:
    net, x = Attention(way), torch.randn(2, 6, 5)
    (found,) = of_logits(net, x)
    maker = "many.in_proj_weight" if way.startswith("multihead") else "qkv.weight"
    assert found.name == ("q.weight" if hasattr(net, "q") else maker)
    assert (found.rows, found.columns, found.outputs) == (2 * HEADS * 6, 8, HEADS)


@pytest.mark.parametrize("way", LEFT)
def test_queries_that_are_something_else(way: str) -> None:
    assert of_logits(Attention(way), torch.randn(1, 7, 5)) == []


@pytest.mark.parametrize("way", LEFT_IN_A_BATCH)
def test_queries_that_are_something_else_where_there_are_more_samples(way: str) -> None:
    assert len(of_logits(Attention(way), torch.randn(1, 7, 5))) == 1
    assert of_logits(Attention(way), torch.randn(2, 7, 5)) == []


def stops(net: nn.Module, x: Tensor) -> list[tuple[Call, Tensor | None]]:
    """All operations of a run, with logits."""
    wanted = survey(net.eval(), Inputs((x,))).queries
    forward = Forward(net, Inputs((x,)), early=False, queries=wanted)
    found = []
    while (stop := forward.advance()) is not None:
        found.append(stop)
    forward.close()
    return found


@pytest.mark.parametrize("way", FOLLOWED)
def test_a_run_stops_at_the_logits_and_knows_where_each_query_came_from(way: str) -> None:
    net, x = Attention(way), torch.randn(3, 6, 5)
    met = stops(net, x)
    ((here, result),) = [stop for stop in met if stop[0].kind == "logits"]
    assert result is None
    assert here.heads is not None
    (made,) = [out for call, out in met if call.name == here.name and call.kind != "logits"]
    assert made is not None
    outputs = made.movedim(1, -1).flatten(0, -2) if way == "convolution" else made
    if way.startswith("multihead"):
        outputs = outputs.flatten(0, -2) + net.many.in_proj_bias
    q, k, scale = operands(net, x)
    heads = here.heads
    gathered = outputs[heads.rows[:, :, None], heads.channels[:, None]]
    factor = (q / gathered).median()
    assert torch.allclose(gathered * factor, q, atol=1e-5)
    assert torch.allclose(here.x.reshape(q.shape), q, atol=1e-6)
    assert torch.allclose(here.weight.reshape(k.shape), k, atol=1e-6)
    assert heads.scale == pytest.approx(scale)


class Ways(nn.Module):
    """What a projection's output may go through that is no longer whole queries of one head."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.q, self.k = nn.Linear(8, 12), nn.Linear(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.q(x), self.k(x)
        match self.way:
            case "tokens are features":
                return torch.bmm(q.mT, k)
            case "with itself":
                return torch.bmm(q, q.mT)
            case "twice":
                return torch.bmm(q, k.mT) + torch.bmm(q, k.mT.relu())
            case "rectified":
                return torch.bmm(q.relu(), k.mT)
            case "overlapping heads":
                return torch.cat([torch.bmm(q[..., :8], k[..., :8].mT), torch.bmm(q[..., 4:], k[..., 4:].mT)])
            case "repeated":
                n = x.shape[0]
                return torch.bmm(q[:1].expand(n, -1, -1), k.mT)
            case "keys in place":
                k *= 2
                return torch.bmm(q, k.mT)
            case "divided":
                return torch.bmm(q / 3, k.mT)
            case "by a temperature":
                return torch.bmm(q * self.k.bias[:1], k.mT)
        raise AssertionError(self.way)


@pytest.mark.parametrize(
    "way", ["tokens are features", "with itself", "twice", "rectified", "overlapping heads", "repeated"]
)
def test_what_a_change_of_the_queries_of_one_head_could_not_be_written_into(way: str) -> None:
    assert of_logits(Ways(way), torch.randn(2, 5, 8)) == []


@pytest.mark.parametrize("way", ["keys in place", "divided", "by a temperature"])
def test_what_does_no_harm(way: str) -> None:
    assert [op.outputs for op in of_logits(Ways(way), torch.randn(2, 5, 8))] == [1]


def test_grouped_queries_of_the_fused_operator() -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.kv = nn.Linear(6, 16), nn.Linear(6, 16)

        def forward(self, x: Tensor) -> Tensor:
            q = self.q(x).unflatten(-1, (4, 4)).transpose(1, 2)
            k, v = self.kv(x).unflatten(-1, (2, 2, 4)).permute(2, 0, 3, 1, 4)
            return nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    (found,) = of_logits(Grouped(), torch.randn(2, 5, 6))
    assert (found.name, found.outputs) == ("q.weight", 4)


def test_the_survey_holds_no_activations_for_it() -> None:
    """Queries and keys of a block are gone when the next one begins."""
    bytes_of = [
        survey(
            nn.Sequential(*(Block() for _ in range(count))).eval(), Inputs((torch.randn(1, 300, 32),))
        ).bytes
        for count in (2, 8)
    ]
    assert bytes_of[1] < 1.2 * bytes_of[0]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
        return self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
