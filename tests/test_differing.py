"""``prune diff`` on real networks: each kind of pair has its answer, and figures that are known otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from report_examples import finetuning
from resnet8 import resnet8
from safetensors.torch import load_file, save_file

import prunecli
from prunecli import Difference
from prunecli.errors import InputError, UsageError
from prunecli.report import html
from prunecli.report.beside import facts, sizes
from prunecli.report.figures import Quality
from prunecli.report.markdown import difference as markdown
from prunecli.report.model import Proof, Source

DEMO = Path(prunecli.__file__).parent / "demo" / "digits_resnet8.safetensors"
INPUT = ("1,8,8",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cuts with their reports, and copies of the dense network with one weight changed."""
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prunecli.saving.reload_proof", lambda *_, **__: Proof("reload", True))
        for name, options in (("half", {"speedup": 2}), ("third", {"speedup": 3, "round_to": 2})):
            made = prunecli.prune(DEMO, inputs=INPUT, repair="none", **options)  # type: ignore[arg-type]
            told = made.save(folder / f"{name}.safetensors")
            (folder / f"{name}.json").write_text(json.dumps(told.to_json()))
    seen = prunecli.inspect(DEMO, inputs=INPUT)
    (folder / "seen.json").write_text(json.dumps(seen.to_json()))
    tensors = load_file(DEMO)
    save_file({**tensors, "conv1.weight": tensors["conv1.weight"] * 1.1}, folder / "louder.safetensors")
    torch.save(resnet8().state_dict(), folder / "colour.pth")
    return folder


def diff(a: Path, b: Path, **options: Any) -> Difference:
    return prunecli.diff(a, b, **{"inputs": INPUT, **options})


def test_a_file_beside_itself() -> None:
    found = diff(DEMO, DEMO)
    assert found.relation == "identical"
    assert found.tensors is not None and found.tensors.equal == len(load_file(DEMO))
    assert not any(row.differs for row in found.layers)
    assert found.a.totals == found.b.totals


def test_the_same_network_with_other_weights(folder: Path) -> None:
    found = diff(DEMO, folder / "louder.safetensors")
    assert found.relation == "changed"
    changed = [row for row in found.layers if row.differs]
    assert [row.name for row in changed] == ["conv1"]
    assert changed[0].change == pytest.approx(0.1)
    assert "1 of 56 tensors" in found.verdict


def test_a_cut_is_told_by_the_digest_in_its_recipe(folder: Path) -> None:
    found = diff(DEMO, folder / "half.safetensors")
    report = json.loads((folder / "half.json").read_text())
    assert found.relation == "cut"
    assert found.verdict.startswith("half.safetensors was cut from digits_resnet8.safetensors")
    assert found.verdict.endswith("what is left has the same weights, bit by bit")
    for side, key in ((found.a, "before"), (found.b, "after")):
        assert side.totals.params == report[key]["params"]
        assert (side.totals.macs, side.totals.bytes) == (report[key]["macs"], report[key]["bytes"])
    kept = {row["name"]: (row["dense"], row["dense"], row["kept"]) for row in report["groups"]}
    assert {row.name: (row.dense, row.a, row.b) for row in found.groups} == {
        name: sizes for name, sizes in kept.items() if sizes[2] < sizes[0]
    }
    rows = {row["name"]: row for row in report["layers"]}
    for layer in found.layers:
        row = rows[layer.name]
        assert (layer.params_a, layer.params_b) == (row["params_before"], row["params_after"])
        assert (layer.macs_a, layer.macs_b) == (row["macs_before"], row["macs_after"])
        assert layer.change in (0.0, None)
    back = diff(folder / "half.safetensors", DEMO)
    assert (back.relation, back.verdict) == ("cut", found.verdict)
    assert [(row.a, row.b) for row in back.groups] == [(row.b, row.a) for row in found.groups]


