from __future__ import annotations

from dataclasses import replace

from report_examples import NETWORK, evaluation
from test_report_terminal import lines, printed

from prunecli.report import evaluated
from prunecli.report.figures import Quality


def test_one_network() -> None:
    found = replace(evaluation(), dense=None, against=None, quality=Quality(1, top1=0.5))
    rows = lines(evaluated.evaluation(found))
    assert rows[0] == ["resnet50.pth", str(NETWORK.spec)]
    assert ["data", "imagefolder:photos,", "200", "samples"] in rows
    assert ["top-1", "50.00%"] in rows
    assert not any("top-5" in row or "dense" in row for row in rows)


def test_beside_the_dense_one() -> None:
    rows = lines(evaluated.evaluation(evaluation()))
    assert ["against", "dense.pth"] in rows
    assert ["quality", "dense", "this"] in rows
    assert ["top-1", "80.00%", "75.50%"] in rows
    assert ["top-1", "as", "the", "dense", "network", "-", "91.00%"] in rows
    assert ["output", "error", "(relative)", "-", "0.123"] in rows


def test_no_figure_no_line_and_no_labels_said() -> None:
    found = evaluation()
    found = replace(found, data=replace(found.data, labelled=False, samples=1), quality=Quality(1, error=0.5))
    text = printed(evaluated.evaluation(replace(found, dense=Quality(1))))
    assert "1 sample, without labels" in text
    assert "top-1" not in text


def test_any_number_of_networks_side_by_side() -> None:
    columns = {"dense": Quality(4, top1=1.0), "cut": Quality(4, top1=0.25), "repaired": Quality(4, top1=0.75)}
    assert ["top-1", "100.00%", "25.00%", "75.00%"] in lines((evaluated.quality(columns),))
