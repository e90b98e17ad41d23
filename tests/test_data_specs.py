from __future__ import annotations

from pathlib import Path

import pytest
import torchvision

from prunecli.data.specs import IDX_SETS, KINDS, SETS, DataSpec, parse
from prunecli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "wanted", "shown"),
    [
        ("digits", DataSpec("digits", "digits"), "digits"),
        ("noise", DataSpec("noise", "noise"), "noise"),
        ("imagefolder:a/b", DataSpec("imagefolder", "imagefolder:a/b", "a/b"), "imagefolder:b"),
        ("npz:/x/f.npz", DataSpec("npz", "npz:/x/f.npz", "/x/f.npz"), "npz:f.npz"),
        ("npz:C:\\f.npz", DataSpec("npz", "npz:C:\\f.npz", "C:\\f.npz"), "npz:C:\\f.npz"),
        (
            "torchvision:CIFAR10:/data/sets/",
            DataSpec("torchvision", "torchvision:CIFAR10:/data/sets/", "/data/sets/", "CIFAR10"),
            "torchvision:CIFAR10:sets",
        ),
        ("a/own.py:f", DataSpec("function", "a/own.py:f", "a/own.py", "f"), "own.py:f"),
    ],
)
def test_parts(text: str, wanted: DataSpec, shown: str) -> None:
    assert parse(text) == wanted
    assert parse(text).shown == shown


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("digit", "unknown data source 'digit'", "did you mean digits?"),
        ("imagefoldr:x", "unknown data source 'imagefoldr'", "did you mean imagefolder?"),
        ("xyz", "unknown data source 'xyz'", "known: digits, imagefolder, torchvision"),
        ("digits:x", "--data digits:x: nothing follows digits", "--data digits"),
        ("npz:", "--data npz: names no FILE", "--data npz:FILE"),
        ("imagefolder", "--data imagefolder names no DIR", "--data imagefolder:DIR"),
        ("torchvision:MNISTS:x", "unknown set of torchvision 'MNISTS'", "did you mean MNIST"),
        ("torchvision:MNIST", "--data torchvision:MNIST names no folder", "--data torchvision:MNIST:DIR"),
        ("x.npz", "--data x.npz does not say what it is", "--data npz:x.npz"),
        ("own.py", "--data own.py names no function", "--data own.py:FUNCTION"),
        (".", "--data . does not say what it is", "--data imagefolder:."),
    ],
)
def test_what_is_no_source(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.message == message
    assert (caught.value.hint or "").startswith(hint)


def test_every_set_is_one_of_torchvision() -> None:
    assert all(isinstance(getattr(torchvision.datasets, name), type) for name in SETS)
    assert set(IDX_SETS) < set(SETS)
    assert "download" not in {key for parts in SETS.values() for part in parts for key in part}


def test_the_completions_know_the_sources() -> None:
    from prunecli.cli import names

    assert tuple(name.rstrip(":") for name in names.DATA) == KINDS


def test_a_folder_that_ends_in_a_dot_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("imagefolder:.").shown == f"imagefolder:{tmp_path.name}"
