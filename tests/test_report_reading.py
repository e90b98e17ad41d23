from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_examples import LATENCY, QUALITY, REPAIR, finetuning, inspection, report
from test_report_gated import GATES

from prunecli.errors import InputError, UsageError
from prunecli.report.epochs import EpochRow, TrainedStage
from prunecli.report.figures import DataFacts, Quality, ScoreHistogram
from prunecli.report.model import Inspection, Report
from prunecli.report.reading import is_report, read_report

STAGE = TrainedStage(
    "finetuned", {"lr": 0.1, "milestones": (1, 2), "clip": None}, DataFacts("digits", 9, True), None, True,
    "cpu", 2, (EpochRow(1, 0.5, None, 0.1, 2.0, 9),), 2.0,
)  # fmt: skip
FULL = replace(
    report(), repair=REPAIR, quality=QUALITY, training=(STAGE,), gates=GATES,
    options={"speedup": 2, "only": ("a", "b"), "reduce": None},
)  # fmt: skip

ODD = replace(
    report(), quality={"cut": Quality(5, 1.0, loss=-1e30, divergence=-1e-9)},
    options={"seed": 2**64 - 1, "scale": -0.5}, scores=(ScoreHistogram("conv1", -2.0, -1.0, (3,), (1,)),),
)  # fmt: skip


def written(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "document", [report(), FULL, ODD, replace(report(), checkpoint=None), inspection(), finetuning()]
)
def test_what_was_written_is_read_as_it_was(document: Report | Inspection, tmp_path: Path) -> None:
    assert read_report(written(tmp_path / "r.json", document.to_json())) == document


def test_other_versions_have_more_fields_or_fewer(tmp_path: Path) -> None:
    data = report().to_json() | {"novelty": {"top1": 0.9}}
    for name in ("gates", "latency", "sparsity", "notes"):
        del data[name]
    assert read_report(written(tmp_path / "r.json", data)) == report()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("before", "params"), "many", "'before.params' is not a whole number"),
        (("before", "params"), True, "'before.params' is not a whole number"),
        (("layers", 1, "macs_after"), 1.5, "'layers[1].macs_after' is not a whole number"),
        (("layers",), {}, "'layers' is not a list"),
        (("groups", 0, "status"), "gone", "'groups[0].status' is not pruned or whole or prunable"),
        (("target",), None, "'target' is not an object"),
        (("network", "arguments"), [], "'network.arguments' is not an object"),
        (("proofs", 0, "passed"), 1, "'proofs[0].passed' is not true or false"),
        (("counter",), 3, "'counter' is not a text"),
        (("quality",), {"cut": {"top1": 0.5}}, "'quality.cut.samples' is missing"),
        (("target", "reached"), "far", "'target.reached' is not a number"),
        (("after", "params"), 10**400, "'after.params' is not between 0 and 9223372036854775808"),
        (("after", "macs"), -1, "'after.macs' is not between 0"),
        (("layers", 0, "shape_after"), [-3], "'layers[0].shape_after[0]' is not between 0"),
        (("latency", "after", "median"), -0.5, "'latency.after.median' is not between 0"),
        (("latency", "after", "median"), 10**400, "'latency.after.median' is not between 0"),
        (("latency", "speedup"), float("inf"), "'latency.speedup' is not a finite number"),
        (("target", "reached"), 10**400, "'target.reached' is not a finite number"),
        (("target", "reached"), float("nan"), "'target.reached' is not a finite number"),
        (("timings",), {"read": -1}, "'timings.read' is not between 0"),
        (("steps",), [float("inf")], "'steps[0]' is not between 0"),
        (("quality",), {"cut": {"samples": 5, "top1": 1.5}}, "'quality.cut.top1' is not between 0 and 1"),
        (("options",), {"speedup": 10**400}, "'options.speedup' is not between"),
        (("options",), {"only": [float("inf")]}, "'options.only[0]' is not between"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_wrong_field_is_named(path: tuple[Any, ...], value: object, message: str, tmp_path: Path) -> None:
    data = replace(report(), latency=LATENCY).to_json()
    inner: Any = data
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(InputError) as caught:
        read_report(written(tmp_path / "r.json", data))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it names no schema"),
        ('{"schema": 3}', "it names no schema"),
        ('{"schema": "prunecli.eval/1"}', "its schema is prunecli.eval/1"),
        ('{"schema": "prunecli.report/1"}', "'version' is missing"),
    ],
)
def test_what_is_no_report_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_report(path)


def test_bytes_that_are_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match="it is not JSON"):
        read_report(tmp_path / "r.json")
    with pytest.raises(UsageError, match="no such file"):
        read_report(tmp_path / "s.json")


def test_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    assert is_report(Path("a/small.json"))
    for name in ("small.safetensors", "model.safetensors.index.json", str(tmp_path / "folder.json")):
        assert not is_report(Path(name))
