"""The zip around a ``torch.save`` file, checked before torch opens it: it holds what it says, once, as it was
written. torch itself leaves the checksums alone and inflates whatever is packed.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from prunecli.errors import InputError

_LOCAL_HEADER = 30
_BLOCK = 1 << 20
_DAMAGED = "the copy or download may be incomplete; get it again"


def check(path: Path) -> None:
    """Raises ``InputError`` unless every member is stored as it is (not packed, not encrypted), lies within
    the file and beside the others, is named once, and has the checksum that stands for it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, path)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
    ) as error:
        raise InputError(f"'{path}' is a damaged zip: {error}", _DAMAGED) from None


def _check(archive: zipfile.ZipFile, path: Path) -> None:
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"'{path}' holds '{twice[:80]}' twice", _DAMAGED)
    end = 0
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise InputError(
                f"'{path}': '{member.filename[:80]}' is packed, which torch.save never does",
                "unzip it and zip it with -0, or save it again with torch.save",
            )
        if member.header_offset < end or member.file_size != member.compress_size:
            raise InputError(
                f"'{path}': '{member.filename[:80]}' overlaps another part of the file", _DAMAGED
            )
        end = member.header_offset + _LOCAL_HEADER + len(member.filename) + member.compress_size
        _read(archive, member)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """To its end, where the checksum is looked at."""
    with archive.open(member) as file:
        while file.read(_BLOCK):
            pass
