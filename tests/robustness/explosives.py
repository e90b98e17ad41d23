"""Small files that ask for much: memory, time, or a place where nothing ends.

Each maker is given a folder and hands back what the command is to be given.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .opcodes import (
    called,
    globe,
    legacy,
    old_storage,
    program,
    storage,
    tensor,
    text,
    value,
    zipped,
)

Maker = Callable[[Path], Path]
MAKERS: dict[str, Maker] = {}
FOUR = struct.pack("<4f", 1, 2, 3, 4)
GIANT = 10**12
NOBODY = "nobody reads this"


def bomb(name: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        if name in MAKERS:
            raise ValueError(name)
        MAKERS[name] = maker
        return maker

    return register


def _file(folder: Path, content: bytes, name: str = "net.pth") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def _register(name: str, content: Callable[[], bytes], file: str = "net.pth") -> None:
    bomb(name)(lambda folder: _file(folder, content(), file))


# Tensors that claim more than their storage has.

SIZES: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "stride 0, 10^12 elements": (0, (GIANT,), (0,)),
    "stride 0, 10^18 elements": (0, (10**6, 10**6, 10**6), (0, 0, 0)),
    "stride 0, 2^63 elements": (0, (2**31, 2**32), (0, 0)),
    "stride 0 in one dimension": (0, (10**9, 4), (0, 1)),
    "negative stride": (0, (4,), (-1,)),
    "negative size": (0, (-4,), (1,)),
    "negative offset": (-1, (4,), (1,)),
    "offset beyond the storage": (2**40, (4,), (1,)),
    "overlapping rows": (0, (3, 2), (1, 1)),
    "stride beyond the storage": (0, (2, 2), (2**40, 1)),
    "stride of 2^63": (0, (2,), (2**63,)),
    "more sizes than strides": (0, (2, 2, 2), (1,)),
    "a million dimensions": (0, (1,) * 10**6, (1,) * 10**6),
    "empty but huge": (0, (0, 2**62), (2**62, 1)),
}


def _weights(at: tuple[int, tuple[int, ...], tuple[int, ...]]) -> bytes:
    return program(value({"conv1.weight": tensor(storage("0", 4), *at)}))


def _old_weights(at: tuple[int, tuple[int, ...], tuple[int, ...]]) -> bytes:
    return program(value({"conv1.weight": tensor(old_storage("0", 4), *at)}))


for _name, _at in SIZES.items():
    _register(f"{_name}, zip", lambda at=_at: zipped(_weights(at), {"0": FOUR}))  # type: ignore[misc]
    _register(f"{_name}, legacy", lambda at=_at: legacy(_old_weights(at), {"0": FOUR}))  # type: ignore[misc]


def _claimed(elements: int) -> bytes:
    return program(value({"w": tensor(storage("0", elements), 0, (4,), (1,))}))


_register("storage that claims 10^12, zip", lambda: zipped(_claimed(GIANT), {"0": FOUR}))
_register("storage that claims 2^62, zip", lambda: zipped(_claimed(2**62), {"0": FOUR}))
_register("storage that claims -1, zip", lambda: zipped(_claimed(-1), {"0": FOUR}))


def _old_storage_of(elements: int, length: int) -> bytes:
    good = legacy(program(value({"w": tensor(old_storage("0", elements), 0, (4,), (1,))})), {"0": FOUR})
    return good[: -8 - len(FOUR)] + struct.pack("<q", length) + FOUR


_register("storage that claims 10^12, legacy", lambda: _old_storage_of(GIANT, GIANT))
_register("storage that claims 2^62, legacy", lambda: _old_storage_of(2**62, 2**62))
_register("storage of another length, legacy", lambda: _old_storage_of(4, 2**60))


def _many_views() -> bytes:
    """100,000 names for one megabyte, each a copy when it is made contiguous."""
    at = storage("0", 1 << 18) + b"q\x01"
    named = [text("w0") + tensor(at, 0, (1 << 18,), (1,))]
    again = tensor(b"h\x01", 0, (1 << 18,), (1,))
    named += [text(f"w{i}") + again for i in range(1, 100_000)]
    return zipped(program(b"}(" + b"".join(named) + b"u"), {"0": bytes(1 << 20)})


_register("100,000 views of one storage", _many_views)


def _rebuilt(name: str, *arguments: Any) -> bytes:
    return zipped(program(value({"w": called("torch._utils", name, arguments)})), {"0": FOUR})


_hooks = globe("collections", "OrderedDict") + b")R"
_pair = tensor(storage("0", 4), 0, (1, 1), (1, 1))
_coo = called("torch.serialization", "_get_layout", ("torch.sparse_coo",))
_csr = called("torch.serialization", "_get_layout", ("torch.sparse_csr",))
_ones = tensor(storage("0", 4), 0, (1,), (1,))
_register(
    "sparse of 10^18",
    lambda: _rebuilt("_rebuild_sparse_tensor", _coo, value((_pair, _ones, value((GIANT, 10**6)), False))),
)
_register(
    "sparse CSR of 10^12",
    lambda: _rebuilt("_rebuild_sparse_tensor", _csr, value((_ones, _ones, _ones, value((GIANT, 1))))),
)
_register(
    "quantised of 10^12",
    lambda: _rebuilt(
        "_rebuild_qtensor",
        storage("0", 4, "QUInt8Storage"),
        0,
        value((GIANT,)),
        value((0,)),
        value((globe("torch", "per_tensor_affine"), 1, 0)),
        False,
        _hooks,
    ),
)
_register("nested of 10^12", lambda: _rebuilt("_rebuild_nested_tensor", _ones, _pair, _pair, _ones))
_register(
    "meta of 10^15",
    lambda: _rebuilt(
        "_rebuild_meta_tensor_no_storage", globe("torch", "float32"), value((10**15,)), value((1,)), False
    ),
)
_register(
    "wrapper of 10^18",
    lambda: _rebuilt(
        "_rebuild_wrapper_subclass",
        globe("torch", "Tensor"),
        globe("torch", "float32"),
        value((10**18,)),
        value((1,)),
        0,
        globe("torch", "strided"),
        value("cpu"),
        False,
    ),
)
_register(
    "torch.Tensor of 10^11", lambda: zipped(program(value({"w": called("torch", "Tensor", (10**11,))})))
)
_register(
    "torch.Tensor of 2 x 10^9", lambda: zipped(program(value({"w": called("torch", "Tensor", (2 * 10**9,))})))
)
_register(
    "bytearray of 2^40", lambda: zipped(program(value({"w": called("builtins", "bytearray", (2**40,))})))
)
_register(
    "bytearray of 20 GB",
    lambda: zipped(program(value({"w": called("builtins", "bytearray", (20 * 10**9,))}))),
)
_register(
    "bytearray of 3 GB", lambda: zipped(program(value({"w": called("builtins", "bytearray", (3 * 10**9,))})))
)
_register(
    "20 bytearrays of 1 GB",
    lambda: zipped(program(value(tuple(called("builtins", "bytearray", (10**9,)) for _ in range(20))))),
)
_register(
    "punycode of 200 kB",
    lambda: zipped(program(value({"w": called("_codecs", "encode", ("\xe4b" * 100_000, "punycode"))}))),
)


# Pickles that grow, deepen or lie about lengths.


def _doubled(begin: bytes, times: int) -> bytes:
    """A list of two of a list of two of ...: 2^times ends in a few bytes per level."""
    body = begin + b"q\x01" + b"0"
    for level in range(1, times + 1):
        body += (
            b"](" + b"h" + bytes([level]) + b"h" + bytes([level]) + b"e" + b"q" + bytes([level + 1]) + b"0"
        )
    return body + b"h" + bytes([times + 1])


def _doubled_dict(times: int) -> bytes:
    body = b"}q\x010"
    for level in range(1, times + 1):
        held = b"h" + bytes([level])
        body += b"}(" + text("state_dict") + held + text("model") + held + b"uq" + bytes([level + 1]) + b"0"
    return body + b"h" + bytes([times + 1])


def _doubled_tuple(times: int) -> bytes:
    body = b"K\x01q\x010"
    for level in range(1, times + 1):
        body += (b"h" + bytes([level])) * 2 + b"\x86q" + bytes([level + 1]) + b"0"
    return body + b"h" + bytes([times + 1])


def _good() -> bytes:
    return tensor(storage("0", 4), 0, (2, 2), (2, 1))


def _beside(body: bytes) -> bytes:
    return zipped(
        program(value({"state_dict": value({"conv1.weight": _good()}), "extra": body})), {"0": FOUR}
    )


_register("memo bomb", lambda: zipped(program(_doubled(b"]", 40))))
_register("memo bomb, legacy", lambda: legacy(program(_doubled(b"]", 40))))
_register("memo bomb of dicts", lambda: zipped(program(_doubled_dict(40))))
_register("memo bomb of tuples", lambda: zipped(program(_doubled_tuple(40))))
_register("memo bomb beside weights", lambda: _beside(_doubled(b"]", 40)))
_register("memo bomb of dicts beside weights", lambda: _beside(_doubled_dict(40)))
_register(
    "memo bomb under a wrapper",
    lambda: zipped(program(value({"model": value({"state_dict": _doubled_dict(40)})}))),
)
_register(
    "memo bomb as a tensor's size",
    lambda: zipped(
        program(
            value(
                {
                    "w": called(
                        "torch._utils",
                        "_rebuild_tensor_v2",
                        (storage("0", 4), 0, _doubled_tuple(40), value((1,)), False, _hooks),
                    )
                }
            )
        ),
        {"0": FOUR},
    ),
)
_register("memo bomb as a key", lambda: zipped(program(b"}" + _doubled_tuple(40) + b"K\x01s")))
_register(
    "memo bomb in a set", lambda: zipped(program(called("builtins", "set", (value((_doubled_tuple(40),)),))))
)
_register("object that holds itself", lambda: zipped(program(b"}q\x01" + text("state_dict") + b"h\x01s")))
_register("list that holds itself", lambda: zipped(program(b"]q\x01h\x01a")))
_register(
    "texts that double", lambda: _beside(text("x" * 10**6) + b"q\x01" + b"0](" + b"h\x01" * 10**5 + b"e")
)

DEEP = 200_000
_register("200,000 lists", lambda: zipped(program(b"]" * DEEP + b"a" * (DEEP - 1))))
_register("200,000 lists, legacy", lambda: legacy(program(b"]" * DEEP + b"a" * (DEEP - 1))))
_register("200,000 tuples", lambda: zipped(program(b")" + b"\x85" * DEEP)))
_register("200,000 tuples, legacy", lambda: legacy(program(b")" + b"\x85" * DEEP)))
_register("200,000 tuples, bare", lambda: program(b")" + b"\x85" * DEEP))
_register("200,000 tuples beside weights", lambda: _beside(b")" + b"\x85" * DEEP))
_register("200,000 tuples as a key", lambda: zipped(program(b"}" + b")" + b"\x85" * DEEP + b"K\x01s")))
_register("200,000 dicts", lambda: zipped(program((b"}" + text("model")) * DEEP + b"}" + b"s" * DEEP)))
_register("200,000 marks", lambda: zipped(program(b"(" * DEEP + b"t" * DEEP)))
_register("10^7 marks", lambda: zipped(program(b"(" * 10**7)))
_register(
    "10^7 memo puts",
    lambda: zipped(program(b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(10**7)))),
)
_register("10^7 empty lists", lambda: zipped(program(b"](" + b"]" * 10**7 + b"e")))
_register("10^7 globals", lambda: zipped(program((globe("torch", "Size") + b"0") * 10**6 + b"N")))
_register(
    "10^6 calls", lambda: zipped(program((globe("collections", "OrderedDict") + b")R0") * 10**6 + b"N"))
)
_register("a memo index of 2^31", lambda: zipped(program(b"Nr\xff\xff\xff\x7f")))
_register("LONG4 of 2^31", lambda: zipped(program(b"\x8b\xff\xff\xff\x7f" + b"\x01" * 100)))
_register(
    "LONG4 of 4 MB", lambda: zipped(program(b"\x8b" + struct.pack("<i", 4 << 20) + b"\x7f" * (4 << 20)))
)
_register("LONG1 to a text of 10^6 digits", lambda: zipped(program(b"I" + b"9" * 10**6 + b"\n")))
_register("INT of 10^6 digits, legacy", lambda: legacy(program(b"I" + b"9" * 10**6 + b"\n")))
_register("BINUNICODE of 2^32", lambda: zipped(program(b"X\xff\xff\xff\xff" + b"x" * 100)))
_register("BINUNICODE8 of 2^60", lambda: zipped(program(b"\x8d" + struct.pack("<Q", 2**60) + b"x" * 100, 4)))
_register("BINBYTES8 of 2^60", lambda: zipped(program(b"\x8e" + struct.pack("<Q", 2**60) + b"x" * 100, 4)))
_register("FRAME of 2^60", lambda: zipped(program(b"\x95" + struct.pack("<Q", 2**60) + b"N", 4)))
_register("BINUNICODE8 of 2^60, bare", lambda: program(b"\x8d" + struct.pack("<Q", 2**60) + b"x" * 100, 4))
_register("a name of 50 MB", lambda: zipped(program(value({"x" * (50 << 20): _good()})), {"0": FOUR}))
_register("a global of 20 MB", lambda: zipped(program(globe("x" * (20 << 20), "y") + b")R")))
_register(
    "300,000 names",
    lambda: zipped(program(b"}(" + b"".join(text(f"k{i}") + b"N" for i in range(300_000)) + b"u")),
)


# Archives.


def _deflated(name: str, size: int) -> tuple[bytes, int]:
    """Zeros of ``size``, compressed, made without having them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts, crc, block = [], 0, bytes(1 << 20)
    for _ in range(size >> 20):
        parts.append(packer.compress(block))
        crc = zlib.crc32(block, crc)
    return b"".join((*parts, packer.flush())), crc