def test_without_input_both_are_counted_on_that_of_the_one_that_says_it(folder: Path) -> None:
    """The demo's network was cut at 1x8x8, and its class takes 1x32x32 unless told: 16 times the MACs."""
    report = json.loads((folder / "half.json").read_text())
    before, after = (report[key]["macs"] for key in ("before", "after"))
    half, told, seen = folder / "half.safetensors", folder / "half.json", folder / "seen.json"
    for a, b in ((DEMO, half), (DEMO, told), (seen, half)):
        there, back = diff(a, b, inputs=()), diff(b, a, inputs=())
        assert (there.a.totals.macs, there.b.totals.macs) == (before, after)
        assert (back.a.totals.macs, back.b.totals.macs) == (after, before)
        assert next(sizes(there))[3] == f"{before / after:.2f}x" == "2.00x"
        assert there.same_inputs and not any("different inputs" in note for note in there.notes)


def test_other_inputs_are_said_and_give_no_ratio(folder: Path, no_reload: None) -> None:
    path = folder / "larger.safetensors"
    prunecli.prune(DEMO, inputs=("1,16,16",), speedup=2, repair="none").save(path)
    found = diff(folder / "half.safetensors", path, inputs=())
    assert next(sizes(found))[3:] == ("-", "-")
    assert found.notes[-1] == (
        "MACs are of different inputs, and not compared: half.safetensors takes 1x1x8x8, "
        "larger.safetensors 1x1x16x16"
    )
    assert diff(folder / "half.safetensors", path).same_inputs
    assert "1x1x8x8" in diff(folder / "half.json", path, inputs=("1,16,16",)).notes[-1]


def test_a_cut_whose_weights_changed_says_what_and_how_far(folder: Path, no_reload: None) -> None:
    path = folder / "mended.safetensors"
    made = prunecli.prune(DEMO, inputs=INPUT, speedup=8, repair="bn", data="digits", samples=64)
    made.save(path)
    found = diff(DEMO, path)
    assert found.relation == "cut"
    assert found.b.changed_by == ("repair bn",)
    assert "tensors changed (repair bn)" in found.verdict
    changed = {row.name for row in found.layers if row.change}
    assert changed and all(row.type == "BatchNorm2d" for row in found.layers if row.name in changed)


def test_a_cut_of_another_file_is_only_one_of_other_widths(folder: Path) -> None:
    found = diff(folder / "louder.safetensors", folder / "half.safetensors")
    assert found.relation == "resized"
    assert found.groups == ()
    assert found.tensors is not None and found.tensors.resized > 0


def test_two_cuts_of_one_file_share_units(folder: Path) -> None:
    found = diff(folder / "half.safetensors", folder / "third.safetensors")
    assert found.relation == "resized"
    assert found.verdict.startswith("two cuts of the same checkpoint")
    one, other = (
        prunecli.checkpoint.read(folder / f"{name}.safetensors").recipe for name in ("half", "third")
    )
    assert one is not None and other is not None
    for row in found.groups:
        sets = [set(recipe.plan.keep.get(row.name, range(row.dense))) for recipe in (one, other)]
        assert (row.a, row.b, row.shared) == (len(sets[0]), len(sets[1]), len(sets[0] & sets[1]))


def test_different_networks_are_said_to_be_and_judged_all_the_same(folder: Path, tmp_path: Path) -> None:
    from prunecli.networks.cifar import REGISTRY

    other = tmp_path / "other.pth"
    torch.save(REGISTRY["resnet20"]().state_dict(), other)
    found = diff(DEMO, other, gates={"max_params": 272474, "max_macs": 10})
    assert found.relation == "different"
    assert "digits_resnet8.safetensors is cifar:resnet8" in found.verdict
    assert "other.pth is cifar:resnet20 (272 k parameters" in found.verdict
    assert (found.layers, found.groups, found.tensors) == ((), (), None)
    assert any("counted on its own input" in note for note in found.notes)
    assert [(gate.name, gate.found, gate.passed) for gate in found.gates] == [
        ("max-params", 272474, True), ("max-macs", found.b.totals.macs, False),
    ]  # fmt: skip


