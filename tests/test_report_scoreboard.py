from __future__ import annotations

from dataclasses import replace

import pytest
from report_examples import HALF_SCORED, SCORED, scoring
from test_report_terminal import lines, printed

from prunecli.report.scoreboard import scoring as shown
from prunecli.report.scored import CriterionFacts, RankCorrelation, ScoredGroup, Scoring


def test_what_was_scored_on_what() -> None:
    rows = lines(shown(scoring(), False))
    assert rows[0] == ["resnet50.pth", "torchvision:resnet50"]
    assert ["scored", "2", "groups,", "6", "units"] in rows
    assert ["data", "imagefolder:photos,", "200", "samples"] in rows
    assert ["time", "2.1", "s"] in rows
    unlabelled = replace(scoring(), data=None, checkpoint=None)
    assert "data" not in {row[0] for row in lines(shown(unlabelled, False)) if row}


def test_a_table_per_criterion_with_its_figures() -> None:
    rows = lines(shown(scoring(), False))
    taylor = rows.index(["taylor", "reduce", "sum,", "normalize", "none,", "loss", "cross-entropy"])
    lamp = rows.index(["lamp", "reduce", "sum,", "normalize", "none"])
    assert rows[taylor + 1] == ["group", "kind", "units", "min", "median", "max", "distribution"]
    # The median of 0, 0.5, 1, 2 lies between the middle two.
    assert rows[taylor + 3][:6] == ["conv1", "channels", "4", "0", "0.75", "2"]
    assert rows[taylor + 4][:6] == ["layer1.0.conv1", "channels", "2", "3", "3.5", "4"]
    assert rows[lamp + 3][:6] == ["conv1", "channels", "4", "0.1", "0.35", "1"]
    assert ["1", "no", "weights", "to", "score"] in rows[lamp:]
    assert rows[-1] == ["1", "it", "reaches", "the", "output", "of", "the", "network"]


def test_a_criterion_that_scores_nothing_has_its_reasons() -> None:
    found = replace(scoring(), groups=(replace(HALF_SCORED, scores={}),), criteria=scoring().criteria[1:])
    rows = lines(shown(found, False))
    assert ["groups", "not", "scorable", "reason"] in rows
    assert not any("median" in row for row in rows)


def test_correlations_are_shown_where_asked_for() -> None:
    assert "rank correlation" not in printed(shown(scoring(), False))
    text = printed(shown(scoring(), True))
    assert "rank correlation inside groups (mean over 1 groups, by units)" in text
    assert "rank correlation over all 4 units (as normalized above)" in text
    rows = lines(shown(scoring(), True))
    assert ["2", "lamp", "0.80"] in rows
    assert ["2", "lamp", "-"] in rows


def many(count: int) -> Scoring:
    """Criterion i and j correlate by (i + j) / 100."""
    names = [f"loss-preservation-{index}" for index in range(count)]
    pairs = [
        RankCorrelation(names[i], names[j], (i + j) / 100, i + 1, -(i + j) / 100, j + 1)
        for i in range(count)
        for j in range(i + 1, count)
    ]
    criteria = tuple(CriterionFacts(name, "sum", "none") for name in names)
    return replace(scoring(), criteria=criteria, groups=(SCORED,), correlations=tuple(pairs))


@pytest.mark.parametrize("width", [80, 120])
def test_a_large_matrix_fits_and_has_every_pair_once(width: int) -> None:
    text = printed(shown(many(13), True), width)
    assert max(map(len, text.splitlines())) <= width
    inside, across = text.split("rank correlation over")
    assert inside.count("0.23") == sum(i + j == 23 for i in range(13) for j in range(i)) == 1
    assert across.count("-0.12") == sum(i + j == 12 for i in range(13) for j in range(i)) == 6
    assert "(mean over 1 to 12 groups, by units)" in text


def test_long_names_are_readable_on_80_columns() -> None:
    name = "encoder.layers.encoder_layer_11.self_attention.out_proj:heads"
    group = ScoredGroup(name, "head dimension", 1024, None, {"taylor": (-1.234e-11, 1.0)})
    found = replace(scoring(), groups=(group,), criteria=scoring().criteria[:1])
    text = printed(shown(found, False), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "-1.23e-11" in text
    for piece in ("encoder_layer_11", ".self_attention", ".out_proj", ":heads"):
        assert piece in text
