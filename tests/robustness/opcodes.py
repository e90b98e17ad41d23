"""Pickles written operation by operation, and the files that torch once or now makes of pickles."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

PROTO2, STOP = b"\x80\x02", b"."
MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def line(value: str) -> bytes:
    return value.encode() + b"\n"


def integer(value: int) -> bytes:
    """BININT or LONG1."""
    if 0 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def globe(module: str, name: str, protocol: int = 2) -> bytes:
    """GLOBAL, or from protocol 4 on STACK_GLOBAL."""
    if protocol >= 4:
        return text(module) + text(name) + b"\x93"
    return b"c" + line(module) + line(name)


def value(item: Any, protocol: int = 2) -> bytes:
    """Numbers, texts, bytes (as what is already opcodes), tuples, dicts."""
    if isinstance(item, bytes):
        return item
    if item is None:
        return b"N"
    if isinstance(item, bool):
        return b"\x88" if item else b"\x89"
    if isinstance(item, int):
        return integer(item) if protocol >= 2 else b"I" + line(str(item))
    if isinstance(item, str):
        return text(item) if protocol >= 1 else b"V" + line(item)
    if isinstance(item, tuple):
        return b"(" + b"".join(value(part, protocol) for part in item) + b"t"
    if isinstance(item, Mapping):
        inner = b"".join(value(k, protocol) + value(v, protocol) for k, v in item.items())
        return b"}(" + inner + b"u"
    raise TypeError(type(item))


def called(module: str, name: str, arguments: tuple[Any, ...], protocol: int = 2) -> bytes:
    """REDUCE: ``module.name(*arguments)``."""
    return globe(module, name, protocol) + value(arguments, protocol) + b"R"


def program(body: bytes, protocol: int = 2) -> bytes:
    return (bytes([0x80, protocol]) if protocol >= 2 else b"") + body + STOP


def storage(key: str, elements: int, kind: str = "FloatStorage") -> bytes:
    """The persistent id of a storage in a zip, loaded."""
    return value((text("storage"), globe("torch", kind), text(key), text("cpu"), integer(elements))) + b"Q"


def old_storage(key: str, elements: int, kind: str = "FloatStorage") -> bytes:
    """The same in the old form: with a view, which is None."""
    of = (text("storage"), globe("torch", kind), text(key), text("cpu"), integer(elements), None)
    return value(of) + b"Q"


def tensor(at: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    hooks = globe("collections", "OrderedDict") + b")R"
    arguments = (at, offset, size, stride, False, hooks)
    return called("torch._utils", "_rebuild_tensor_v2", arguments)


def zipped(pickle: bytes, datas: Mapping[str, bytes] | None = None, name: str = "net") -> bytes:
    """The form of today: ``data.pkl`` beside the storages."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}/data.pkl", pickle)
        archive.writestr(f"{name}/byteorder", b"little")
        for key, data in (datas or {}).items():
            archive.writestr(f"{name}/data/{key}", data)
        archive.writestr(f"{name}/version", b"3\n")
    return buffer.getvalue()


def legacy(pickle: bytes, datas: Mapping[str, bytes] | None = None) -> bytes:
    """The form before: five pickles, then every storage with its length."""
    datas = datas or {}
    machine = value({"protocol_version": 1001, "little_endian": True})
    keys = b"]" + b"".join(text(key) + b"a" for key in datas)
    head = [PROTO2 + MAGIC + STOP, program(integer(1001)), program(machine), pickle, program(keys)]
    rest = [struct.pack("<q", len(data) // 4) + data for data in datas.values()]
    return b"".join((*head, *rest))


def tarred(pickle: bytes) -> bytes:
    """The first form of all: a tar of ``sys_info``, ``storages``, ``tensors`` and ``pickle``."""
    none = program(integer(0))
    files = {"sys_info": program(b"}"), "storages": none, "tensors": none, "pickle": pickle}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def npy(pickle: bytes) -> bytes:
    """A NumPy array of objects, which are a pickle."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickle


def npz(pickle: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", npy(pickle))
    return buffer.getvalue()
