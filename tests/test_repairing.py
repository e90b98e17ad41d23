"""Repair in a whole run: from ``prune`` and ``prune run`` to the file, its recipe and its verification."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runner import run_here
from PIL import Image
from resnet8 import Own, digest, resnet8, same_tensors
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import prunecli
from prunecli import InputError, Result, demo
from prunecli.calibrating import Calibration
from prunecli.checkpoint import read
from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Batch, Samples
from prunecli.demo.data import digits
from prunecli.demo.train import train
from prunecli.inputs import Inputs
from prunecli.networks.cifar import REGISTRY
from prunecli.report.model import Report

DIGITS: dict[str, Any] = {
    "arch": demo.ARCH,
    "arch_args": demo.ARGUMENTS,
    "inputs": (demo.INPUT,),
    "speedup": 2.0,
}
NETWORK = ("--arch", demo.ARCH, "--arch-arg", "in_channels=1", "--input", demo.INPUT, "--speedup", "2")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a few seconds and not for sparsity, so that a cut hurts."""
    path = tmp_path_factory.mktemp("digits") / "dense.safetensors"
    save_file(train(epochs=6, strength=0.0, seed=0).state_dict(), path)
    return path


def loaded(path: Path) -> nn.Module:
    network = REGISTRY["resnet8"](**demo.ARGUMENTS)
    network.load_state_dict(load_file(path))
    return network.eval()


@pytest.fixture(scope="module")
def results(dense: Path) -> dict[str, Result]:
    """The same cut, left, repaired on digits and on noise."""
    return {
        "none": prunecli.prune(dense, repair="none", **DIGITS),
        "digits": prunecli.prune(dense, data="digits", **DIGITS),
        "noise": prunecli.prune(dense, **DIGITS),
    }