def _archive(entries: list[tuple[str, bytes, int, int, int]], count: int | None = None) -> bytes:
    """A zip of (name, stored bytes, size, crc, method), as it is told."""
    out, directory = io.BytesIO(), io.BytesIO()
    for name, data, size, crc, method in entries:
        at, title = out.tell(), name.encode()
        fields = (20, 0, method, 0, 33, crc, len(data) & 0xFFFFFFFF, size & 0xFFFFFFFF, len(title), 0)
        out.write(b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", *fields) + title + data)
        directory.write(b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, *fields, 0, 0, 0, 0, at) + title)
    begin, listing = out.tell(), directory.getvalue()
    number = (len(entries) if count is None else count) & 0xFFFF
    end = struct.pack("<HHHHIIH", 0, 0, number, number, len(listing), begin, 0)
    return out.getvalue() + listing + b"PK\x05\x06" + end


def _stored(name: str, data: bytes) -> tuple[str, bytes, int, int, int]:
    return name, data, len(data), zlib.crc32(data), 0


def _tensor_of(elements: int) -> bytes:
    return program(value({"conv1.weight": tensor(storage("0", elements), 0, (elements,), (1,))}))


_VERSION = _stored("net/version", b"3\n")


def _zeros_deflated(size: int) -> bytes:
    data, crc = _deflated("", size)
    entries = [_stored("net/data.pkl", _tensor_of(size // 4)), ("net/data/0", data, size, crc, 8), _VERSION]
    return _archive(entries)


def _pickle_deflated() -> bytes:
    """data.pkl itself: 1 GB of nothing but marks."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head, block, tail = b"\x80\x02", b"N0" * (1 << 19), b"N."
    crc, parts, size = zlib.crc32(head), [packer.compress(head)], len(head) + (1 << 30) + len(tail)
    for _ in range(1 << 10):
        parts.append(packer.compress(block))
        crc = zlib.crc32(block, crc)
    parts += [packer.compress(tail), packer.flush()]
    return _archive([("net/data.pkl", b"".join(parts), size, zlib.crc32(tail, crc), 8), _VERSION])


def _many_deflated() -> bytes:
    """Sixty entries of 1 GB each, in 60 MB."""
    data, crc = _deflated("", 1 << 30)
    names = [f"w{i}" for i in range(60)]
    tensors = {n: tensor(storage(str(i), 1 << 28), 0, (1 << 28,), (1,)) for i, n in enumerate(names)}
    entries = [(f"net/data/{i}", data, 1 << 30, crc, 8) for i in range(60)]
    return _archive([_stored("net/data.pkl", program(value(tensors))), *entries, _VERSION])


def _zip_in_zip() -> bytes:
    inner = _zeros_deflated(1 << 30)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(inner) + packer.flush()
    entries = [("net/data/0", data, len(inner), zlib.crc32(inner), 8), _VERSION]
    return _archive([_stored("net/data.pkl", _tensor_of(len(inner) // 4)), *entries])


def _overlapping() -> bytes:
    """Every entry is the same bytes: 5,000 tensors of 1 MB in 1 MB."""
    names = [str(i) for i in range(5000)]
    data = bytes(1 << 20)
    tensors = {n: tensor(storage(n, 1 << 18), 0, (1 << 18,), (1,)) for n in names}
    pickle = program(value(tensors))
    first = _archive([_stored("net/data.pkl", pickle), _stored("net/data/0000", data)])
    at = first.index(b"net/data/0000") - 30
    end = first.index(b"PK\x01\x02")
    listing = b""
    for name, offset, held in (("net/data.pkl", 0, pickle), *((f"net/data/{n}", at, data) for n in names)):
        fields = (
            20,
            20,
            0,
            0,
            0,
            33,
            zlib.crc32(held),
            len(held),
            len(held),
            len(name),
            0,
            0,
            0,
            0,
            0,
            offset,
        )
        listing += b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", *fields) + name.encode()
    tail = struct.pack("<HHHHIIH", 0, 0, 5001, 5001, len(listing), end, 0)
    return first[:end] + listing + b"PK\x05\x06" + tail


_good_zip = lambda: zipped(_tensor_of(4), {"0": FOUR})  # noqa: E731
_register("deflated 1 GB of zeros", lambda: _zeros_deflated(1 << 30))
_register("deflated pickle of 1 GB", _pickle_deflated)
_register("deflated 60 x 1 GB", _many_deflated)
_register("zip within a zip", _zip_in_zip)
_register("overlapping entries", _overlapping)
_register(
    "entry larger than it is",
    lambda: _archive(
        [
            _stored("net/data.pkl", _tensor_of(4)),
            ("net/data/0", FOUR, 2**32 - 2, zlib.crc32(FOUR), 0),
            _VERSION,
        ]
    ),
)
_register(
    "entry smaller than it is",
    lambda: _archive(
        [_stored("net/data.pkl", _tensor_of(4)), ("net/data/0", FOUR, 1, zlib.crc32(FOUR), 0), _VERSION]
    ),
)
_register(
    "entry of another checksum",
    lambda: _archive([_stored("net/data.pkl", _tensor_of(4)), ("net/data/0", FOUR, 16, 1, 0), _VERSION]),
)
_register(
    "entry of an unknown method",
    lambda: _archive(
        [_stored("net/data.pkl", _tensor_of(4)), ("net/data/0", FOUR, 16, zlib.crc32(FOUR), 99), _VERSION]
    ),
)
_register(
    "65,535 entries",
    lambda: _archive(
        [
            _stored("net/data.pkl", program(value({"w": 1}))),
            *[_stored(f"net/data/{i}", b"") for i in range(65_533)],
            _VERSION,
        ]
    ),
)
_register(
    "a directory that claims 65,534 entries",
    lambda: _archive([_stored("net/data.pkl", _tensor_of(4)), _stored("net/data/0", FOUR), _VERSION], 65_534),
)
_register(
    "two entries of one name",
    lambda: _archive(
        [
            _stored("net/data.pkl", _tensor_of(4)),
            _stored("net/data/0", FOUR),
            _stored("net/data/0", bytes(16)),
            _VERSION,
        ]
    ),
)
_register(
    "two pickles",
    lambda: _archive(
        [
            _stored("net/data.pkl", _tensor_of(4)),
            _stored("net/data.pkl", program(value({"x": 1}))),
            _stored("net/data/0", FOUR),
            _VERSION,
        ]
    ),
)
_register("nothing but a directory", lambda: _archive([]))
_register(
    "a hundred thousand bytes of comment",
    lambda: _good_zip()[:-2] + struct.pack("<H", 65_535) + b"PK\x05\x06" * 16_384,
)
_register(
    "names of 65,000 bytes",
    lambda: _archive(
        [_stored("net/data.pkl", _tensor_of(4)), *[_stored("x" * 65_000 + str(i), b"") for i in range(1000)]]
    ),
)


# safetensors.


def _headed(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def _entry(dtype: Any = "F32", shape: Any = (2, 2), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def _safe(name: str, content: Callable[[], bytes]) -> None:
    _register(f"safetensors: {name}", content, "net.safetensors")


def _of(**entry: Any) -> bytes:
    return _headed(json.dumps({"conv1.weight": _entry(**entry)}).encode(), FOUR)


_safe("header of 2^40", lambda: _headed(b'{"a":1}', FOUR, 2**40))
_safe("header of 2^40 - 1", lambda: _headed(b'{"a":1}', FOUR, 2**40 - 1))
_safe("header of 2^63", lambda: _headed(b'{"a":1}', FOUR, 2**63))
_safe("header of nothing", lambda: _headed(b"{", FOUR, 0))
_safe("100 MB of spaces", lambda: _headed(b'{"__metadata__":{}}' + b" " * (100 << 20)))
_safe("99 MB of spaces", lambda: _headed(b"{" + b" " * (99 * 10**6) + b"}"))
_safe("99 MB of metadata", lambda: _headed(json.dumps({"__metadata__": {"x": "y" * (99 * 10**6)}}).encode()))
_safe(
    "10^6 tensors of nothing",
    lambda: _headed(
        json.dumps(
            {f"t{i}": _entry(shape=[0], offsets=[0, 0]) for i in range(10**6)}, separators=(",", ":")
        ).encode()
    ),
)
_safe(
    "10^6 tensors of one byte",
    lambda: _headed(
        json.dumps(
            {f"t{i}": _entry("U8", [1], [i, i + 1]) for i in range(10**6)}, separators=(",", ":")
        ).encode(),
        bytes(10**6),
    ),
)
_safe(
    "10^6 entries of metadata",
    lambda: _headed(
        json.dumps(
            {"__metadata__": {f"m{i}": "" for i in range(10**6)}, "w": _entry()}, separators=(",", ":")
        ).encode(),
        FOUR,
    ),
)
_safe("200,000 levels of lists", lambda: _headed(b'{"w":' + b"[" * DEEP + b"]" * DEEP + b"}"))
_safe("200,000 levels of objects", lambda: _headed(b'{"w":' * DEEP + b"1" + b"}" * DEEP))
_safe(
    "an integer of 10^6 digits",
    lambda: _headed(b'{"w":{"dtype":"F32","shape":[' + b"9" * 10**6 + b'],"data_offsets":[0,16]}}', FOUR),
)
_safe(
    "a number of 10^6 digits after the point",
    lambda: _headed(b'{"w":{"dtype":"F32","shape":[0.' + b"9" * 10**6 + b'],"data_offsets":[0,16]}}', FOUR),
)
_safe("a name of 50 MB", lambda: _headed(json.dumps({"x" * (50 << 20): _entry()}).encode(), FOUR))
_safe("an unknown dtype of 20 MB", lambda: _of(dtype="x" * (20 << 20)))
_safe("10^12 elements", lambda: _of(shape=[GIANT]))
_safe("2^64 elements", lambda: _of(shape=[2**32, 2**32]))
_safe("2^64 elements and none", lambda: _of(shape=[2**32, 2**32, 0], offsets=[0, 0]))
_safe("offsets beyond", lambda: _of(offsets=[0, 2**62]))
_safe("offsets backwards", lambda: _of(offsets=[16, 0]))
_safe("overlapping tensors", lambda: _headed(json.dumps({"a": _entry(), "b": _entry()}).encode(), FOUR))
_safe(
    "a hole", lambda: _headed(json.dumps({"a": _entry(), "b": _entry(offsets=[32, 48])}).encode(), FOUR * 3)
)
_safe("a name twice", lambda: _headed(b'{"w":%s,"w":%s}' % ((json.dumps(_entry()).encode(),) * 2), FOUR))
_safe("a million dimensions", lambda: _of(shape=[1] * 10**6))
_safe("__metadata__ that is a tensor", lambda: _headed(json.dumps({"__metadata__": _entry()}).encode(), FOUR))


def _recipe(text_: str) -> bytes:
    from hashlib import sha256

    about = {
        "format": "pt",
        "prunecli.recipe": text_,
        "prunecli.recipe.sha256": sha256(text_.encode()).hexdigest(),
    }
    return _headed(json.dumps({"__metadata__": about, "conv1.weight": _entry()}).encode(), FOUR)


def _recipe_with(**fields: Any) -> bytes:
    """All of it is as it should be but ``fields``: the digest of the tensor too."""
    from hashlib import sha256

    right = {"conv1.weight": sha256(b"float32[2, 2]" + FOUR).hexdigest()}
    recipe = {
        "version": "prunecli.recipe/1", "arch": "cifar:resnet8", "arguments": {"in_channels": 1},
        "inputs": [{"name": None, "dtype": "float32", "shape": [1, 1, 8, 8], "bounds": None}],
        "shapes": {}, "patches": [], "plan": {"groups": {}}, "digests": right, "cut_digests": right,
        "changed_by": [],
        "source_digest": "", "options": {},
    }  # fmt: skip
    return _recipe(json.dumps({**recipe, **fields}))


_safe("recipe of 200,000 levels", lambda: _recipe("[" * DEEP + "]" * DEEP))
_safe("recipe of 10^6 digits", lambda: _recipe('{"version":' + "9" * 10**6 + "}"))
_safe(
    "recipe with 10^6 patches",
    lambda: _recipe_with(patches=[{"module": "a", "attribute": "b", "index": 0, "value": 1}] * 10**6),
)
_safe("recipe of a huge network", lambda: _recipe_with(arguments={"num_classes": 2**40}))
_safe(
    "recipe of a network of 10^6 classes",
    lambda: _recipe_with(arguments={"num_classes": 10**6, "in_channels": 10**6}),
)
_safe(
    "recipe of a huge input",
    lambda: _recipe_with(
        inputs=[{"name": None, "dtype": "float32", "shape": [2**20, 2**20], "bounds": None}]
    ),
)
_safe(
    "recipe with a plan of 10^7 units",
    lambda: _recipe_with(plan={"groups": {"a": {"dense": 10**7, "kept": list(range(10**7))}}}),
)


# Index files and what is no file.


def _index(folder: Path, weight_map: Any, **more: Any) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map, **more}))
    return path


def _pointing(name: str, target: Callable[[Path], Any]) -> None:
    @bomb(f"index: {name}")
    def make(folder: Path) -> Path:
        target(folder / "shard.safetensors")
        return _index(folder, {"conv1.weight": "shard.safetensors"})


bomb("index: 10^6 names of one shard")(
    lambda folder: (_file(folder, _of(), "s"), _index(folder, {f"t{i}": "s" for i in range(10**6)}))[1]
)
bomb("index: 10^6 shards")(lambda folder: _index(folder, {f"t{i}": f"s{i}" for i in range(10**6)}))
bomb("index: itself as a shard")(lambda folder: _index(folder, {"a": "model.safetensors.index.json"}))
bomb("index: a shard elsewhere")(lambda folder: _index(folder, {"a": "../../../../etc/passwd"}))
bomb("index: a shard at the root")(lambda folder: _index(folder, {"a": "/etc/passwd"}))
bomb("index: the directory as a shard")(lambda folder: _index(folder, {"a": "."}))
bomb("index: 200,000 levels")(
    lambda folder: _file(
        folder, b'{"weight_map":' + b"[" * DEEP + b"]" * DEEP + b"}", "model.safetensors.index.json"
    )
)
bomb("index: 10^6 digits")(
    lambda folder: _file(
        folder, b'{"weight_map":{},"x":' + b"9" * 10**6 + b"}", "model.safetensors.index.json"
    )
)
bomb("index: a shard name of 1 MB")(lambda folder: _index(folder, {"a": "x" * 10**6}))
bomb("index: a shard name with a null")(lambda folder: _index(folder, {"a": "a\0b"}))
bomb("index: 60 MB of spaces")(
    lambda folder: _file(
        folder, b'{"weight_map":{}' + b" " * (60 << 20) + b"}", "model.safetensors.index.json"
    )
)
_pointing("a shard that is a fifo", lambda path: os.mkfifo(path))
_pointing("a shard that leads to /dev/zero", lambda path: path.symlink_to("/dev/zero"))
_pointing("a shard that leads to /etc/passwd", lambda path: path.symlink_to("/etc/passwd"))
_pointing("a shard that leads in a circle", lambda path: path.symlink_to(path))
_pointing("a shard that leads to the index", lambda path: path.symlink_to("model.safetensors.index.json"))
_pointing("a shard that is a pickle", lambda path: path.write_bytes(_good_zip()))


@bomb("a fifo")
def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "net.pth")
    return folder / "net.pth"


@bomb("a directory")
def _directory(folder: Path) -> Path:
    (folder / "net.pth").mkdir()
    return folder / "net.pth"


@bomb("a directory whose weights are a fifo")
def _directory_fifo(folder: Path) -> Path:
    os.mkfifo(folder / "model.safetensors")
    return folder


bomb("/dev/zero")(lambda folder: Path("/dev/zero"))
bomb("/dev/stdin")(lambda folder: Path("/dev/stdin"))
bomb("/proc/self/mem")(lambda folder: Path("/proc/self/mem"))


@bomb("a link to /dev/zero")
def _link(folder: Path) -> Path:
    (folder / "net.pth").symlink_to("/dev/zero")
    return folder / "net.pth"


def _sparse(name: str, begin: Callable[[], bytes]) -> None:
    """8 GB of hole behind ``begin``: large for the file system only."""

    @bomb(name)
    def make(folder: Path) -> Path:
        path = _file(folder, begin())
        os.truncate(path, 8 << 30)
        return path


_sparse("8 GB of hole", lambda: b"\0")
_sparse("8 GB of hole behind a pickle", lambda: program(value({"w": 1})))
_sparse("8 GB of hole behind a zip", _good_zip)
_sparse("8 GB of hole behind a header", _of)
_sparse("8 GB of hole behind a brace", lambda: b'{"weight_map":')