def test_reports_are_read_for_what_is_in_them(folder: Path) -> None:
    runs = diff(folder / "half.json", folder / "third.json", gates={"max_params": 1, "min_accuracy": 0.5})
    files = diff(folder / "half.safetensors", folder / "third.safetensors")
    assert (runs.relation, runs.a.kind) == ("runs", "report")
    assert runs.a.totals == files.a.totals and runs.b.totals == files.b.totals
    assert [replace(row, change=None) for row in files.layers] == list(runs.layers)
    assert {(row.name, row.a, row.b) for row in runs.groups} >= {
        (row.name, row.a, row.b) for row in files.groups
    }
    assert {row.name: (row.a, row.b) for row in runs.options} == {"speedup": (2, 3), "round_to": (1, 2)}
    assert runs.a.before == runs.b.before == diff(DEMO, DEMO).a.totals
    assert [(gate.found is None, gate.passed) for gate in runs.gates] == [(False, False), (True, False)]


@pytest.mark.parametrize(
    ("a", "b", "relation", "said"),
    [
        ("half.safetensors", "half.json", "described", "half.json is the report of half.safetensors"),
        ("third.json", DEMO, "described", "is what the run of third.json began with"),
        ("third.json", "half.safetensors", "alike", "nothing is known of the weights"),
        ("half.json", "half.json", "identical", "two reports of the same file"),
        ("seen.json", DEMO, "described", "seen.json is the inspection of"),
        ("seen.json", "colour.pth", "alike", "nothing is known of the weights"),
    ],
)
def test_a_report_and_another_file(a: str, b: str, relation: str, said: str, folder: Path) -> None:
    inputs = () if b == "colour.pth" else INPUT
    found = diff(folder / a, folder / b, inputs=inputs)
    assert (found.relation, said in found.verdict) == (relation, True), found.verdict


def test_trainings_have_no_sizes_but_accuracy_and_files(folder: Path, tmp_path: Path) -> None:
    half = json.loads((folder / "half.json").read_text())
    source = Source("half.safetensors", half["output"]["digest"], "safetensors")
    one = replace(
        finetuning(), checkpoint=source, before=Quality(9, 0.5), after=Quality(9, 0.75),
        settings={"lr": 0.1, "clip": None}, gates=(), latency=None,
    )  # fmt: skip
    other = replace(one, settings={"lr": 0.2, "clip": None}, output=None)
    paths = [tmp_path / "one.json", tmp_path / "other.json"]
    for path, document in zip(paths, (one, other), strict=True):
        path.write_text(json.dumps(document.to_json()))
    found = diff(*paths, gates={"min_accuracy": 0.75, "max_params": 5})
    assert (found.relation, found.verdict) == ("runs", "two runs on the same checkpoint, half.safetensors")
    assert [(row.name, row.a, row.b) for row in found.options] == [("lr", 0.1, 0.2)]
    assert {row[1:] for row in sizes(found)} == {("-", "-", "-", "-")}
    assert dict(facts(found))["first began with"] == "top-1 50.00%"
    assert [(gate.found, gate.passed) for gate in found.gates] == [(None, False), (0.75, True)]
    assert "top-1 " in html.difference(found) and "| MACs | - | - | - | - |" in markdown(found)
    assert diff(paths[0], paths[0]).relation == "identical"
    cut = diff(folder / "half.json", paths[0], inputs=())
    assert (cut.relation, cut.a.totals.params) == ("described", half["after"]["params"])
    assert cut.verdict == "one.json began with the result of half.json, by its digest"
    assert diff(folder / "half.safetensors", paths[0]).relation == "described"
    assert diff(folder / "third.json", paths[0]).relation == "different"


def test_accuracy_is_that_of_eval_and_the_drop_is_from_the_first(folder: Path) -> None:
    half = folder / "half.safetensors"
    limits = {"max_drop": 0.0, "min_agreement": 1.0, "min_accuracy": 0.5}
    found = diff(DEMO, half, data="digits", samples=90, gates=limits)
    alone = prunecli.evaluate(half, data="digits", samples=90, against=DEMO)
    assert (found.b.quality, found.a.quality) == (alone.quality, alone.dense)
    assert found.data == alone.data
    assert alone.dense is not None and alone.quality.top1 is not None and alone.dense.top1 is not None
    drop = pytest.approx(alone.dense.top1 - alone.quality.top1)
    assert [gate.found for gate in found.gates] == [alone.quality.top1, drop, alone.quality.agreement]
    own = diff(folder / "half.json", half, data="digits", samples=90)
    assert own.b.quality == prunecli.evaluate(half, data="digits", samples=90).quality


