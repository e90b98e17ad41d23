"""What is offered for a half-typed word, and that nothing in a file can be more than a name."""

from __future__ import annotations

import json
import os
import resource
import struct
from pathlib import Path
from typing import Any

import pytest
from cli_runner import run_fresh, run_here

from prunecli.cli.offers import offered

HOSTILE = (
    "$(touch hit)", "`touch hit`", "a b", "a'b", 'a"b', "a;b", "a\nb", "a\x1b[2Jb", "-rf", ".hidden",
    "a*", "a/b", "ä", "a\\b", "~", "", "a|b", "a&b", "a>b", "{a,b}",
)  # fmt: skip


def safetensors(path: Path, shapes: dict[str, list[int]]) -> Path:
    """A file by the format alone; the weights are left out, since only the header is read."""
    header: dict[str, Any] = {"__metadata__": {"a": "b"}}
    header |= {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_layers_have_rows_and_modules_are_all(folder: Path) -> None:
    safetensors(
        folder / "m.safetensors",
        {
            "conv1.weight": [8, 3, 3, 3],
            "bn1.weight": [8],
            "bn1.bias": [8],
            "fc.weight": [5, 8],
            "fc.bias": [5],
            "token": [1, 1, 8],
        },
    )
    words = ["prune", "run", "m.safetensors", "--ignore", ""]
    assert offered("layers", "", words) == ["conv1", "fc", "token"]
    assert offered("layers", "c", words) == ["conv1"]
    assert offered("modules", "", words) == ["conv1", "bn1", "fc", "token"]


def test_a_name_that_a_shell_could_read_is_left_out(folder: Path) -> None:
    shapes = {f"{name}.weight": [2, 2] for name in ("good", *HOSTILE)} | {name: [2, 2] for name in HOSTILE}
    safetensors(folder / "m.safetensors", shapes)
    assert offered("modules", "", ["m.safetensors"]) == ["good"]
    tables = "".join(f"[job.{json.dumps(name)}]\n" for name in ("good", *HOSTILE))
    (folder / "prune.toml").write_text(tables, encoding="utf-8")
    assert offered("jobs", "", ["run"]) == ["good", "all"]


def test_wrappers_of_all_names_are_left_out_as_in_reading(folder: Path) -> None:
    safetensors(
        folder / "m.safetensors", {"_orig_mod.module.a.weight": [2, 2], "_orig_mod.module.b.weight": [2, 2]}
    )
    assert offered("layers", "", ["m.safetensors"]) == ["a", "b"]
    safetensors(folder / "m.safetensors", {"module.a.weight": [2, 2], "b.weight": [2, 2]})
    assert offered("layers", "", ["m.safetensors"]) == ["module.a", "b"]


def test_shards_and_directories(folder: Path) -> None:
    (folder / "llama").mkdir()
    index = folder / "llama" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": "1", "b.weight": "2"}}))
    assert offered("modules", "", ["llama"]) == offered("modules", "", [str(index)]) == ["a", "b"]
    safetensors(folder / "llama" / "model.safetensors", {"c.weight": [2, 2]})
    assert offered("modules", "", ["llama/"]) == ["c"]


@pytest.mark.parametrize(
    "word", ["my\\ m.safetensors", "'my m.safetensors'", '"my m.safetensors"', "~/my\\ m.safetensors"]
)
def test_a_path_as_it_was_typed(word: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    safetensors(folder / "my m.safetensors", {"a.weight": [2, 2]})
    assert offered("layers", "", ["run", word]) == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 4,
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 5) + b"{",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 5000) + b"[" * 5000,
    ],
)
def test_a_broken_file_offers_nothing(content: bytes, folder: Path) -> None:
    (folder / "m.safetensors").write_bytes(content)
    assert offered("layers", "", ["m.safetensors"]) == []
    (folder / "model.safetensors.index.json").write_bytes(content)
    assert offered("layers", "", ["model.safetensors.index.json"]) == []
    (folder / "prune.toml").write_bytes(content)
    assert offered("jobs", "", ["run"]) == []


def test_what_is_no_regular_file_is_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "m.safetensors")
    os.mkfifo(folder / "prune.toml")
    assert offered("layers", "", ["m.safetensors"]) == offered("jobs", "", ["run"]) == []


def test_jobs_of_the_command_in_the_file_that_is_named(folder: Path) -> None:
    (folder / "prune.toml").write_text("[job.fast]\n[job.small]\n[job.q]\ncommand = 'eval'\n")
    (folder / "other.toml").write_text("[job.other]\n")
    assert offered("jobs", "", ["prune", "run", "--job", ""]) == ["fast", "small", "all"]
    assert offered("jobs", "", ["prune", "eval", "--job", ""]) == ["q", "all"]
    assert offered("jobs", "", ["prune", "score", "--job", ""]) == []
    for config in (["--config", "other.toml"], ["--config=other.toml"]):
        assert offered("jobs", "o", ["run", *config, "--job", "o"]) == ["other"]


def test_networks_are_offered_family_by_family() -> None:
    assert offered("networks", "", []) == ["torchvision:", "cifar:", "timm:", "ultralytics:", "hf:"]
    assert offered("networks", "t", []) == ["torchvision:", "timm:"]
    assert offered("networks", "torchvision:resnet5", []) == ["torchvision:resnet50"]
    assert offered("networks", "cifar:resnet2", []) == ["cifar:resnet20"]
    assert "timm:resnet50" in offered("networks", "timm:resnet5", [])


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["layers"], ["layers", "x", "missing.safetensors"]])
def test_the_command_never_fails(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "--complete", *arguments)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


_HEAVY = """
import sys
from prunecli.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "typer", "click", "rich", "numpy"}
sys.stderr.write(",".join(heavy & sys.modules.keys()))
sys.exit(code)
"""


def test_a_key_press_takes_under_three_tenths_of_a_second_and_no_torch(folder: Path) -> None:
    safetensors(folder / "m.safetensors", {f"layer{n}.weight": [8, 8] for n in range(5000)})
    spent = []
    for kind, word in (("layers", "layer49"), ("networks", "timm:vit"), ("jobs", "")):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = run_fresh("--complete", kind, word, "run", "m.safetensors", code=_HEAVY)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (ran.code, ran.err) == (0, "")
        assert bool(ran.out) == (kind != "jobs")
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.3
