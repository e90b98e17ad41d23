from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from prunecli.calibrating import Calibration, Gathering
from prunecli.checkpoint.specs import InputSpec
from prunecli.coupling import trace
from prunecli.data.samples import Batch, Samples
from prunecli.errors import InputError, PruneError, UsageError
from prunecli.inputs import Inputs

SPECS = (InputSpec(None, "float32", (1, 1, 8, 8)),)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stem(x)).relu().mean((2, 3)))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def test_as_many_samples_as_suit_the_source(net: Net) -> None:
    assert len(Calibration("digits").opened(net, SPECS)) == 512
    assert len(Calibration().opened(net, SPECS)) == len(Calibration("noise").opened(net, SPECS)) == 32
    assert len(Calibration("digits", 7).opened(net, SPECS)) == 7
    own = Samples((Batch(Inputs((torch.zeros(3, 1, 8, 8),))),), "own")
    assert Calibration(own).opened(net, SPECS) is own


def test_noise_is_at_the_level_that_the_first_norm_remembers(net: Net) -> None:
    training = torch.randn(256, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 3 + 5
    with torch.no_grad():
        made = net.stem(training)
        net.norm.running_mean.copy_(made.mean((0, 2, 3)))
        net.norm.running_var.copy_(made.var((0, 2, 3)))
    noise = next(Calibration("noise", 32).opened(net, SPECS).chunks(32)).inputs.tensors[0]
    assert float(noise.mean()) == pytest.approx(5, abs=0.7)


def test_what_is_judged_is_the_part_for_tests(net: Net) -> None:
    calibration = Calibration("digits", 50)
    judged, fitted = calibration.judged(SPECS), calibration.opened(net, SPECS)
    assert judged is not None and len(judged) == 50
    images = [s.batches[0].inputs.tensors[0].flatten(1) for s in (judged, fitted)]
    assert float(torch.cdist(*images).min()) > 0
    assert Calibration("noise").judged(SPECS) is None


@pytest.mark.parametrize(
    ("gathering", "criterion", "text"),
    [
        (Gathering(Calibration()), "taylor", "criterion 'taylor' needs data"),
        (Gathering(Calibration("noise"), temperature=0), "grasp", "--temperature 0 is out of range"),
        (Gathering(Calibration("noise"), temperature=float("nan")), "grasp", "--temperature nan"),
        (Gathering(Calibration("noise"), "cross-entrpy"), "taylor", "unknown loss 'cross-entrpy'"),
        (Gathering(Calibration("noise"), "kd"), "taylor", "compares with the dense network"),
        (Gathering(Calibration("noise")), "tailor", "unknown criterion"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    gathering: Gathering, criterion: str, text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        gathering.check([criterion])


def test_weights_alone_need_no_data(net: Net) -> None:
    Gathering(Calibration()).check(["magnitude-l2"])
    Gathering(Calibration("digits"), "kd").check(["activation"])
    space = trace(net, (torch.zeros(1, 1, 8, 8),))
    assert Gathering(Calibration()).evidence(["lamp"], net, space, SPECS) is None


def gathered(net: Net, gathering: Gathering) -> dict[str, Tensor]:
    space = trace(net, (torch.zeros(1, 1, 8, 8),))
    evidence = gathering.evidence(["loss-preservation"], net, space, SPECS)
    assert evidence is not None
    return dict(evidence.gradient)


def test_the_users_own_loss(net: Net, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch.nn.functional import cross_entropy\n"
        "def plain(outputs, labels): return cross_entropy(outputs, labels)\n"
        "def raises(outputs, labels): return labels.nothing\n"
    )
    calibration = Calibration("digits", 20)
    own = gathered(net, Gathering(calibration, f"{file}:plain"))
    built_in = gathered(net, Gathering(calibration, "cross-entropy"))
    assert all(torch.allclose(value, built_in[name], atol=1e-6) for name, value in own.items())
    with pytest.raises(InputError, match=r"mine\.py:raises"):
        gathered(net, Gathering(calibration, f"{file}:raises"))
    with pytest.raises(UsageError, match="no such file"):
        gathered(net, Gathering(calibration, f"{tmp_path}/none.py:plain"))


def test_distillation_needs_a_network_that_differs(net: Net) -> None:
    calibration = Calibration("digits", 20)
    with pytest.raises(PruneError, match="does not differ") as raised:
        gathered(net, Gathering(calibration, "kd", teacher=net))
    assert raised.value.exit_code == 2
    torch.manual_seed(9)
    found = gathered(net, Gathering(calibration, "kd", teacher=Net().eval()))
    assert any(bool(value.any()) for value in found.values())


def test_a_temperature_alone_is_of_cross_entropy(net: Net) -> None:
    calibration = Calibration("digits", 20)
    cold, warm = (gathered(net, Gathering(calibration, temperature=t)) for t in (1.0, 200.0))
    assert float(warm["head.bias"].norm()) < float(cold["head.bias"].norm()) / 50