def test_networks_that_are_not_known_are_compared_by_their_tensors(folder: Path, tmp_path: Path) -> None:
    tensors = {
        "enc.weight": torch.arange(6.0).reshape(2, 3) + 1, "enc.running_mean": torch.ones(2),
        "dec.weight": torch.ones(4),
    }  # fmt: skip
    files = {
        "one": tensors, "same": tensors, "moved": {**tensors, "enc.weight": tensors["enc.weight"] * 1.5},
        "small": {**tensors, "dec.weight": torch.ones(3)}, "odd": {"x": torch.ones(5)},
    }  # fmt: skip
    for name, content in files.items():
        torch.save(content, tmp_path / f"{name}.pth")
    one = tmp_path / "one.pth"
    for name, relation, params in (
        ("same", "identical", 10), ("moved", "changed", 10), ("small", "resized", 9), ("odd", "different", 5),
    ):  # fmt: skip
        found = diff(one, tmp_path / f"{name}.pth", inputs=(), gates={"max_params": 9})
        assert (found.relation, found.a.totals.params, found.b.totals.params) == (relation, 10, params)
        assert (found.a.totals.bytes, found.a.totals.macs) == (48, None)
        assert [gate.passed for gate in found.gates] == [params <= 9]
        assert next(sizes(found)) == ("MACs", "-", "-", "-", "-")
        assert any(note.startswith("one.pth: the network of") for note in found.notes), found.notes
        assert "| MACs | - | - | - | - |" in markdown(found) and "sha256" in html.difference(found)
        if relation == "changed":
            changed = [(row.name, row.shape_a, row.change) for row in found.layers if row.differs]
            assert changed == [("enc", (2, 3), pytest.approx(0.5, rel=0.02))]
    mixed = diff(DEMO, one)
    assert (mixed.relation, mixed.a.totals.params is None) == ("different", False)
    assert "one.pth is a network that is not known (10 parameters, 48 B)" in mixed.verdict
    for options in ({"data": "digits"}, {"gates": {"max_latency": 5.0}}):
        with pytest.raises(InputError, match=r"one\.pth: the network of this checkpoint is not known"):
            diff(one, DEMO, **options)
    with pytest.raises(InputError, match=r"one\.pth: "):
        diff(folder / "half.json", one)


def test_what_cannot_be_compared_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="both are reports"):
        diff(folder / "half.json", folder / "third.json", data="digits")
    with pytest.raises(UsageError, match="--min-accuracy needs labelled data"):
        diff(folder / "half.json", DEMO, gates={"min_accuracy": 0.5})
    with pytest.raises(UsageError, match="--max-drop needs labels, and noise has none"):
        diff(DEMO, DEMO, data="noise", gates={"max_drop": 0.5})
    with pytest.raises(UsageError, match="no such file"):
        diff(DEMO, folder / "nothing.pth")
    (folder / "text.pth").write_text("hello")
    with pytest.raises(InputError, match="is not a checkpoint"):
        diff(folder / "text.pth", DEMO)
    with pytest.raises(InputError, match="does not run on an input of 1x3x8x8"):
        diff(DEMO, DEMO, inputs=("3,8,8",))


def test_a_plan_that_is_not_of_the_network_costs_the_weights_and_not_the_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise InputError("the plan cuts group 'x', which this network does not have")

    monkeypatch.setattr("prunecli.comparing.planned", refused)
    found = diff(DEMO, folder / "half.safetensors")
    assert (found.relation, found.tensors) == ("cut", None)
    assert found.groups and all(row.change is None for row in found.layers)
    assert found.notes[-1].startswith("the cut could not be made again to compare weights")
