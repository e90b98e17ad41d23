"""The files that are mutated: one small real network in every form in which weights are saved."""

from __future__ import annotations

import contextlib
import io
import json
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

NETWORK = ("--arch", "cifar:resnet8", "--arch-arg", "in_channels=1", "--input", "1,8,8")
CUT = ("--speedup", "1.3", "--no-latency", "--repair", "none")
OWN = "own"
NAMES = ("safetensors", "sharded", "zip", "legacy", OWN, "wrapped")


@dataclass(frozen=True)
class Base:
    """``files`` by name, of which ``entry`` is what the command is given; ``tensors`` is what it holds."""

    name: str
    files: dict[str, bytes]
    entry: str
    tensors: dict[str, Any]

    def write(self, folder: Path, changed: dict[str, bytes] | None = None) -> Path:
        for name, content in {**self.files, **(changed or {})}.items():
            (folder / name).write_bytes(content)
        return folder / self.entry


def dense() -> dict[str, Any]:
    """The weights of the demo: 78,042 numbers, trained."""
    from safetensors.torch import load

    return load(files("prunecli.demo").joinpath("digits_resnet8.safetensors").read_bytes())


def make(name: str, folder: Path) -> Base:
    """``folder``: where ``own`` may be made."""
    return _MAKERS[name](dense(), folder)


def _safetensors(tensors: dict[str, Any], _: Path) -> Base:
    from safetensors.torch import save

    return Base("safetensors", {"net.safetensors": save(tensors)}, "net.safetensors", tensors)


def _sharded(tensors: dict[str, Any], _: Path) -> Base:
    from safetensors.torch import save

    names = sorted(tensors)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    shards = {f"model-{i}-of-2.safetensors": half for i, half in enumerate(halves, 1)}
    index = {
        "metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())},
        "weight_map": {name: shard for shard, half in shards.items() for name in half},
    }
    content = {shard: save({name: tensors[name] for name in half}) for shard, half in shards.items()}
    entry = "model.safetensors.index.json"
    return Base("sharded", {entry: json.dumps(index, indent=1).encode(), **content}, entry, tensors)


def saved(content: object, **how: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def _zip(tensors: dict[str, Any], _: Path) -> Base:
    return Base("zip", {"net.pth": saved(OrderedDict(tensors))}, "net.pth", tensors)


def _legacy(tensors: dict[str, Any], _: Path) -> Base:
    content = saved(OrderedDict(tensors), _use_new_zipfile_serialization=False)
    return Base("legacy", {"net.pth": content}, "net.pth", tensors)


def _own(tensors: dict[str, Any], folder: Path) -> Base:
    from safetensors.torch import load

    from prunecli.cli import main

    source, out = folder / "net.safetensors", folder / "own.safetensors"
    source.write_bytes(_safetensors(tensors, folder).files["net.safetensors"])
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(["run", str(source), *NETWORK, *CUT, "-q", "-o", str(out)])
    if code:
        raise RuntimeError(f"prune run ended with {code}")
    return Base(OWN, {"net.safetensors": out.read_bytes()}, "net.safetensors", load(out.read_bytes()))


def _wrapped(tensors: dict[str, Any], _: Path) -> Base:
    import argparse

    import torch

    parameters = [torch.nn.Parameter(t.clone()) for n, t in tensors.items() if n.endswith("weight")]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    checkpoint = {
        "epoch": 37,
        "best": 0.992,
        "args": argparse.Namespace(lr=0.1, name="digits"),
        "model": OrderedDict((f"module.{name}", tensor) for name, tensor in tensors.items()),
        "ema": OrderedDict((name, tensor + tensor / 64) for name, tensor in tensors.items()),
        "optimizer": optimizer.state_dict(),
    }
    return Base("wrapped", {"last.pt": saved(checkpoint)}, "last.pt", tensors)


_MAKERS: dict[str, Callable[[dict[str, Any], Path], Base]] = {
    "safetensors": _safetensors, "sharded": _sharded, "zip": _zip, "legacy": _legacy, OWN: _own,
    "wrapped": _wrapped,
}  # fmt: skip


def structure(content: bytes) -> list[tuple[int, int]]:
    """Where in a file it says what the rest is: headers, directories, pickles."""
    if content.startswith(b"PK"):
        return _around_storages(content)
    if content[:1] == b"\x80":
        return [(0, sum(len(stream) for stream in pickles_of(content)))]
    if content[8:9] == b"{":
        return [(0, 8 + int.from_bytes(content[:8], "little"))]
    return [(0, len(content))]


def _around_storages(content: bytes) -> list[tuple[int, int]]:
    found, begin = [], 0
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in sorted(archive.infolist(), key=lambda e: e.header_offset):
            if "/data/" in entry.filename:
                at = entry.header_offset + 30
                start = at + sum(int.from_bytes(content[at - 4 + i : at - 2 + i], "little") for i in (0, 2))
                found.append((begin, start))
                begin = start + entry.file_size
    return [*found, (begin, len(content))]


def pickles_of(content: bytes) -> list[bytes]:
    """The five pickles at the beginning of a file of the old form: magic, version, machine, object, keys."""
    stream = io.BytesIO(content)
    found = []
    for _ in range(5):
        begin = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        found.append(content[begin : stream.tell()])
    return found
