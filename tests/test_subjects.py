"""What is worked on: a file or a module, its inputs, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import InputError, UsageError
from prunecli.networks.cifar import REGISTRY
from prunecli.subjects import MODULE, choose_device, open_dense, require_prunable

OWN_NETWORK = """
from torch import nn

def build(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(), nn.Linear(width * 36, 2))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "resnet8.safetensors"
    save_file(REGISTRY["resnet8"]().state_dict(), path)
    return path


def test_a_file_is_identified(checkpoint: Path) -> None:
    dense = open_dense(checkpoint, None, None, None, ())
    assert (dense.arch, dense.facts.spec, dense.given_arch) == ("cifar:resnet8", "cifar:resnet8", None)
    assert dense.specs == (InputSpec(None, "float32", (1, 3, 32, 32)),)
    assert dense.source is not None
    assert dense.source.name == "resnet8.safetensors"
    assert len(dense.source.digest) == 64
    assert not dense.module.training


@pytest.mark.parametrize("given", [{"inputs": ("3,16,16",)}, {"example": torch.zeros(1, 3, 16, 16)}])
def test_another_input_for_a_file(checkpoint: Path, given: dict[str, object]) -> None:
    dense = open_dense(checkpoint, given.get("example"), None, None, given.get("inputs", ()))  # type: ignore[arg-type]
    assert dense.specs == (InputSpec(None, "float32", (1, 3, 16, 16)),)
    assert dense.report_inputs[0].shape == (1, 3, 16, 16)


def test_a_factory_of_the_users_own_is_named_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN_NETWORK)
    spec = f"{tmp_path / 'net.py'}:build"
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5 * 36, 2))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    dense = open_dense(tmp_path / "net.pth", None, spec, {"width": 5}, ("3,8,8",))
    assert (dense.arch, dense.given_arch) == ("net.py:build", spec)
    assert dict(dense.arguments) == {"width": 5}


def test_the_facts_of_the_users_own_network_hold_no_path(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN_NETWORK)
    torch.save(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).state_dict(), tmp_path / "net.pth"
    )
    dense = open_dense(tmp_path / "net.pth", None, f"{tmp_path / 'net.py'}:build", None, ("3,8,8",))
    assert str(tmp_path) not in repr(dense.facts)


def test_a_module_is_taken_as_it_is() -> None:
    net = nn.Linear(4, 2)
    dense = open_dense(net, torch.zeros(1, 4), None, None, ())
    assert dense.module is net
    assert (dense.arch, dense.facts.spec, dense.source, dense.given_arch) == (MODULE, None, None, None)


def test_a_module_with_its_architecture_named() -> None:
    net = REGISTRY["resnet8"](num_classes=7)
    dense = open_dense(net, None, "cifar:resnet8", {"num_classes": 7}, ("3,32,32",))
    assert (dense.arch, dict(dense.arguments)) == ("cifar:resnet8", {"num_classes": 7})
    assert dense.specs == (InputSpec(None, "float32", (1, 3, 32, 32)),)


def test_a_module_needs_inputs() -> None:
    with pytest.raises(UsageError, match="a module needs example_inputs"):
        open_dense(nn.Linear(4, 2), None, None, None, ())


def test_a_network_without_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="no parameters"):
        open_dense(nn.ReLU(), torch.zeros(1, 4), None, None, ())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named(value: float) -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    net[1].weight.data[1, 2] = value
    dense = open_dense(net, torch.zeros(1, 4), None, None, ())
    with pytest.raises(InputError, match=r"'1\.weight'"):
        require_prunable(dense)


def test_finite_weights_pass() -> None:
    require_prunable(open_dense(nn.Linear(4, 2), torch.zeros(1, 4), None, None, ()))


def test_a_module_without_weights_is_refused() -> None:
    with torch.device("meta"):
        net = nn.Linear(4, 2)
    with pytest.raises(InputError, match="'weight' is on the meta device"):
        require_prunable(open_dense(net, torch.zeros(1, 4), None, None, ()))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == torch.device("cpu")
    for cuda, mps, wanted in [(False, False, "cpu"), (False, True, "mps"), (True, True, "cuda")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert choose_device("auto").type == wanted
    assert choose_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "gpu"])
def test_a_device_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"device '{name}' is not available here"):
        choose_device(name)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, words: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
        return self.head(words * scale)


def shapes(*inputs: str) -> list[tuple[int, ...]]:
    return [spec.shape for spec in open_dense(Pair(), None, None, None, inputs).specs]


def test_named_inputs_stand_where_forward_takes_them() -> None:
    assert shapes("scale:1,5,1", "words:1,5,4") == [(1, 5, 4), (1, 5, 1)]
    assert shapes("shift:1,3", "scale:1,5,1", "words:1,5,4") == [(1, 5, 4), (1, 5, 1), (1, 3)]


def test_an_input_without_a_name_takes_the_first_free_place() -> None:
    assert shapes("scale:1,5,1", "5,4") == [(1, 5, 4), (1, 5, 1)]
    assert shapes("5,4", "5,1") == [(1, 5, 4), (1, 5, 1)]


def test_an_input_that_forward_does_not_take() -> None:
    with pytest.raises(UsageError, match="unknown input 'scal'") as caught:
        shapes("words:1,5,4", "scal:1,5,1")
    assert "scale" in (caught.value.hint or "")


def test_an_input_before_a_named_one_is_needed() -> None:
    with pytest.raises(UsageError, match="--input names no size for 'words'"):
        shapes("scale:1,5,1")


def test_a_mapping_is_named_inputs() -> None:
    example = {"shift": torch.zeros(1, 3), "words": torch.zeros(1, 5, 4), "scale": torch.zeros(1, 5, 1)}
    specs = open_dense(Pair(), example, None, None, ()).specs
    assert [spec.name for spec in specs] == ["words", "scale", "shift"]


def scripted(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("wrap", "said", "hint"),
    [
        (scripted, "the network is TorchScript, which cannot be resized", "nn.Module it came from"),
        (nn.DataParallel, "wrapped in DataParallel", "model.module"),
        (compiled, "the network is compiled", "before torch.compile"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line(
    wrap: Callable[[nn.Module], nn.Module], said: str, hint: str
) -> None:
    with pytest.raises(InputError) as caught:
        open_dense(wrap(nn.Linear(4, 2)), torch.zeros(1, 4), None, None, ())
    assert said in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "\n" not in caught.value.message


def test_a_limit_that_limits_nothing_passes() -> None:
    """A clamp's bound may be infinite; a running variance, a table or a NaN may not."""

    class Clamped(nn.Linear):
        def __init__(self, bound: list[float] | float) -> None:
            super().__init__(2, 2)
            self.register_buffer("bound", torch.tensor(bound))

    example = torch.zeros(1, 2)
    require_prunable(open_dense(Clamped(float("inf")), example, None, None, ()))
    for bound in ([1.0, float("inf")], float("nan")):
        with pytest.raises(InputError, match="'bound' holds"):
            require_prunable(open_dense(Clamped(bound), example, None, None, ()))
