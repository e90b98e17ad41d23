"""What may be set for a command, and what a value of the file becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prunecli.cli.app import command
from prunecli.cli.keys import keys_of, value_of
from prunecli.errors import UsageError

RUN = keys_of(command().commands["run"])
FINETUNE = keys_of(command().commands["finetune"])
SUB = Path("sub")


def test_every_option_is_a_key_but_those_that_are_typed() -> None:
    for name in ("inspect", "score", "run", "finetune", "sparsify", "eval"):
        parsed = command().commands[name]
        options = {max(each.opts, key=len) for each in parsed.params if each.param_type_name == "option"}
        keys = {f"--{key}" for key in keys_of(parsed)}
        assert options - keys == {"--config", "--job"} | ({"--unsafe-load"} & options)
        assert keys - options == {"--checkpoint"}


def test_kinds_are_those_of_the_signature() -> None:
    kinds = {
        name: (RUN[name].kind, RUN[name].many) for name in ("speedup", "steps", "force", "plan", "input")
    }
    assert kinds == {
        "speedup": (float, False), "steps": (int, False), "force": (bool, False), "plan": (Path, False),
        "input": (str, True),
    }  # fmt: skip
    assert (RUN["report"].kind, RUN["report"].many) == (Path, True)
    assert (RUN["checkpoint"].parameter, RUN["output"].parameter) == ("ckpt", "out")


@pytest.mark.parametrize(
    ("key", "raw", "expected"),
    [
        ("speedup", 2, 2),
        ("speedup", 2.5, 2.5),
        ("steps", 3, 3),
        ("force", False, False),
        ("scheme", "local", "local"),
        ("ignore", "layer1.*", ["layer1.*"]),
        ("ignore", ["a", "b"], ["a", "b"]),
        ("ratio-for", {"layer2.*": 0.5, "a=b": 0}, ["layer2.*=0.5", "a=b=0"]),
        ("ratio-for", ["layer2.*=0.5"], ["layer2.*=0.5"]),
        ("arch-arg", {"aux": True, "act": "relu"}, ["aux=true", "act=relu"]),
        ("finetune-arg", {"milestones": [60, 80]}, ["milestones=60,80"]),
        ("output", "o.safetensors", "sub/o.safetensors"),
        ("output", "/o.safetensors", "/o.safetensors"),
        ("checkpoint", "../m.pth", "sub/../m.pth"),
        ("report", ["r.md", "r.csv"], ["sub/r.md", "sub/r.csv"]),
        ("plan", "p.json", "sub/p.json"),
        ("data", "digits", "digits"),
        ("data", "imagefolder:photos", "imagefolder:sub/photos"),
        ("data", "torchvision:CIFAR10:d", "torchvision:CIFAR10:sub/d"),
        ("data", "npz:/d.npz", "npz:/d.npz"),
        ("data", "own.py:batches", "sub/own.py:batches"),
        ("data", "digit", "digit"),
        ("eval-data", "npz:e.npz", "npz:sub/e.npz"),
        ("arch", "cifar:resnet20", "cifar:resnet20"),
        ("arch", "hf:llama", "hf:sub/llama"),
        ("arch", "net.py:build", "sub/net.py:build"),
        ("arch", "pkg.mod:build", "pkg.mod:build"),
        ("loss", "own.py:loss", "sub/own.py:loss"),
        ("loss", "mse", "mse"),
        ("finetune-arg", {"loss": "own.py:loss", "lr": 0.1}, ["loss=sub/own.py:loss", "lr=0.1"]),
        ("sparsify-arg", ["loss=own.py:loss"], ["loss=sub/own.py:loss"]),
        ("max-params", 5000000, "5000000"),
        ("max-params", "5M", "5M"),
        ("max-macs", 1.2e9, "1200000000"),
        ("max-macs", 1e22, "10000000000000000000000"),
        ("min-accuracy", 0.97, "0.97"),
        ("max-drop", 1e-7, "0.0000001"),
        ("max-latency", 12, "12"),
    ],
)  # fmt: skip
def test_a_value_becomes_what_would_be_typed(key: str, raw: Any, expected: Any) -> None:
    assert value_of(RUN[key], raw, "f", SUB) == expected


def test_epochs_may_be_a_list() -> None:
    assert value_of(FINETUNE["milestones"], [60, 80], "f", SUB) == "60,80"
    assert value_of(FINETUNE["milestones"], "60,80", "f", SUB) == "60,80"


def test_home_is_where_the_user_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert value_of(RUN["output"], "~/o.safetensors", "f", SUB) == "/home/me/o.safetensors"


@pytest.mark.parametrize(
    ("key", "raw", "message", "hint"),
    [
        ("speedup", "2", 'speedup = "2" is not a number', "like speedup = 0.5"),
        ("speedup", True, "speedup = true is not a number", "like speedup = 0.5"),
        ("steps", 2.0, "steps = 2.0 is not a whole number", "like steps = 8"),
        ("steps", True, "steps = true is not a whole number", "like steps = 8"),
        ("force", 1, "force = 1 is not true or false", "like force = true"),
        ("scheme", 3, "scheme = 3 is not a text in quotes", 'like scheme = "..."'),
        ("output", ["o"], 'output = ["o"] is not a path in quotes', 'like output = "..."'),
        ("ignore", ["a", 1], "ignore = 1 is not a text in quotes", 'like ignore = ["..."]'),
        ("ignore", {"a": 1}, 'ignore = {"a": 1} is not a text in quotes', 'like ignore = ["..."]'),
        ("scheme", ["local"], 'scheme = ["local"] is not a text in quotes', 'like scheme = "..."'),
        (
            "max-params",
            True,
            "max-params = true is not a number, or a text in quotes",
            'like max-params = "5M"',
        ),
        ("max-bytes", [1], "max-bytes = [1] is not a number, or a text in quotes", 'like max-bytes = "20MB"'),
        ("only", 0.5, "only = 0.5 is not a text in quotes", 'like only = ["..."]'),
        ("input", 3, "input = 3 is not a text in quotes", 'like input = ["..."]'),
        ("arch-arg", 3, "arch-arg = 3 is not a text in quotes", 'like arch-arg = ["..."], or {"..." = ...}'),
        (
            "ratio-for",
            {"a.*": {}},
            "ratio-for: 'a.*' = {} is not a number, a text, true or false",
            'like "a.*" = 0.5',
        ),
    ],
)
def test_a_value_of_the_wrong_type(key: str, raw: Any, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        value_of(RUN[key], raw, "prune.toml: job.fast", SUB)
    assert caught.value.message == f"prune.toml: job.fast: {message}"
    assert caught.value.hint == hint
