from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_runner import run_here
from resnet8 import resnet8

import prunecli


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compact") / "dense.pth"
    net = resnet8()
    for layer in (net.layer3[0].conv2, net.layer3[0].downsample[0]):
        layer.weight.data[[4, 8]] = 0
    torch.save(net.state_dict(), path)
    return path


def test_a_checkpoint_becomes_smaller(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], no_reload: None
) -> None:
    ran = run_here(capsys, "compact", checkpoint)
    out = checkpoint.with_name("dense.compact.safetensors")
    assert ran.code == 0
    assert "2 units of 1 group removed, their constants folded into 1 tensor" in ran.err
    assert "dead units removed, 1.0" in ran.out and "same function passed" in ran.out
    assert prunecli.load(out).fc.weight.shape == (10, 62)
    report = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert report["schema"] == "prunecli.report/1"
    assert report["target"] | {"reached": 0} == {
        "kind": "compact", "asked": None, "reached": 0, "tolerance": 0.0, "met": True
    }  # fmt: skip
    assert [row["dead"] for row in report["sparsity"]] == [0] * 10
    whole = run_here(capsys, "compact", out, "-o", checkpoint.with_name("twice.safetensors"))
    assert whole.code == 3
    assert "hint: compact the dense checkpoint instead; prune verify checks this one" in whole.err
    again = run_here(capsys, "compact", checkpoint)
    assert (again.code, "--force replaces it" in again.err) == (2, True)
    quiet = run_here(capsys, "compact", checkpoint, "--force", "-q")
    assert (quiet.out, quiet.err) == (f"{out}\n", "")


def test_json_and_reports_of_other_kinds(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], no_reload: None
) -> None:
    out = checkpoint.with_name("other.safetensors")
    page = checkpoint.with_name("other.md")
    ran = run_here(capsys, "compact", checkpoint, "-o", out, "--report", page, "--json")
    assert json.loads(ran.out)["target"]["kind"] == "compact"
    assert "dead units" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.pth"], 2, "no such file"),
        (["CKPT", "--json", "-q"], 2, "--json and -q"),
        (["CKPT", "--seed", "-1"], 2, "--seed -1"),
        (["CKPT", "--threads", "0"], 2, "--threads 0"),
        (["CKPT", "-o", "x.pth"], 2, "the output is a .safetensors file"),
        (["CKPT", "-o", "nowhere/x.safetensors"], 5, "no such directory"),
        (["CKPT", "--report", "x.txt"], 2, "no report of that kind"),
        (["broken.pth"], 3, "broken.pth"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    code: int,
    message: str,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    Path("broken.pth").write_bytes(b"no checkpoint")
    ran = run_here(capsys, "compact", *(checkpoint.name if text == "CKPT" else text for text in arguments))
    assert ran.code == code
    assert message in ran.err
