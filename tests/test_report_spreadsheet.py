from __future__ import annotations

import csv
import io
from dataclasses import replace

from report_examples import LAYERS, evaluation, finetuning, full_inspection, full_report, report

from prunecli.report import spreadsheet


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_figure_of_a_layer_is_that_of_the_json() -> None:
    found, data = rows(spreadsheet.layers(report())), report().to_json()["layers"]
    assert len(found) == len(data)
    for row, layer in zip(found, data, strict=True):
        assert list(row)[: len(layer)] == list(layer)
        for name, value in layer.items():
            if name.startswith("shape"):
                assert [int(part) for part in row[name].split("x") if part] == value
            elif isinstance(value, str):
                assert row[name] == value
            else:
                assert float(row[name]) == value


def test_what_was_measured_of_a_layer_stands_behind_it() -> None:
    """By name, whatever the order, and empty where it was not."""
    data = full_report().to_json()
    timed = {row["name"]: row for row in data["latency"]["layers"]}
    sparse = {row["name"]: row for row in data["sparsity"]}
    for row in rows(spreadsheet.layers(full_report())):
        name = row["name"]
        for side in ("before", "after"):
            spread = timed.get(name, {}).get(side)
            assert row[f"latency.{side}"] == ("" if spread is None else repr(spread["median"]))
        for key in data["sparsity"][0].keys() - {"name"}:
            value = sparse.get(name, {}).get(key)
            assert row[f"result.{key}"] == ("" if value is None else repr(value))
    assert {row["result.params"] for row in rows(spreadsheet.layers(report()))} == {""}


def test_the_layers_of_an_inspection_are_those_of_the_json() -> None:
    found = full_inspection()
    data = found.to_json()
    timed = {row["name"]: row["before"]["median"] for row in data["latency"]["layers"]}
    zeros = {row["name"]: row["zeros"] for row in data["sparsity"]}
    written = rows(spreadsheet.layers(found))
    assert len(written) == len(data["layers"])
    for row, layer in zip(written, data["layers"], strict=True):
        assert (row["name"], int(row["params_before"])) == (layer["name"], layer["params_before"])
        assert row["latency.before"] == repr(timed.get(row["name"], "")).strip("'")
        assert row["latency.after"] == ""
        assert row["result.zeros"] == str(zeros.get(row["name"], ""))


def test_every_network_of_an_evaluation_is_a_row() -> None:
    found = evaluation()
    data = found.to_json()
    dense, this = rows(spreadsheet.networks(found))
    assert (dense["network"], this["network"]) == ("dense", "this")
    for row, quality in ((dense, data["dense"]), (this, data["quality"])):
        for name, value in quality.items():
            assert row[name] == ("" if value is None else repr(value))
    assert [row["network"] for row in rows(spreadsheet.networks(replace(found, dense=None)))] == ["this"]


def test_every_figure_of_an_epoch_is_that_of_the_json() -> None:
    trained = replace(
        finetuning(), epochs=(*finetuning().epochs, replace(finetuning().epochs[0], quality=None))
    )
    found, data = rows(spreadsheet.epochs(trained)), trained.to_json()["epochs"]
    for row, epoch in zip(found, data, strict=True):
        for name in ("epoch", "loss", "top1", "lr", "seconds", "samples"):
            assert float(row[name]) == epoch[name]
        quality = epoch["quality"] or dict.fromkeys(("top1", "loss", "agreement"))
        for name in ("top1", "loss", "agreement"):
            cell = row[f"validation.{name}"]
            assert cell == "" if quality[name] is None else float(cell) == quality[name]


def test_no_name_is_a_formula() -> None:
    odd = replace(report(), layers=(replace(LAYERS[0], name='=HYPERLINK("x"),\n1'), *LAYERS[1:]))
    first = rows(spreadsheet.layers(odd))[0]
    assert first["name"] == '\'=HYPERLINK("x"), 1'
    assert float(first["macs_before"]) == LAYERS[0].macs_before
