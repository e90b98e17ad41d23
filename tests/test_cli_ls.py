from __future__ import annotations

import json

import pytest
from cli_runner import run_here

from prunecli.cli import names


@pytest.mark.parametrize(("what", "known"), [("criteria", names.CRITERIA), ("schemes", names.SCHEMES)])
def test_methods_are_listed_with_summary_and_source(
    what: str, known: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "ls", what)
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()[2:]] == list(known)
    data = json.loads(run_here(capsys, "ls", what, "--json").out)
    assert data["schema"] == "prunecli.ls/1"
    assert all(entry["summary"] and entry["source"] for entry in data["entries"])


def test_networks_are_one_name_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run_here(capsys, "ls", "networks").out.splitlines()
    assert "torchvision:resnet50" in lines
    assert "cifar:resnet56" in lines
    entries = json.loads(run_here(capsys, "ls", "networks", "--json").out)["entries"]
    assert [entry["name"] for entry in entries] == lines


def test_an_unknown_list(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "ls", "criterion")
    assert (ran.code, ran.err) == (2, "error: unknown list 'criterion'\nhint: did you mean criteria?\n")


def test_criteria_say_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    entries = json.loads(run_here(capsys, "ls", "criteria", "--json").out)["entries"]
    needs = {entry["name"]: entry["needs"] for entry in entries}
    assert (needs["lamp"], needs["cp"], needs["taylor"]) == ("weights", "data", "data, labels if any")
    assert needs.keys() == set(names.CRITERIA)
    assert "needs" in run_here(capsys, "ls", "criteria").out.splitlines()[0]
    assert "needs" not in run_here(capsys, "ls", "schemes").out.splitlines()[0]
