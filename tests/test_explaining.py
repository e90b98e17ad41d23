"""explain(): names, slices, ties and patches, against what can be said by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gqa
import pytest
import torch
from torch import Tensor, nn
from tracing import Net

import prunecli
from prunecli import Explanation, UsageError
from prunecli.coupling.axes import Concat, Fixed, Product, Units
from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Bundle, Member
from prunecli.explaining import _ties, axis_in_words, in_words
from prunecli.report.model import TieRow

QUERY = "layers.0.attn.q_proj"
OUT = f"units of {QUERY}:heads x units of {QUERY}:heads#2 x units of {QUERY}"


def of(module: nn.Module, name: str, *shape: int) -> Explanation:
    return prunecli.explain(module, name, example_inputs=torch.zeros(shape))


def slices(found: Explanation, group: str) -> list[tuple[str, int, str, str]]:
    explained = next(one for one in found.groups if one.row.name == group)
    return [(row.tensor, row.dim, row.role, row.axis) for row in explained.slices]


@pytest.fixture(scope="module")
def chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 1)
    )


def test_a_group_is_all_its_slices_and_the_buffers_that_follow(chain: nn.Module) -> None:
    found = of(chain.eval(), "0", 1, 3, 8, 8)
    assert slices(found, "0") == [
        ("0.weight", 0, "out", "units of 0"),
        ("0.bias", 0, "bias", "units of 0"),
        ("1.weight", 0, "norm", "units of 0"),
        ("1.bias", 0, "norm", "units of 0"),
        ("3.weight", 1, "in", "units of 0"),
        ("1.running_mean", 0, "buffer", "units of 0"),
        ("1.running_var", 0, "buffer", "units of 0"),
    ]
    (group,) = found.groups
    assert group.row.status == "prunable"
    assert {"0.out_channels = 0 (now 4)", "1.num_features = 0 (now 4)", "3.in_channels = 0 (now 4)"} == set(
        group.patches
    )
    assert [(use.where, use.effect) for use in group.uses] == [
        ("0", "makes"), ("1", "passes"), ("2", "passes"), ("3", "takes")
    ]  # fmt: skip
    assert group.ties == () == group.guards


def test_a_layer_is_its_dimensions_with_the_reason_for_those_that_stay(chain: nn.Module) -> None:
    found = of(chain.eval(), "4", 1, 3, 8, 8)
    rows = [(row.tensor, row.dim, row.size, row.axis, row.reason) for row in found.slices]
    assert rows == [
        ("4.weight", 0, 2, "2", "the network's output"),
        ("4.weight", 1, 6, "units of 3", None),
        ("4.weight", 2, 1, "1", None),
        ("4.weight", 3, 1, "1", None),
        ("4.bias", 0, 2, "2", "the network's output"),
    ]
    assert [group.row.name for group in found.groups] == ["3"]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        (
            "layers.0",
            ["embed", f"{QUERY}:heads", f"{QUERY}:heads#2", QUERY, "layers.0.attn.v_proj", "layers.0.up"],
        ),
        ("layers.0.up", ["layers.0.up"]), ("layers.0.down", ["embed", "layers.0.up"]),
        ("layers.0.up.weight", ["embed", "layers.0.up"]), ("layers.0.norm1.bias", ["embed"]),
        ("layers.*.up", ["embed", "layers.0.up", "layers.1.up"]), (f"{QUERY}:heads", [f"{QUERY}:heads"]),
        ("*:heads", [f"{QUERY}:heads", f"{QUERY.replace('0', '1')}:heads"]), ("head", ["embed"]),
    ],
)  # fmt: skip
def test_names_of_groups_modules_parameters_and_globs(name: str, groups: list[str]) -> None:
    found = of(gqa.build(), name, *gqa.INPUT)
    assert [group.row.name for group in found.groups] == groups


def test_a_module_without_parameters_is_what_passes_it(chain: nn.Module) -> None:
    found = of(chain.eval(), "2", 1, 3, 8, 8)
    assert found.slices == ()
    assert [group.row.name for group in found.groups] == ["0"]


def test_grouped_queries_in_words() -> None:
    found = of(gqa.build(), QUERY, *gqa.INPUT)
    assert slices(found, QUERY)[:3] == [
        (f"{QUERY}.weight", 0, "out", OUT),
        (f"{QUERY}.bias", 0, "bias", OUT),
        ("layers.0.attn.k_proj.weight", 0, "out", f"units of {QUERY}:heads x units of {QUERY}"),
    ]
    (group,) = found.groups
    assert group.row.kind == "head dimension"
    assert "attention is scaled" in (group.row.value_changing or "")
    assert [(tie.group, tie.stride, tie.other) for tie in group.ties] == [("layers.0.attn.v_proj", 1, 1)]
    assert "layers.0.attn" in (group.tied_by or "")
    assert "layers.0.attn.head_dim = layers.0.attn.q_proj (now 6)" in group.patches
    heads = of(gqa.build(), f"{QUERY}:heads", *gqa.INPUT).groups[0]
    assert (heads.row.status, heads.row.kind) == ("whole", "kv heads")
    assert "heads are left whole unless asked for" in (heads.row.reason or "")


def test_beside_heads_that_are_left_whole_the_rest_says_why_it_stays() -> None:
    """Rotary tables: neither the number of heads nor their size can change."""

    def rotary(net: Any, x: Tensor) -> Tensor:
        q, k = (layer(x).view(2, 5, net.heads, -1).transpose(1, 2) for layer in (net.q, net.k))
        table = torch.outer(torch.arange(5.0), torch.arange(1.0, 5.0)).cos()
        seen = ((q * table) @ (k * table).transpose(-2, -1)).softmax(-1)
        return net.last((seen @ x[:, None]).sum(1))

    net = Net(rotary, q=nn.Linear(6, 12), k=nn.Linear(6, 12), last=nn.Linear(6, 2), heads=3)
    row = of(net, "q", 2, 5, 6).slices[0]
    assert (row.role, row.axis) == ("out", "units of q:heads x 4")
    assert "it meets a constant tensor of the network" in (row.reason or "")


def test_ties_and_guards() -> None:
    def halves(net: Any, x: Tensor) -> Tensor:
        both = net.both(x)
        a, b = both.chunk(2, 1)
        assert both.shape[1] > 4
        return net.last(a * torch.sigmoid(b))

    net = Net(halves, both=nn.Conv2d(3, 8, 1), last=nn.Conv2d(4, 2, 1))
    found = of(net, "both", 1, 3, 5, 5)
    (group,) = [one for one in found.groups if one.row.name == "both"]
    assert group.guards == ("2 x both > 4, for the network's forward",)
    assert [(row.tensor, row.axis) for row in group.slices][:1] == [
        ("both.weight", "units of both + units of both")
    ]


def test_sizes_on_a_ladder_have_no_proportion() -> None:
    ladder = Bundle((Member("x", 1), Member("y", 1)), "product", ((2, 1), (4, 2)))
    assert _ties(ladder, "x") == (TieRow("y", None, None),)
    assert _ties(Bundle((Member("x", 2), Member("y", 3))), "y") == (TieRow("x", 3, 2),)


def test_a_tied_weight_is_named_where_it_is_cut() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
            self.first = nn.Linear(3, 6)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.b(torch.relu(self.a(self.first(x)))))

    found = of(Tied().eval(), "b.weight", 2, 3)
    assert {row.role for row in found.slices} == {"tied"}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("layers.0.upp", "layers.0.up"), ("lyers.0.attn", "layers.0.attn"), ("embd", "embed")],
)
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"unknown group, layer or parameter '{name}'") as caught:
        of(gqa.build(), name, *gqa.INPUT)
    assert nearest in (caught.value.hint or "")


def test_a_file_is_explained_like_its_module(checkpoint: Path) -> None:
    found = prunecli.explain(checkpoint, "conv1")
    assert found.checkpoint is not None
    assert found.to_json()["schema"] == "prunecli.explain/1"
    assert [group.row.name for group in found.groups] == ["conv1"]


def test_expressions_in_words() -> None:
    a, b = Units("a"), Units("b")
    assert axis_in_words(Product((Fixed(3), a))) == "3 x units of a"
    assert axis_in_words(Concat((a, Fixed(2), Product((b, a))))) == "units of a + 2 + units of b x units of a"
    assert axis_in_words(Product((Concat((a, b)), Fixed(4)))) == "(units of a + units of b) x 4"
    x, y = Polynomial.variable("x"), Polynomial.variable("y")
    assert in_words(Polynomial.constant(3) * x * y - y + Polynomial.constant(2)) == "3 x x x y - y + 2"
    assert in_words(Polynomial.constant(-2) * x - Polynomial.constant(1)) == "-2 x x - 1"
    assert in_words(x) == "x"
    assert in_words(Polynomial({})) == "0"