@pytest.fixture(scope="module")
def repaired(results: dict[str, Result], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """Written once by the whole path, with its reload in a fresh process."""
    path = tmp_path_factory.mktemp("repaired") / "small.safetensors"
    return path, results["digits"].save(path)


def test_noise_that_the_norms_remember_is_nearer_to_the_data(dense: Path) -> None:
    asked = DIGITS | {"speedup": 4.0}
    network = loaded(dense)
    drawn = Calibration().opened(network, [InputSpec(None, "float32", (1, 1, 8, 8))])
    test = digits(test=True)
    errors = {}
    for name, result in {
        "drawn": prunecli.prune(dense, data=drawn, **asked),
        "moved": prunecli.prune(dense, **asked),
        "too slow": prunecli.prune(dense, repair_seconds=0.02, **asked),
    }.items():
        with torch.inference_mode():
            wanted, found = network(test.images), result.model(test.images)
        errors[name] = float((found - wanted).norm() / wanted.norm())
        said = [note.partition(";")[0].partition(" (")[0] for note in result.report.notes]
        assert ("noise: moved in 100 steps to the statistics of the norms" in said) == (name == "moved")
        assert ("noise: left as drawn" in said) == (name == "too slow")
    assert errors["moved"] < 0.9 * errors["drawn"]


def test_repair_changes_weights_and_nothing_else(results: dict[str, Result]) -> None:
    cut = results["none"]
    for name in ("digits", "noise"):
        found = results[name]
        assert found.plan == cut.plan
        assert {k: (t.shape, t.dtype) for k, t in found.model.state_dict().items()} == {
            k: (t.shape, t.dtype) for k, t in cut.model.state_dict().items()
        }
        assert not same_tensors(found.model.state_dict(), cut.model.state_dict())
        assert not found.model.training
        assert all(parameter.requires_grad for parameter in found.model.parameters())
    assert (cut.report.repair, cut.report.quality) == (None, {})


def test_accuracy_comes_back_and_is_what_the_report_says(results: dict[str, Result], dense: Path) -> None:
    before = demo.accuracy(loaded(dense))
    accuracies = {name: demo.accuracy(result.model) for name, result in results.items()}
    assert accuracies["none"] + 20 < accuracies["noise"] < accuracies["digits"]
    assert accuracies["digits"] >= before - 2.0
    quality = results["digits"].report.quality
    assert list(quality) == ["dense", "cut", "repaired"]
    tops = [100 * (column.top1 or 0.0) for column in quality.values()]
    wanted = [before, accuracies["none"], accuracies["digits"]]
    assert tops == pytest.approx(wanted)
    assert {column.samples for column in quality.values()} == {len(digits(test=True).labels)}


def test_the_report_tells_the_inputs_the_candidates_and_every_operation(results: dict[str, Result]) -> None:
    for name, samples in (("digits", 512), ("noise", 32)):
        facts = results[name].report.repair
        assert facts is not None
        assert (facts.asked, facts.data.origin, facts.data.samples) == ("lstsq", name, samples)
        assert facts.errors.keys() == {"none", "bn", "lstsq", "lstsq + bn"}
        assert facts.errors[facts.applied] == min(facts.errors.values()) < facts.errors["none"]
        weights = [n for n, p in results[name].model.named_parameters() if p.dim() > 1]
        assert sorted(row.weight for row in facts.operations) == sorted(weights)
        for row in facts.operations:
            assert (row.reason is None) == bool(row.method)
            if row.before is not None and row.after is not None:
                assert row.after < row.before
    assert results["noise"].report.quality == {}
    assert any("repaired on noise" in note for note in results["noise"].report.notes)
    assert not any("noise" in note for note in results["digits"].report.notes)


def test_the_recipe_knows_both_and_the_file_verifies(
    repaired: tuple[Path, Report], results: dict[str, Result], dense: Path
) -> None:
    path, report = repaired
    assert all(proof.passed for proof in report.proofs)
    assert same_tensors(prunecli.load(path).state_dict(), results["digits"].model.state_dict())
    recipe = read(path).recipe
    assert recipe is not None
    assert recipe.changed_by == ("repair lstsq",)
    assert recipe.cut_digests.keys() == recipe.digests.keys()
    assert recipe.cut_digests != recipe.digests
    assert recipe.cut_digests == results["none"]._recipe.digests == results["none"]._recipe.cut_digests
    assert results["none"]._recipe.changed_by == ()
    assert recipe.options["repair"] == "lstsq"
    assert recipe.options["data"] == "digits"
    found = prunecli.verify(path, against=dense)
    assert found.passed
    assert found.changed_by == ("repair lstsq",)
    last = found.proofs[-1]
    assert last.name == "equals the cut"
    assert last.detail.startswith("changed since by repair lstsq; output error 0.")


def test_verify_prints_what_changed_it(
    repaired: tuple[Path, Report], dense: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "verify", repaired[0], "--against", dense)
    assert ran.code == 0, ran.err
    assert ["changed", "by", "repair", "lstsq"] in [line.split() for line in ran.out.splitlines()]
    assert "changed since by repair lstsq" in ran.out


def test_a_repair_of_another_cut_is_noticed(
    results: dict[str, Result], dense: Path, tmp_path: Path, no_reload: None
) -> None:
    """Right digests and a reason for the change are not enough: it must be this cut that was changed."""
    result = results["digits"]
    name = "layer1.0.conv1.weight"
    other = {**result._recipe.cut_digests, name: "ab" * 32}
    replace(result, _recipe=replace(result._recipe, cut_digests=other)).save(tmp_path / "odd.safetensors")
    found = prunecli.verify(tmp_path / "odd.safetensors", against=dense)
    assert [proof.name for proof in found.proofs if not proof.passed] == ["equals the cut"]
    assert f"'{name}' is not that of the cut before repair lstsq" in found.proofs[-1].detail


def test_the_bytes_do_not_depend_on_threads(checkpoint: Path, tmp_path: Path, no_reload: None) -> None:
    digests = set()
    for threads in (1, 2):
        path = tmp_path / f"{threads}.safetensors"
        prunecli.prune(checkpoint, speedup=2, threads=threads).save(path)
        digests.add(digest(path))
    assert len(digests) == 1


def test_another_seed_is_another_choice_of_samples(dense: Path, results: dict[str, Result]) -> None:
    other = prunecli.prune(dense, data="digits", seed=1, **DIGITS)
    assert other.plan == results["digits"].plan
    assert not same_tensors(other.model.state_dict(), results["digits"].model.state_dict())


def test_a_plan_that_cuts_nothing_is_not_repaired(checkpoint: Path, tmp_path: Path, no_reload: None) -> None:
    seen: list[str] = []
    result = prunecli.prune(checkpoint, plan=prunecli.Plan({}, {}), progress=seen.append)
    assert "repair" not in seen
    assert result.report.repair is None
    assert result._recipe.changed_by == ()
    assert same_tensors(result.model.state_dict(), resnet8().state_dict())


def test_whoever_watches_sees_the_repair(checkpoint: Path) -> None:
    seen: list[str] = []
    prunecli.prune(checkpoint, ratio=0.3, progress=seen.append)
    assert seen[:7] == ["read", "trace", "count", "score, select, cut", "prove", "count", "repair"]
    assert all(text.startswith("repair: ") for text in seen[7:])
    assert seen[-1].startswith("repair: operation 10 of ") or len(seen) > 8


def test_statistics_alone_leave_every_weight(dense: Path, results: dict[str, Result]) -> None:
    found = prunecli.prune(dense, repair="bn", data="digits", **DIGITS)
    cut = results["none"].model.state_dict()
    changed = {name for name, t in found.model.state_dict().items() if not torch.equal(t, cut[name])}
    assert changed
    assert all("running_" in name for name in changed)
    assert found._recipe.changed_by == ("repair bn",)
    assert demo.accuracy(found.model) > demo.accuracy(results["none"].model)


@pytest.mark.parametrize("samples", [1, 2, 3, 9])
@pytest.mark.parametrize("data", [None, "digits"])
def test_few_samples_are_no_reason_to_stop(samples: int, data: str | None, dense: Path) -> None:
    result = prunecli.prune(dense, data=data, samples=samples, **DIGITS)
    facts = result.report.repair
    assert facts is not None
    assert facts.data.samples == samples
    assert bool(facts.errors) == (samples > 2)
    assert any("at least 3 inputs" in note for note in result.report.notes) == (samples < 3)


def test_half_precision_is_repaired_in_half_precision(dense: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file(loaded(dense).half().state_dict(), path)
    result = prunecli.prune(path, data="digits", **DIGITS)
    assert {p.dtype for p in result.model.parameters()} == {torch.float16}
    assert result._recipe.changed_by == ("repair lstsq",)
    assert demo.accuracy(result.model.float()) >= demo.accuracy(loaded(dense)) - 2.0


def test_a_module_without_norms_is_repaired_too() -> None:
    torch.manual_seed(0)
    result = prunecli.prune(Own(), example_inputs=torch.zeros(1, 3, 12, 12), ratio=0.5)
    assert result.report.repair is not None
    assert result.report.repair.errors[result.report.repair.applied] <= result.report.repair.errors["none"]


def images(folder: Path, mode: str) -> str:
    """Four pictures in two classes, as ``--data`` names them."""
    for index in range(4):
        place = folder / "images" / f"class{index % 2}"
        place.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(values).convert(mode).save(place / f"{index}.png")
    return f"imagefolder:{folder / 'images'}"


def arrays(folder: Path, shape: tuple[int, ...], value: float) -> str:
    np.savez(folder / "data.npz", images=np.full(shape, value, dtype=np.float32))
    return f"npz:{folder / 'data.npz'}"


@pytest.mark.parametrize(
    "kind", ["nan", "inf", "missing folder", "missing file", "empty folder", "channels", "colour"]
)
def test_bad_data_is_one_line_exit_3_and_nothing_is_written(
    kind: str, dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    data = {
        "nan": lambda: arrays(tmp_path, (20, 1, 8, 8), float("nan")),
        "inf": lambda: arrays(tmp_path, (20, 1, 8, 8), float("inf")),
        "missing folder": lambda: f"imagefolder:{tmp_path / 'nowhere'}",
        "missing file": lambda: f"npz:{tmp_path / 'nowhere.npz'}",
        "empty folder": lambda: f"imagefolder:{tmp_path / 'empty'}",
        "channels": lambda: arrays(tmp_path, (20, 3, 8, 8), 0.5),
        "colour": lambda: images(tmp_path, "RGB"),
    }[kind]()
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "small.safetensors"
    ran = run_here(capsys, "run", dense, *NETWORK, "--data", data, "-o", out)
    assert ran.code == 3, (ran.out, ran.err)
    assert ran.out == ""
    assert len([line for line in ran.err.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in ran.err
    assert sorted(tmp_path.rglob("*")) == before


def test_good_data_of_the_same_kinds_is_read(
    dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_reload: None
) -> None:
    """The valid twins of the bad data; no labels, so no accuracy, but nearness to the dense network."""
    for data in (arrays(tmp_path, (20, 1, 8, 8), 0.5), images(tmp_path, "L")):
        out = tmp_path / "small.safetensors"
        ran = run_here(capsys, "run", dense, *NETWORK, "--data", data, "-o", out, "--force", "--json")
        assert ran.code == 0, ran.err
        report = json.loads(ran.out)
        assert str(tmp_path) not in json.dumps({**report, "command": None})
        assert report["quality"]["repaired"]["error"] is not None


class Odd(Own):
    """NaN on anything but zeros."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return torch.where(x.abs().amax((1, 2, 3))[:, None] > 0, y / 0 * 0, y)


def test_a_dense_network_that_gives_nan_is_said_to() -> None:
    """On data that were named it is an error; noise may be what the network cannot take."""
    torch.manual_seed(0)
    net, image = Odd(), torch.zeros(1, 3, 12, 12)
    samples = Samples([Batch(Inputs((torch.ones(16, 3, 12, 12),)))], "mine")
    with pytest.raises(InputError, match="gives NaN on the calibration inputs"):
        prunecli.prune(net, example_inputs=image, ratio=0.5, data=samples)
    result = prunecli.prune(net, example_inputs=image, ratio=0.5)
    assert any("not repaired: " in note and "NaN" in note for note in result.report.notes)
    assert result._recipe.changed_by == ()


class Mixer(nn.Module):
    """Tokens are mixed for every channel of a stream alone: channels are among the rows of a product, and
    among the samples of a convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
        self.tokens, self.back = nn.Linear(5, 12), nn.Linear(12, 5)
        self.blur = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).transpose(1, 2)
        x = x + self.back(self.tokens(x).relu())
        n, c, length = x.shape
        x = self.blur(x.reshape(n * c, 1, length)).reshape(n, c, length).transpose(1, 2)
        return self.head(x.mean(1))


def test_channels_among_the_rows_leave_an_operation_as_cut_and_the_rest_repaired() -> None:
    torch.manual_seed(0)
    found = prunecli.prune(Mixer(), example_inputs=torch.randn(1, 5, 8), ratio=0.5)
    facts = found.report.repair
    assert facts is not None
    reasons = {row.weight: row.reason for row in facts.operations}
    apart = "it is computed for each of some units, of which some were cut"
    assert [reasons[f"{layer}.weight"] for layer in ("tokens", "back", "blur")] == [apart] * 3
    assert reasons["head.weight"] is None
    assert facts.applied == "lstsq"
    assert facts.errors["lstsq"] < 0.9 * facts.errors["none"]


def test_a_network_that_takes_one_sample_and_a_defect_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Single(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 1:
                raise ValueError("one at a time")
            return super().forward(x)

    net = Single(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(1, 4)
    found = prunecli.prune(net, example_inputs=x, ratio=0.5)
    assert any(
        "does not run on several samples at once (one at a time)" in note for note in found.report.notes
    )

    def broken(*args: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr("prunecli.repair.site.fit", broken)
    found = prunecli.prune(nn.Sequential(*net), example_inputs=x, ratio=0.5)
    assert any("the repair failed, which is a defect of it (no such thing)" in n for n in found.report.notes)
    assert found.report.repair is not None
    assert found.report.repair.applied == "none"
