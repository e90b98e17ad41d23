"""Every layer that torch.nn offers, between two others: what is around it is pruned and stays what it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint, checkpoint_sequential
from tracing import Net, check, check_macs, check_on, example, free, slots

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POSITIONS = {1: (8,), 2: (6, 6), 3: (4, 4, 4)}

# By number of spatial dimensions; 0 stands for features of a linear layer. Widths in and out of the layer.
POINTWISE = [
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU,
    nn.LogSigmoid, nn.Mish, nn.RReLU, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus,
    nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Identity, nn.PReLU, nn.Dropout, nn.AlphaDropout,
    nn.FeatureAlphaDropout,
]  # fmt: skip
LAYERS: dict[str, tuple[int, int, Callable[[], nn.Module]]] = {
    **{kind.__name__: (0, 8, kind) for kind in POINTWISE},
    "Threshold": (0, 8, lambda: nn.Threshold(0.1, 0.0)),
    "Softmax": (0, 8, lambda: nn.Softmax(-1)),
    "Softmin": (0, 8, lambda: nn.Softmin(-1)),
    "LogSoftmax": (0, 8, lambda: nn.LogSoftmax(-1)),
    "Softmax2d": (2, 8, nn.Softmax2d),
    "GLU": (0, 4, nn.GLU),
    "Linear": (0, 6, lambda: nn.Linear(8, 6)),
    "LayerNorm": (0, 8, lambda: nn.LayerNorm(8)),
    "RMSNorm": (0, 8, lambda: nn.RMSNorm(8)),
    "GroupNorm": (1, 8, lambda: nn.GroupNorm(2, 8)),
    "LocalResponseNorm": (2, 8, lambda: nn.LocalResponseNorm(3)),
    "SyncBatchNorm": (2, 8, lambda: nn.SyncBatchNorm(8)),
    "Flatten": (0, 8, nn.Flatten),
    "Unflatten": (0, 2, lambda: nn.Unflatten(1, (4, 2))),
    "ChannelShuffle": (2, 8, lambda: nn.ChannelShuffle(2)),
    "PixelShuffle": (2, 2, lambda: nn.PixelShuffle(2)),
    "PixelUnshuffle": (2, 32, lambda: nn.PixelUnshuffle(2)),
    "Upsample": (2, 8, lambda: nn.Upsample(scale_factor=2)),
    "UpsamplingNearest2d": (2, 8, lambda: nn.UpsamplingNearest2d(scale_factor=2)),
    "UpsamplingBilinear2d": (2, 8, lambda: nn.UpsamplingBilinear2d(scale_factor=2)),
    "FractionalMaxPool2d": (2, 8, lambda: nn.FractionalMaxPool2d(2, output_size=3)),
    "FractionalMaxPool3d": (3, 8, lambda: nn.FractionalMaxPool3d(2, output_size=2)),
}


def _of_all_dimensions() -> None:
    for count in (1, 2, 3):
        forms: dict[str, Callable[..., nn.Module]] = {
            "Conv": lambda kind: kind(8, 6, 3), "ConvTranspose": lambda kind: kind(8, 6, 3),
            "BatchNorm": lambda kind: kind(8), "InstanceNorm": lambda kind: kind(8, affine=True),
            "Dropout": lambda kind: kind(), "AvgPool": lambda kind: kind(2), "MaxPool": lambda kind: kind(2),
            "AdaptiveAvgPool": lambda kind: kind(2), "AdaptiveMaxPool": lambda kind: kind(2),
            "LPPool": lambda kind: kind(2, 2), "CircularPad": lambda kind: kind(1),
            "ConstantPad": lambda kind: kind(1, 0.5), "ReflectionPad": lambda kind: kind(1),
            "ReplicationPad": lambda kind: kind(1), "ZeroPad": lambda kind: kind(1),
        }  # fmt: skip
        for form, make in forms.items():
            kind = getattr(nn, f"{form}{count}d")
            width = 6 if form.startswith("Conv") else 8
            LAYERS[kind.__name__] = (count, width, lambda make=make, kind=kind: make(kind))


_of_all_dimensions()


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_between_two_others(name: str) -> None:
    dimensions, width, make = LAYERS[name]
    torch.manual_seed(0)
    if dimensions:
        conv = CONVOLUTIONS[dimensions]
        net = nn.Sequential(conv(3, 8, 1), make(), conv(width, 2, 1)).eval()
    else:
        net = nn.Sequential(nn.Linear(3, 8), make(), nn.Linear(width, 2)).eval()
    shape = (2, 3, *POSITIONS.get(dimensions, ()))
    space = check(net, *shape)
    assert not space.unknown_operators
    assert "0" in {group.name.partition(":")[0] for group in space.groups if group.name in free(space)}
    check_macs(net, space, example(*shape))


ELSEWHERE = {
    # Modules with several inputs, or with test files of their own.
    "Bilinear", "CosineSimilarity", "CrossMapLRN2d", "Embedding", "EmbeddingBag", "Fold", "GRU", "GRUCell",
    "LSTM", "LSTMCell", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "MultiheadAttention", "PairwiseDistance",
    "RNN", "RNNBase", "RNNCell", "RNNCellBase", "Transformer", "TransformerDecoder", "TransformerEncoder",
    "TransformerDecoderLayer", "TransformerEncoderLayer", "Unfold", "ParameterDict", "ParameterList",
    # What only holds others, or says how.
    "Container", "Module", "ModuleDict", "ModuleList", "Sequential", "LinearCrossEntropyOptions",
}  # fmt: skip


def test_no_layer_of_torch_is_forgotten() -> None:
    """Losses are no part of a network that is pruned; lazy layers become ordinary ones before."""
    offered = {name for name in nn.modules.__all__ if isinstance(getattr(nn, name), type)}
    losses = {name for name in offered if name.endswith(("Loss", "Loss2d"))}
    lazy = {name for name in offered if name.startswith("Lazy")}
    assert offered - losses - lazy - set(LAYERS) - ELSEWHERE == set()


@pytest.mark.parametrize("compare", [nn.CosineSimilarity(), nn.PairwiseDistance()])
def test_comparing_layers(compare: nn.Module) -> None:
    net = Net(lambda m, x: compare(m.a(x), m.b(x)), a=nn.Linear(4, 6), b=nn.Linear(4, 6))
    assert free(check(net, 2, 4)) == {"a": 6}


def test_folding_layers() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Unfold(3, padding=1), nn.Fold((6, 6), 3, padding=1), nn.Conv2d(8, 2, 1)
    )
    assert free(check(net, 2, 3, 6, 6)) == {"0": 8}


def test_parameters_in_lists_and_dicts() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        h = F.relu(F.linear(x, m.first[0]))
        return F.linear(F.relu(F.linear(h, m.then["middle"])), m.first[1])

    net = Net(
        forward, first=nn.ParameterList([torch.randn(6, 4), torch.randn(3, 8)]),
        then=nn.ParameterDict({"middle": torch.randn(8, 6)}),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert {frozenset(slots(group)) for group in space.groups} == {
        frozenset({("first.0", 0), ("then.middle", 1)}), frozenset({("then.middle", 0), ("first.1", 1)}),
    }  # fmt: skip


def test_an_adaptive_softmax_keeps_its_clusters() -> None:
    """Its log-probabilities are written into constants; the projections of its tails are free."""
    head = nn.AdaptiveLogSoftmaxWithLoss(32, 20, [5, 10])
    net = Net(
        lambda m, x: m.head.log_prob(F.relu(m.b(F.relu(m.a(x))))),
        a=nn.Linear(4, 8),
        b=nn.Linear(8, 32),
        head=head,
    )
    assert free(check(net, 2, 4)) == {"a": 8, "b": 32, "head.tail.0.0": 8, "head.tail.1.0": 2}
    trained = Net(lambda m, x, y: tuple(m.head(m.a(x), y)), a=nn.Linear(4, 32), head=head)
    assert "a" in free(check_on(trained, example(2, 4), torch.tensor([0, 12])))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [True, False])
def test_blocks_that_are_computed_again_for_their_gradient(reentrant: bool) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        h = checkpoint(m.b, m.a(x), use_reentrant=reentrant)
        return m.c(checkpoint_sequential(m.d, 2, h, use_reentrant=reentrant))

    net = Net(
        forward, a=nn.Linear(4, 6), b=nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)),
        c=nn.Linear(7, 2), d=nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 7)),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert free(space) == {"a": 6, "b.0": 8, "b.2": 6, "d.0": 5, "d.2": 7}
    assert space.macs.value(space.sizes) == 2 * (4 * 6 + 2 * 6 * 8 + 6 * 5 + 5 * 7 + 7 * 2)
