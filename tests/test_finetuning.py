"""``prunecli.finetune`` from a file to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from resnet8 import digest, same_tensors
from training_examples import pictures, small

import prunecli
from prunecli.checkpoint.reading import read
from prunecli.data import Samples
from prunecli.errors import InputError, UsageError
from prunecli.fresh import RELOAD
from prunecli.quality import measure
from prunecli.report.trained import EpochRow

QUICK: dict[str, Any] = {"data": "digits", "samples": 64, "epochs": 2, "batch_size": 32}
IMAGE = torch.zeros(1, 1, 6, 6)
TEST = pictures(9, 2)


def trained(**more: Any) -> prunecli.Finetuned:
    given: dict[str, Any] = {
        "data": pictures(60),
        "eval_data": TEST,
        "epochs": 12,
        "batch_size": 10,
        "lr": 0.1,
    }
    return prunecli.finetune(small(dropout=0.0), example_inputs=IMAGE, **{**given, **more})


def test_a_pruned_file_becomes_another_that_verifies(checkpoint: Path, saved: Path, tmp_path: Path) -> None:
    before = digest(saved)
    rows: list[EpochRow] = []
    found = prunecli.finetune(saved, **QUICK, against=checkpoint, on_epoch=rows.append)
    out = tmp_path / "tuned.safetensors"
    report = found.save(out)
    assert digest(saved) == before
    assert [(proof.name, proof.passed) for proof in report.proofs] == [(RELOAD, True)]
    assert same_tensors(prunecli.load(out).state_dict(), found.model.state_dict())
    assert not same_tensors(found.model.state_dict(), prunecli.load(saved).state_dict())
    assert report.output is not None
    assert report.output.digest == digest(out)
    assert report.changed_by == ("finetune",)
    assert report.epochs == tuple(rows)
    assert report.against is not None
    assert report.dense is not None and report.before is not None and report.after is not None
    assert report.after == rows[-1].quality
    verified = prunecli.verify(out, against=checkpoint)
    assert verified.passed
    assert verified.changed_by == ("finetune",)
    evaluated = prunecli.evaluate(out, data="digits")
    assert evaluated.quality == report.after
    recipe = read(out).recipe
    assert recipe is not None
    assert recipe.options["finetune.epochs"] == 2
    assert recipe.options["finetune.threads"] == torch.get_num_threads()
    with pytest.raises(UsageError, match="exists"):
        found.save(out)


def test_the_same_again_is_the_same_file(saved: Path, tmp_path: Path, no_reload: None) -> None:
    names = ["a.safetensors", "b.safetensors"]
    for name in names:
        prunecli.finetune(saved, **QUICK, augment="crop").save(tmp_path / name)
    assert digest(tmp_path / names[0]) == digest(tmp_path / names[1])
    prunecli.finetune(saved, **QUICK, augment="crop", seed=1).save(tmp_path / "c.safetensors")
    assert digest(tmp_path / "c.safetensors") != digest(tmp_path / "a.safetensors")


def test_a_dense_file_can_be_pruned_afterwards(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "trained.safetensors"
    prunecli.finetune(checkpoint, **QUICK).save(out)
    assert prunecli.verify(out, against=checkpoint).passed
    result = prunecli.prune(out, speedup=2, repair="none")
    assert result.report.network.spec == "cifar:resnet8"
    again = prunecli.finetune(out, **{**QUICK, "epochs": 1})
    assert again.report.changed_by == ("finetune",)


def test_it_learns_and_says_so() -> None:
    found = trained()
    assert found.report.before is not None and found.report.after is not None
    assert found.report.before.top1 is not None
    assert found.report.after.top1 == measure({"": found.model}, TEST)[""].top1
    assert found.report.after.top1 > max(0.6, found.report.before.top1)
    assert found.report.checkpoint is None
    assert (found.report.data.samples, found.report.data.labelled) == (60, True)


def test_from_the_dense_network_alone_without_labels() -> None:
    teacher = trained().model
    blind = pictures(60, labelled=False)
    found = trained(data=blind, against=teacher, epochs=30, lr=0.02)
    agreement = measure({"": found.model}, TEST, against=teacher)[""].agreement
    before = measure({"": small(dropout=0.0)}, TEST, against=teacher)[""].agreement
    assert agreement is not None and before is not None
    assert agreement > max(0.7, before)
    assert all(row.top1 is None for row in found.report.epochs)


def test_a_module_is_not_changed_and_can_be_written(tmp_path: Path) -> None:
    module = small(dropout=0.0).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = prunecli.finetune(module, example_inputs=IMAGE, data=pictures(20), epochs=1, ema=0.5)
    assert same_tensors(module.state_dict(), before)
    assert module.training
    found.save(tmp_path / "own.safetensors")
    loaded = prunecli.load(tmp_path / "own.safetensors", into=small())
    assert same_tensors(loaded.state_dict(), found.model.state_dict())
    assert found.report.validation is found.report.after is None
    assert any(note.startswith("no figures but those of training") for note in found.report.notes)


def test_statistics_recomputed_at_the_end() -> None:
    plain, anew = trained(epochs=1), trained(epochs=1, recalibrate=True)
    own, other = plain.model.state_dict(), anew.model.state_dict()
    differing = {name for name in own if not torch.equal(own[name], other[name])}
    assert differing == {"norm.running_mean", "norm.running_var"}
    assert "statistics of 1 norm recomputed on 60 samples" in anew.report.notes


def test_a_stopped_run_goes_on_and_its_state_goes_away(
    checkpoint: Path, tmp_path: Path, no_reload: None
) -> None:
    state, metrics = tmp_path / "run.state.pt", tmp_path / "run.metrics.jsonl"
    kept: dict[str, Any] = {"state": state, "metrics": metrics, **QUICK}

    def stop(_: EpochRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prunecli.finetune(checkpoint, **kept, on_epoch=stop)
    assert state.exists()
    with pytest.raises(UsageError, match="the state is of another run: --lr was"):
        prunecli.finetune(checkpoint, **kept, resume=True, lr=0.5)
    more = {**kept, "batch_size": 16}
    with pytest.raises(UsageError, match="--batch-size times processes was 32, here it is 16"):
        prunecli.finetune(checkpoint, **more, resume=True)
    found = prunecli.finetune(checkpoint, **kept, resume=True)
    assert same_tensors(found.model.state_dict(), prunecli.finetune(checkpoint, **QUICK).model.state_dict())
    found.save(tmp_path / "out.safetensors")
    assert not state.exists()
    assert [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] == [1, 2]


def test_memory_that_runs_out_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    from prunecli.training.objective import Objective

    real, calls = Objective.value, [0]

    def once(self: Objective, *given: Any) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, *given)

    monkeypatch.setattr(Objective, "value", once)
    found = trained(epochs=1)
    assert any("10 went through the network 5 samples at a time" in note for note in found.report.notes)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"data": pictures(9, labelled=False)}, UsageError, "no labels, and there is no dense network"),
        ({"epochs": 0}, UsageError, "--epochs 0"),
        ({"epoch": 1}, UsageError, "unknown setting 'epoch'"),
        ({"resume": True}, UsageError, "resume needs the state"),
        ({"data": "digit"}, UsageError, "unknown data source"),
        ({"threads": 0}, UsageError, "--threads 0"),
    ],
)
def test_what_cannot_be_trained(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trained(**given)


def test_data_that_does_not_fit_is_an_input_error(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="the network does not run on 2 of the samples"):
        prunecli.finetune(checkpoint, data=pictures(9), epochs=1)
    beyond = Samples((pictures(9).batches[0],), "x")
    with pytest.raises(InputError, match="the data has label 2, the network 2 classes"):
        prunecli.finetune(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2)), example_inputs=IMAGE,
            data=beyond, epochs=1,
        )  # fmt: skip


def test_a_network_of_ones_own_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(4, 10))\n",
        encoding="utf-8",
    )
    from prunecli.networks.building import build

    arch = f"{tmp_path / 'own.py'}:build"
    torch.save(build(arch, {})[0].state_dict(), tmp_path / "own.pth")
    out = tmp_path / "tuned.safetensors"
    found = prunecli.finetune(tmp_path / "own.pth", arch=arch, inputs=("1,8,8",), **QUICK)
    assert found.save(out).proofs[-1].passed
    more = prunecli.finetune(out, arch=arch, **{**QUICK, "epochs": 1})
    assert more.save(tmp_path / "more.safetensors").proofs[-1].passed
