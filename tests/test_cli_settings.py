from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prunecli.cli import settings
from prunecli.errors import InputError, UsageError
from prunecli.plan import Plan

LIMITS = settings.Limits(0.1, 1.0, 1, 1, 0.005, 0, None)
CHOICES = settings.Choices("magnitude-l2", "protected", None, None, "auto")
REPAIR = settings.Repair()


def test_what_is_said_of_groups_is_read_glob_by_glob() -> None:
    read = settings.groups(0.5, ["a", "b"], None, ["a.*=0.25", "b=c=0"], ["a=8"])
    assert read == settings.Groups(0.5, ("a", "b"), (), {"a.*": 0.25, "b=c": 0.0}, {"a": 8})
    assert settings.groups(None, None, None, None, None) == settings.Groups()
    assert settings.groups(None, None, None, ["a=0.5", "a=0.5"], None).ratio_for == {"a": 0.5}


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("protect", (0, 0.1, 1), (-0.1, 1.1, math.nan)),
        ("max_ratio", (0.1, 1), (0, 1.1, math.nan)),
        ("round_to", (1, 8), (0, -1)),
        ("steps", (1, 400), (0,)),
        ("tolerance", (0, 0.5), (-0.1, 1, math.nan)),
        ("seed", (0, 7), (-1,)),
        ("threads", (None, 1, 8), (0, -1)),
    ],
)
def test_numbers_have_a_range(field: str, good: tuple[float, ...], bad: tuple[float, ...]) -> None:
    for value in good:
        replace(LIMITS, **{field: value}).check()  # type: ignore[arg-type]
    for value in bad:
        with pytest.raises(UsageError, match="--" + field.replace("_", "-")):
            replace(LIMITS, **{field: value}).check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "good", "bad", "nearest"),
    [
        ("criterion", "lamp", "magnitude-l3", "magnitude-l2"),
        ("scheme", "global", "globl", "global"),
        ("reduce", "max", "maxx", "max"),
        ("normalize", "gaussian", "gausian", "gaussian"),
        ("device", "cuda", "cuba", "cuda"),
    ],
)
def test_unknown_names_get_the_nearest(field: str, good: str, bad: str, nearest: str) -> None:
    replace(CHOICES, **{field: good}).check()
    with pytest.raises(UsageError, match=bad) as caught:
        replace(CHOICES, **{field: bad}).check()
    assert "did you mean " in str(caught.value.hint)
    assert nearest in str(caught.value.hint)


@pytest.mark.parametrize(
    ("bad", "twin", "said"),
    [
        ({"loss": "crossentropy"}, {"loss": "cross-entropy"}, "unknown loss 'crossentropy'"),
        ({"loss": "own.py"}, {"loss": "own.py:f"}, "unknown loss 'own.py'"),
        ({"loss": "kd"}, {"loss": "mse"}, "--loss kd compares with another network"),
        ({"temperature": 0.0}, {"temperature": 200.0}, "--temperature 0 is out of range"),
        ({"temperature": math.inf}, {"temperature": 0.5}, "--temperature inf is out of range"),
    ],
)
def test_losses_are_checked_before_any_work(bad: dict[str, Any], twin: dict[str, Any], said: str) -> None:
    replace(CHOICES, **twin).check()
    with pytest.raises(UsageError) as caught:
        replace(CHOICES, **bad).check()
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("bad", "twin", "said"),
    [
        ({"method": "lstq"}, {"method": "lstsq"}, "unknown repair 'lstq'"),
        ({"method": ""}, {"method": "none"}, "unknown repair ''"),
        ({"memory": "abc"}, {"memory": "2"}, "--memory abc is not a size"),
        ({"memory": "GB"}, {"memory": "1GB"}, "--memory GB is not a size"),
        ({"memory": "1XB"}, {"memory": "1TB"}, "--memory 1XB is not a size"),
        ({"memory": "-1GB"}, {"memory": "0.5 GiB"}, "--memory -1GB is not a size"),
        ({"memory": "1kB"}, {"memory": "1024kB"}, "--memory 1024 is out of range"),
        ({"memory": "0"}, {"memory": "1m"}, "--memory 0 is out of range"),
        ({"seconds": 0.0}, {"seconds": 0.1}, "--repair-seconds 0 is out of range"),
        ({"seconds": math.nan}, {"seconds": None}, "--repair-seconds nan is out of range"),
        ({"samples": 0}, {"samples": 1}, "--samples 0 is out of range"),
        ({"transform": "cifar"}, {"transform": "cifar", "data": "digits"}, "without --data"),
        ({"transform": "cifr", "data": "digits"}, {"data": "digits"}, "unknown transform 'cifr'"),
        ({"data": "digts"}, {"data": "digits"}, "digts"),
    ],
)
def test_repair_is_checked_before_any_work(bad: dict[str, Any], twin: dict[str, Any], said: str) -> None:
    replace(REPAIR, **twin).check()
    with pytest.raises(UsageError) as caught:
        replace(REPAIR, **bad).check()
    assert said in caught.value.message
    assert caught.value.hint


