"""``prunecli.sparsify`` from a file to a file, and what is cut afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from resnet8 import digest, same_tensors
from torch import Tensor

import prunecli
from prunecli.errors import ImpossibleError, UsageError
from prunecli.regularizers import REGULARIZERS

GREG: dict[str, Any] = {
    "data": "digits", "samples": 400, "regularizer": "greg-1", "ratio": 0.4, "epochs": 6, "batch_size": 20,
    "lr": 0.02,
}  # fmt: skip


@pytest.fixture(scope="module")
def sparse(checkpoint: Path) -> prunecli.Sparsified:
    return prunecli.sparsify(checkpoint, **GREG)


def test_what_greg_picked_is_gone_before_it_is_cut(sparse: prunecli.Sparsified, checkpoint: Path) -> None:
    assert sparse.plan is not None
    told = sparse.report.sparsity
    assert told is not None
    assert told.told["converged"] is True
    assert told.picked == sum(sparse.plan.dense[name] - len(kept) for name, kept in sparse.plan.keep.items())
    assert told.target == "--ratio 0.4"
    cut = prunecli.prune(
        sparse.model, example_inputs=torch.zeros(1, 3, 32, 32), plan=sparse.plan, repair="none"
    )
    inputs = torch.rand(16, 3, 32, 32)
    with torch.no_grad():
        whole, small = sparse.model(inputs), cut.model(inputs)
    assert float((whole - small).norm() / whole.norm()) < 1e-2
    # Cut out of the network as it was, the same units take much with them.
    at_once = prunecli.prune(checkpoint, plan=sparse.plan, repair="none").model
    twice = prunecli.finetune(checkpoint, data="digits", samples=20, epochs=1, lr=1e-12).model
    with torch.no_grad():
        before, after = twice(inputs), at_once(inputs)
    assert float((before - after).norm() / before.norm()) > 0.1


def test_every_slot_of_a_picked_unit_is_small(sparse: prunecli.Sparsified) -> None:
    assert sparse.plan is not None
    space = prunecli.prune(
        sparse.model, example_inputs=torch.zeros(1, 3, 32, 32), plan=sparse.plan, repair="none"
    ).space
    parameters: dict[str, Tensor] = dict(sparse.model.named_parameters())
    looked = 0
    for name, kept in sparse.plan.keep.items():
        going = [unit for unit in range(sparse.plan.dense[name]) if unit not in kept]
        for slot in space.by_name[name].slots:
            weight = parameters[slot.parameter].detach()
            if weight.shape[slot.dim] != sparse.plan.dense[name] or not going:
                continue
            rows = weight.movedim(slot.dim, 0).flatten(1) if weight.dim() > 1 else weight[:, None]
            small, large = rows[going].norm() / len(going) ** 0.5, rows[list(kept)].norm() / len(kept) ** 0.5
            assert float(small) < float(large) / 900, (name, slot)
            looked += 1
    assert looked > 10


def test_what_is_written_is_dense_and_can_be_pruned_by_the_plan(
    sparse: prunecli.Sparsified, checkpoint: Path, tmp_path: Path
) -> None:
    before = digest(checkpoint)
    report = sparse.save(tmp_path / "sparse.safetensors")
    assert digest(checkpoint) == before
    assert report.output is not None
    assert report.changed_by == ("sparsify",)
    assert same_tensors(
        prunecli.load(tmp_path / "sparse.safetensors").state_dict(), sparse.model.state_dict()
    )
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["sparsity"]["regularizer"] == "greg-1"
    assert document["schema"] == "prunecli.finetune/1"
    cut = prunecli.prune(tmp_path / "sparse.safetensors", plan=sparse.plan, repair="none")
    assert cut.report.after.params < cut.report.before.params


@pytest.mark.parametrize("name", ["bn-scale", "group-lasso", "group-norm", "growing-reg"])
def test_units_get_smaller_than_without(name: str, checkpoint: Path) -> None:
    quick: dict[str, Any] = {"data": "digits", "samples": 200, "epochs": 2, "batch_size": 20, "lr": 0.02}
    number = {"growing-reg": {"strength": 0.02, "delta": 0.02}}.get(name, {"strength": 0.02})
    plain = prunecli.finetune(checkpoint, **quick).model
    found = prunecli.sparsify(checkpoint, regularizer=name, regularizer_args=number, **quick)
    assert found.plan is None
    scales = [
        sum(
            float(p.detach().abs().sum())
            for n, p in net.named_parameters()
            if "bn" in n and n.endswith("weight")
        )
        for net in (found.model, plain)
    ]
    assert scales[0] < scales[1]


def test_a_stopped_run_ends_as_one_that_was_not(
    sparse: prunecli.Sparsified, checkpoint: Path, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    def stop(row: object) -> None:
        if getattr(row, "epoch", 0) == 3:
            raise StoppedError

    state = tmp_path / "state.pt"
    with pytest.raises(StoppedError):
        prunecli.sparsify(checkpoint, **GREG, state=state, on_epoch=stop)
    resumed = prunecli.sparsify(checkpoint, **GREG, state=state, resume=True)
    assert same_tensors(resumed.model.state_dict(), sparse.model.state_dict())
    assert resumed.plan == sparse.plan
    with pytest.raises(UsageError, match="sparsify-arg"):
        prunecli.sparsify(checkpoint, **GREG, regularizer_args={"tau": 0.5}, state=state, resume=True)


def test_what_has_not_converged_says_so(checkpoint: Path) -> None:
    given = {**GREG, "epochs": 1, "samples": 40}
    report = prunecli.sparsify(checkpoint, **given).report
    assert report.sparsity is not None
    assert report.sparsity.told["converged"] is False
    assert any("has not converged" in note for note in report.notes)


def test_wrong_targets_and_names(checkpoint: Path) -> None:
    quick: dict[str, Any] = {"data": "digits", "samples": 20, "epochs": 1}
    with pytest.raises(UsageError, match="greg-1 needs exactly one target"):
        prunecli.sparsify(checkpoint, regularizer="greg-1", **quick)
    with pytest.raises(UsageError, match="whatever is cut later"):
        prunecli.sparsify(checkpoint, regularizer="group-lasso", speedup=2, **quick)
    with pytest.raises(UsageError, match="unknown regularizer"):
        prunecli.sparsify(checkpoint, regularizer="nope", **quick)
    with pytest.raises(UsageError, match="no number 'alpha'"):
        prunecli.sparsify(checkpoint, regularizer="bn-scale", regularizer_args={"alpha": 1.0}, **quick)
    with pytest.raises(ImpossibleError, match="out of reach"):
        prunecli.sparsify(checkpoint, regularizer="greg-1", speedup=1000, **quick)
    assert "greg-1" in REGULARIZERS
