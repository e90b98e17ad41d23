from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from cli_runner import ROOT
from report_examples import (
    difference,
    evaluation,
    explanation,
    finetuning,
    inspection,
    report,
    scoring,
    verification,
)

from prunecli.report.schema import json_schema, written


def test_the_shipped_schema_is_current() -> None:
    path = ROOT / "docs" / "report.schema.json"
    assert path.read_text(encoding="utf-8") == written(), (
        "python -m prunecli.report.schema --write " + path.name
    )


@pytest.mark.parametrize(
    "document",
    [
        report(),
        replace(report(), output=None, checkpoint=None),
        replace(report(), options={"steps": 1, "ignore": ("a", "b")}),
        inspection(),
        explanation(),
        verification(),
        evaluation(),
        finetuning(),
        replace(finetuning(), checkpoint=None, validation=None, against=None, output=None, best=None),
        replace(evaluation(), checkpoint=None, against=None, dense=None),
        scoring(),
        difference(),
        replace(scoring(), checkpoint=None, data=None, correlations=()),
    ],
)
def test_documents_are_valid(document: Any) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(json.dumps(document.to_json())))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "prunecli.report/2"),
        (("before", "params"), "many"),
        (("groups", 0, "status"), "gone"),
        (("layers", 0, "shape_before"), 64),
        (("proofs", 0, "passed"), None),
        (("target",), None),
    ],
)
def test_a_wrong_field_is_refused(path: tuple[Any, ...], value: object) -> None:
    data = report().to_json()
    inner: Any = data
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate(data)


def test_a_missing_field_is_refused_and_a_new_one_is_not() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    data = report().to_json()
    validator.validate(data | {"novelty": {"top1": 0.9}})
    del data["counter"]
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(data)