def test_a_method_of_repair_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError) as caught:
        replace(REPAIR, method="lstq").check()
    assert "did you mean lstsq" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "number"),
    [("4GB", 4 << 30), ("500MB", 500 << 20), ("2", 2 << 30), ("1.5g", 3 << 29), ("1 TiB", 1 << 40)],
)
def test_memory_is_a_size(text: str, number: int) -> None:
    assert replace(REPAIR, memory=text).bytes == number


@pytest.mark.parametrize(
    ("checkpoint", "arch", "output"),
    [
        ("llama-3.2", None, "llama-3.2.pruned"),
        ("llama-3.2/model.safetensors", None, "llama-3.2.pruned"),
        ("own.pth", "hf:llama-3.2", "own.pruned"),
        ("llama-3.2", "timm:resnet18", "llama-3.2.pruned.safetensors"),
    ],
)
def test_a_model_directory_becomes_one(
    checkpoint: str, arch: str | None, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "llama-3.2"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    (model / "model.safetensors").write_bytes(b"x")
    (tmp_path / "own.pth").write_bytes(b"x")
    files = settings.files(tmp_path / checkpoint, None, None, arch)
    assert (files.output, files.as_directory) == (tmp_path / output, not output.endswith(".safetensors"))
    assert files.reports == (tmp_path / (output.removesuffix(".safetensors") + ".json"),)
    files.check(force=False, dry_run=False)
    if files.as_directory:
        files.output.mkdir()
        (files.output / "config.json").write_text("{}")
        with pytest.raises(UsageError, match="exists"):
            files.check(force=False, dry_run=False)
        files.check(force=True, dry_run=False)
    monkeypatch.chdir(model)
    assert settings.files(Path(), None, None).output == tmp_path / "llama-3.2.pruned"


@pytest.mark.parametrize(
    ("checkpoint", "output"),
    [
        ("resnet50.pth", "resnet50.pruned.safetensors"),
        ("a.b.safetensors", "a.b.pruned.safetensors"),
        ("model.safetensors.index.json", "model.pruned.safetensors"),
        ("weights", "weights.pruned.safetensors"),
    ],
)
def test_files_default_to_the_place_of_the_checkpoint(checkpoint: str, output: str, tmp_path: Path) -> None:
    files = settings.files(tmp_path / checkpoint, None, None)
    assert files.output == tmp_path / output
    assert files.reports == (files.output.with_suffix(".json"),)


def test_files_are_checked_before_any_work(tmp_path: Path) -> None:
    checkpoint = tmp_path / "m.safetensors"
    checkpoint.write_bytes(b"x")
    settings.files(checkpoint, None, None).check(False, False)
    with pytest.raises(UsageError, match="no report of that kind") as caught:
        settings.files(checkpoint, None, [Path("a.pdf")]).check(False, False)
    assert caught.value.hint == "known endings: .json, .md, .csv, .html"
    with pytest.raises(UsageError, match=r"is a \.safetensors file") as caught:
        settings.files(checkpoint, Path("small.pth"), None).check(False, False)
    assert caught.value.hint == "-o small.safetensors"
    with pytest.raises(UsageError, match="checkpoint itself"):
        settings.files(checkpoint, checkpoint, None).check(True, False)
    (tmp_path / "m.pruned.json").write_text("{}")
    with pytest.raises(UsageError, match=r"m\.pruned\.json exists"):
        settings.files(checkpoint, None, None).check(False, False)
    settings.files(checkpoint, None, None).check(True, False)
    settings.files(checkpoint, tmp_path / "none" / "x.safetensors", None).check(False, True)


def test_a_plan_is_read_or_refused(tmp_path: Path) -> None:
    plan = Plan({"a": (0, 2)}, {"a": 3})
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"schema": "prunecli.plan/1", **plan.to_json()}))
    assert settings.read_plan(path) == plan
    assert settings.read_plan(None) is None
    for content in (
        "",
        "not json",
        "[" * 100_000,
        "{}",
        '{"groups": {"a": {"dense": 2, "kept": [5]}}}',
        "[]",
    ):
        path.write_text(content)
        with pytest.raises(InputError):
            settings.read_plan(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError):
        settings.read_plan(path)
    with pytest.raises(UsageError, match="no such file"):
        settings.read_plan(tmp_path / "missing.json")
