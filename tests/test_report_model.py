from __future__ import annotations

import json
from dataclasses import replace

from report_examples import inspection, report, verification

from prunecli.report.model import Proof


def test_the_schema_name_comes_first_and_every_document_is_json() -> None:
    for document, name in (
        (report(), "prunecli.report/1"),
        (inspection(), "prunecli.inspect/1"),
        (verification(), "prunecli.verify/1"),
    ):
        data = document.to_json()
        assert next(iter(data)) == "schema"
        assert data["schema"] == name
        assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_rows_keep_names_shapes_and_reasons() -> None:
    data = report().to_json()
    assert data["layers"][0]["shape_after"] == [40, 3, 7, 7]
    assert data["groups"][1] == {
        "name": "fc",
        "kind": "channels",
        "dense": 10,
        "kept": 10,
        "layers": ["fc"],
        "status": "whole",
        "reason": "it reaches the output of the network",
        "value_changing": None,
    }
    assert data["unsupported"] == {"aten::cumsum": 2}
    assert data["command"] == ["prune", "run", "resnet50.pth", "--speedup", "2"]


def test_an_error_that_is_not_finite_becomes_null() -> None:
    proof = Proof("masked network", False, float("nan"), float("inf"))
    data = replace(report(), proofs=(proof,)).to_json()
    assert data["proofs"][0]["error"] is None
    assert data["proofs"][0]["tolerance"] is None


def test_a_verification_passes_only_when_every_proof_does() -> None:
    assert verification(Proof("a", True), Proof("b", True)).passed
    failed = verification(Proof("a", True), Proof("b", False))
    assert not failed.passed
    assert failed.to_json()["passed"] is False
