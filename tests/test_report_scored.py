from __future__ import annotations

import json
from dataclasses import replace

from report_examples import SCORED, UNSCORED, scoring


def test_a_row_per_unit_and_criterion() -> None:
    rows = list(scoring().rows)
    assert len(rows) == 4 + 4 + 2
    assert rows[:2] == [("conv1", 0, "taylor", 0.5), ("conv1", 1, "taylor", 2.0)]
    assert rows[7:9] == [("conv1", 3, "lamp", 0.2), ("layer1.0.conv1", 0, "taylor", 3.0)]
    assert list(replace(scoring(), groups=(UNSCORED,)).rows) == []


def test_the_document_keeps_every_score_and_every_reason() -> None:
    told = json.loads(json.dumps(scoring().to_json()))
    assert next(iter(told)) == "schema"
    assert told["schema"] == "prunecli.score/1"
    assert told["groups"][0]["scores"] == {"taylor": [0.5, 2.0, 1.0, 0.0], "lamp": [0.1, 1.0, 0.5, 0.2]}
    assert told["groups"][1]["not_scorable"] == {"lamp": "no weights to score"}
    assert told["groups"][2]["frozen"] == "it reaches the output of the network"
    assert told["correlations"] == [
        {"first": "taylor", "second": "lamp", "within": 0.8, "groups": 1, "across": None, "units": 4}
    ]


def test_a_score_is_the_float_that_was_taken() -> None:
    value = 0.1 + 0.2
    found = replace(scoring(), groups=(replace(SCORED, scores={"taylor": (value,)}),))
    assert json.loads(json.dumps(found.to_json()))["groups"][0]["scores"]["taylor"] == [value]
