"""Zips: what torch.save writes passes, and nothing that unpacks to more, twice, or to something else."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from prunecli.checkpoint import archives
from prunecli.errors import InputError

DATA = b"weights " * 100


def saved(path: Path) -> Path:
    torch.save({"a": torch.arange(1000.0), "b": torch.ones(3, dtype=torch.int64)}, path)
    return path


def zipped(path: Path, *members: tuple[str, bytes], packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_what_torch_writes_passes(tmp_path: Path) -> None:
    archives.check(saved(tmp_path / "x.pth"))
    torch.save({}, tmp_path / "y.pth")
    archives.check(tmp_path / "y.pth")
    archives.check(zipped(tmp_path / "z", ("x/data.pkl", DATA), ("x/data/0", b"")))


def edited(path: Path, change: Callable[[bytearray], None]) -> Path:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def test_every_byte_of_a_tensor_is_covered_by_a_checksum(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth")
    start = path.read_bytes().index(torch.arange(1000.0).numpy().tobytes())
    for place in (start, start + 1999, start + 3999):
        content = bytearray(path.read_bytes())
        content[place] ^= 4
        (tmp_path / "y.pth").write_bytes(content)
        with pytest.raises(InputError, match="is a damaged zip: Bad CRC-32"):
            archives.check(tmp_path / "y.pth")


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_members_are_not_unpacked(packing: int, tmp_path: Path) -> None:
    path = zipped(tmp_path / "x", ("x/data.pkl", DATA), packing=packing)
    with pytest.raises(InputError, match=r"'x/data\.pkl' is packed"):
        archives.check(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds 'x/data\.pkl' twice"):
        archives.check(zipped(tmp_path / "x", ("x/data.pkl", DATA), ("x/data.pkl", DATA)))


def entries(content: bytearray) -> list[int]:
    """Where the entries of the directory begin."""
    found, at = [], content.find(b"PK\x01\x02")
    while at >= 0:
        found.append(at)
        at = content.find(b"PK\x01\x02", at + 1)
    return found


def overlap(content: bytearray) -> None:
    """The second member lies where the first does."""
    first, second = entries(content)
    content[second + 42 : second + 46] = content[first + 42 : first + 46]


def larger(content: bytearray) -> None:
    """More bytes than are stored."""
    at = entries(content)[0]
    content[at + 24 : at + 28] = (10**9).to_bytes(4, "little")


def encrypted(content: bytearray) -> None:
    content[entries(content)[0] + 8] |= 1


def newer(content: bytearray) -> None:
    content[entries(content)[0] + 6] = 99


def cut(content: bytearray) -> None:
    del content[-10:]


def misnamed(content: bytearray) -> None:
    at = content.index(b"x/data.pkl")
    content[at : at + 1] = b"y"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (overlap, "overlaps"),
        (larger, "overlaps"),
        (encrypted, "is packed"),
        (newer, "damaged zip"),
        (cut, "damaged zip"),
        (misnamed, "damaged zip"),
    ],
)
def test_what_does_not_fit_together(change: Callable[[bytearray], None], reason: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "x", ("x/data.pkl", DATA), ("x/version", DATA))
    archives.check(path)
    with pytest.raises(InputError, match=reason):
        archives.check(edited(path, change))


def test_a_zip_within_another_is_only_bytes(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(10**6))
    archives.check(zipped(tmp_path / "x", ("x/data.pkl", inner.getvalue())))
