"""Functions of torch's layers: group counts, sizes of their own, and costs that only counters see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import (
    Net,
    check,
    check_macs,
    check_on,
    example,
    free,
    group_of,
    half,
    patches,
    reason,
    slots,
    space_of,
    subject,
)  # fmt: skip

from prunecli.coupling import trace

DIMENSIONS = {
    1: (nn.Conv1d, nn.ConvTranspose1d, nn.InstanceNorm1d, (8,)),
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d, (6, 6)),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.InstanceNorm3d, (4, 4, 4)),
}


def test_groups_of_a_depthwise_convolution_by_attribute_and_by_number() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.out(F.conv2d(m.stem(x), m.weight, groups=m.channels if m.by_name else 6))

    for by_name in (True, False):
        net = Net(
            forward, stem=nn.Conv2d(3, 6, 1), weight=nn.Parameter(torch.randn(6, 1, 3, 3)),
            out=nn.Conv2d(6, 2, 1), channels=6, by_name=by_name,
        )  # fmt: skip
        space = space_of(net, 2, 3, 5, 5)
        assert (free(space) == {"stem": 6}) is by_name
    assert "plain number 6" in reason(space, "stem.weight")


def test_convolution_over_traced_kernel_attributes_is_untouched() -> None:
    """Strides, paddings and kernels are attributes too, and are never patched."""
    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.MaxPool2d(2), nn.Conv2d(6, 2, 1))
    space = trace(net, (example(2, 3, 8, 8),))
    assert {(p.module, p.attribute) for p in space.patches} == {("0", "out_channels"), ("2", "in_channels")}


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_transposed_and_grouped_convolutions(dimensions: int) -> None:
    conv, transposed, _, positions = DIMENSIONS[dimensions]
    net = nn.Sequential(
        conv(3, 8, 1), transposed(8, 12, 3, stride=2, groups=2), conv(12, 6, 1),
        transposed(6, 12, 2, groups=6), conv(12, 6, 3, groups=3), transposed(6, 5, 1), conv(5, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, *positions)
    check_macs(net, space, example(2, 3, *positions))
    # Two groups of 4 to two of 6; each of 6 channels to 2; three groups of 2 x 2 to three of 2.
    assert space.by_name["0"].size == 4 and space.by_name["1"].size == 6
    assert {g.size for g in space.groups if g.kind == "convolution groups"} == {2, 3}
    assert group_of(space, "5.weight", 1).name == "5" and space.by_name["5"].size == 5


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_padding_by_what_is_there_passes_channels(dimensions: int, mode: str) -> None:
    conv, _, _, positions = DIMENSIONS[dimensions]
    net = nn.Sequential(
        conv(3, 8, 3, padding=1, padding_mode=mode),
        conv(8, 6, 3, padding=1, padding_mode=mode),
        conv(6, 2, 1),
    )
    space = check(net, 2, 3, *positions)
    assert free(space) == {"0": 8, "1": 6}
    check_macs(net, space, example(2, 3, *positions))


def test_circular_padding_with_sides_of_their_own() -> None:
    net = Net(
        lambda m, x: m.b(F.pad(m.a(x), (1, 2, 0, 3), mode="circular")),
        a=nn.Conv2d(3, 6, 1),
        b=nn.Conv2d(6, 2, 1),
    )
    assert free(check(net, 2, 3, 4, 5)) == {"a": 6}


def test_padding_by_name_is_counted() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding="same"), nn.Conv2d(8, 6, 5, padding="same"), nn.Conv2d(6, 2, 1)
    )
    space = check(net, 2, 3, 6, 6)
    assert free(space) == {"0": 8, "1": 6}
    check_macs(net, space, example(2, 3, 6, 6))


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("options", [{}, {"affine": True}, {"affine": True, "track_running_stats": True}])
def test_instance_norm(dimensions: int, options: dict[str, bool]) -> None:
    """It compares the channels it gets with ``num_features``, which therefore follows them."""
    conv, _, norm, positions = DIMENSIONS[dimensions]
    net = nn.Sequential(conv(3, 8, 1), norm(8, **options), conv(8, 2, 1)).eval()
    space = check(net, 2, 3, *positions)
    assert free(space) == {"0": 8}
    assert patches(space, "1") == {("num_features", None): 4}
    check_macs(net, space, example(2, 3, *positions))


def test_rms_norm_as_a_layer_and_as_a_function() -> None:
    net = Net(
        lambda m, x: m.c(F.rms_norm(m.b(m.norm(m.a(x))), (m.width,), m.scale)),
        a=nn.Linear(4, 8), norm=nn.RMSNorm(8), b=nn.Linear(8, 6), c=nn.Linear(6, 2), width=6,
        scale=nn.Parameter(torch.rand(6)),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert {g.name: g.value_changing for g in space.groups} == dict.fromkeys(
        "ab", "an RMSNorm averages over it"
    )
    assert patches(space, "norm") == {("normalized_shape", 0): 4}
    assert patches(space, "") == {("width", None): 3}
    assert ("scale", 0) in slots(space.by_name["b"])


def test_rms_norm_over_two_dimensions_and_without_a_weight() -> None:
    net = nn.Sequential(nn.Conv1d(3, 8, 1), nn.RMSNorm([8, 5], elementwise_affine=False), nn.Conv1d(8, 2, 1))
    assert free(check(net, 2, 3, 5)) == {"0": 8}


def test_local_response_norm_sees_its_neighbours() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.LocalResponseNorm(3), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1))
    space = check(net, 2, 3, 4, 4)
    assert free(space) == {"0": 8, "2": 6}
    assert space.by_name["0"].value_changing == "a LocalResponseNorm scales it by its neighbours"
    assert space.by_name["2"].value_changing is None


def test_the_old_response_norm_is_written_in_ways_that_cannot_be_followed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.CrossMapLRN2d(3), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1))
    space = check(net, 2, 3, 4, 4)
    assert free(space) == {"2": 6}
    assert space.unknown_operators


def test_bilinear_layers() -> None:
    net = Net(
        lambda m, x, y: m.out(m.both(m.a(x), m.b(y))),
        a=nn.Linear(4, 6), b=nn.Linear(5, 8), both=nn.Bilinear(6, 8, 10), out=nn.Linear(10, 2),
    )  # fmt: skip
    inputs = example(2, 3, 4), example(2, 3, 5)
    space = check_on(net, *inputs)
    assert free(space) == {"a": 6, "b": 8, "both": 10}
    assert patches(space, "both") == {
        ("in1_features", None): 3, ("in2_features", None): 4, ("out_features", None): 5,
    }  # fmt: skip
    check_macs(net, space, *inputs)


@pytest.mark.parametrize("many", [10, 40])
def test_distances_to_prototypes(many: int) -> None:
    """torch takes another way for more than 25 of them."""
    net = Net(
        lambda m, x: m.out(torch.cdist(m.a(x), m.prototypes)),
        a=nn.Linear(4, 6), prototypes=nn.Parameter(torch.randn(many, 6)), out=nn.Linear(many, 2),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert free(space) == {"a": 6, "prototypes": many}
    assert space.by_name["a"].value_changing == "a distance is taken over it"
    assert space.by_name["prototypes"].value_changing is None


def test_distances_in_batches() -> None:
    net = Net(
        lambda m, x: m.out(torch.cdist(m.a(x), m.b(x)[:1])),
        a=nn.Linear(4, 6),
        b=nn.Linear(4, 6),
        out=nn.Linear(5, 2),
    )
    space = trace(net, (example(2, 5, 4),))
    assert free(space) == {"a": 6}


@pytest.mark.parametrize(
    "compare",
    [F.pairwise_distance, F.cosine_similarity, lambda a, b: (F.normalize(a) * F.normalize(b)).sum(-1)],
)
def test_comparing_features(compare: object) -> None:
    net = Net(lambda m, x: compare(m.a(x), m.b(x)), a=nn.Linear(4, 6), b=nn.Linear(4, 6))  # type: ignore[operator]
    space = check(net, 2, 4)
    assert free(space) == {"a": 6}
    assert space.by_name["a"].value_changing


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area", "nearest-exact"])
@pytest.mark.parametrize("size", [{"size": (7, 5)}, {"scale_factor": 2}])
def test_resizing_costs_what_is_counted(mode: str, size: dict[str, object]) -> None:
    net = Net(
        lambda m, x: m.b(F.interpolate(m.a(x), mode=mode, **size)), a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1)
    )
    space = check(net, 2, 3, 4, 4)
    assert free(space) == {"a": 6}
    check_macs(net, space, example(2, 3, 4, 4))


def test_convolutions_over_an_image_of_one_sample() -> None:
    """Without a batch dimension the channels come first."""
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    assert free(check(net, 3, 4, 4)) == {"0": 8}


def test_a_norm_of_nothing_still_ties_its_channels() -> None:
    """A detector without boxes: torch then takes the first weight alone. The cut network runs on boxes."""

    def forward(m: Net, x: Tensor) -> Tensor:
        chosen = x[x.flatten(1).sum(1) > m.least]
        return m.out(m.norm(m.stem(chosen)).relu()).sum()

    net = Net(
        forward, stem=nn.Conv2d(3, 6, 1), norm=nn.BatchNorm2d(6), out=nn.Conv2d(6, 2, 1), least=1e9,
    ).eval()  # fmt: skip
    space = trace(net, (example(2, 3, 4, 4),))
    assert slots(group_of(space, "stem.weight")) >= {("norm.weight", 0), ("norm.bias", 0)}
    net.least = -1e9
    check_on(net, example(2, 3, 4, 4))
    case = subject(net, space, example(2, 3, 4, 4))
    assert case.error(case.keeps_values(half(space))) < 1e-9
