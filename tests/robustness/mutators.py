"""Seeded damage: what a cable, a disk, an editor or an enemy does to a file.

A mutator gets the bytes and where their structure lies, and a random number generator; it hands back other
bytes. Those of ``FORGERS`` know the format and leave it whole: what they change, no checksum of the format
can tell.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

from .bases import Base, pickles_of, structure

EXTREMES = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**48,
    2**63 - 1,
    2**63,
)
Mutator = Callable[[bytes, Random], bytes]


def _place(content: bytes, random: Random) -> int:
    """Half of the time where the structure is, which is a small part of the file."""
    if random.random() < 0.5:
        return random.randrange(len(content))
    spans = [span for span in structure(content) if span[1] > span[0]]
    begin, end = random.choice(spans) if random.random() < 0.3 else max(spans, key=lambda s: s[1] - s[0])
    return random.randrange(begin, min(end, len(content)))


def flip_bits(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 8, 64))):
        changed[_place(content, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, random: Random) -> bytes:
    at, size = _place(content, random), random.choice((1, 1, 2, 4, 16, 200))
    return content[:at] + random.randbytes(size) + content[at + size :]


def truncate(content: bytes, random: Random) -> bytes:
    return content[: _place(content, random)]


def extend(content: bytes, random: Random) -> bytes:
    more = (b"\0" * random.randrange(1, 5000), random.randbytes(random.randrange(1, 5000)), content)
    return content + random.choice(more)


def _blocks(content: bytes, random: Random) -> tuple[int, int, int]:
    """Two places and a length, as of disk sectors in half of the cases."""
    size = random.choice((1, 8, 64, 512, 4096))
    first, second = sorted((_place(content, random), _place(content, random)))
    if random.random() < 0.5:
        first, second = first - first % size, second - second % size
    return first, second, size


def swap(content: bytes, random: Random) -> bytes:
    first, second, size = _blocks(content, random)
    size = min(size, second - first)
    a, b = content[first : first + size], content[second : second + size]
    return content[:first] + b + content[first + size : second] + a + content[second + size :]


def duplicate(content: bytes, random: Random) -> bytes:
    first, second, size = _blocks(content, random)
    return content[:second] + content[first : first + size] + content[second:]


def move_onto(content: bytes, random: Random) -> bytes:
    first, second, size = _blocks(content, random)
    return content[:second] + content[first : first + size] + content[second + size :]


def remove(content: bytes, random: Random) -> bytes:
    first, _, size = _blocks(content, random)
    return content[:first] + content[first + size :]


def blank(content: bytes, random: Random) -> bytes:
    first, _, size = _blocks(content, random)
    fill = random.choice((b"\0", b"\xff", b" "))
    return content[:first] + fill * len(content[first : first + size]) + content[first + size :]


def integer(content: bytes, random: Random) -> bytes:
    """A number of 1 to 8 bytes becomes an extreme one, or one more or less."""
    at, size = _place(content, random), random.choice((1, 2, 4, 8))
    old = int.from_bytes(content[at : at + size], "little")
    new = random.choice((*EXTREMES, old + 1, old - 1, old * 2, -1)) % (1 << 8 * size)
    order = random.choice(("little", "little", "big"))
    return content[:at] + new.to_bytes(size, order) + content[at + size :]


DAMAGE: dict[str, Mutator] = {
    "flip bits": flip_bits, "overwrite": overwrite, "truncate": truncate, "extend": extend, "swap": swap,
    "duplicate": duplicate, "move onto": move_onto, "remove": remove, "blank": blank, "integer": integer,
}  # fmt: skip


class Pairs(list[Any]):
    """A JSON object with the order of its keys, and with those that stand twice."""


class Raw(str):
    """Text that stands in JSON as it is."""


HOSTILE: tuple[Any, ...] = (
    -1, 0, 1, 3, 7.5, 2**31, 2**53 + 1, 2**63, 2**64, 10**40, -(2**63), True, None, "", "F32", "F64", "I64",
    "BOOL",
    "F8_E4M3", "F4", "\x1b[31mred", "a\nb", "../x", "..", "conv1.weight", "__class__", "\u202e", "x" * 5000,
    [], [[]],
    [2**62, 2**62], Pairs(), Pairs([("a", 1)]), Raw("NaN"), Raw("1e999"), Raw("-0"), Raw("0x10"),
    Raw("[" * 3000),
    Raw("9" * 5000), Raw('"\\ud800"'), Raw(""), Raw("tru"), Raw("1,"), Raw('"unfinished'),
)  # fmt: skip


def dumped(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{dumped(key)}:{dumped(item)}" for key, item in value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dumped, value)) + "]"
    return json.dumps(value)


def _nodes(value: Any) -> list[tuple[Any, int]]:
    """Every (container, index) of a document."""
    found = [(value, i) for i in range(len(value))] if isinstance(value, list) else []
    for item in value if isinstance(value, list) else []:
        inner = item[1] if isinstance(value, Pairs) else item
        found += _nodes(inner)
    return found


def edit(document: Any, random: Random) -> None:
    """Change one place of ``document`` (of ``Pairs`` and lists) in place."""
    nodes = _nodes(document)
    if not nodes:
        return
    holder, at = random.choice(nodes)
    other = random.choice(nodes)
    keyed = isinstance(holder, Pairs)
    kind = random.randrange(7)
    if kind == 0:
        del holder[at]
    elif kind == 1:
        holder.insert(random.randrange(len(holder) + 1), holder[at])
    elif kind == 2 and keyed:
        holder[at] = (random.choice((*[v for v in HOSTILE if isinstance(v, str)], "again")), holder[at][1])
    elif kind == 3 and keyed:
        holder[at] = (random.choice(holder)[0], holder[at][1])
    elif kind == 4:
        theirs = other[0][other[1]]
        new = theirs[1] if isinstance(other[0], Pairs) else theirs
        # Not into itself: a document has an end.
        new = json.loads(dumped(new), object_pairs_hook=Pairs) if not _unfinished(new) else 0
        holder[at] = (holder[at][0], new) if keyed else new
    elif kind == 5 and type(_value(holder, at)) is int:
        new = _value(holder, at) + random.choice((-1, 1, 4, -4, 256, 2**32))
        holder[at] = (holder[at][0], new) if keyed else new
    else:
        new = deepcopy(random.choice(HOSTILE))
        holder[at] = (holder[at][0], new) if keyed else new


def _value(holder: Any, at: int) -> Any:
    return holder[at][1] if isinstance(holder, Pairs) else holder[at]


def _unfinished(value: Any) -> bool:
    try:
        json.loads(dumped(value))
    except (ValueError, RecursionError):
        return True
    return False


def json_edits(text: bytes, random: Random) -> bytes:
    document = json.loads(text, object_pairs_hook=Pairs)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        edit(document, random)
    return dumped(document).encode()


def header_edits(content: bytes, random: Random) -> bytes:
    """The header of a safetensors file is another, of the right length nine times of ten."""
    size = int.from_bytes(content[:8], "little")
    header = json_edits(content[8 : 8 + size], random)
    length = len(header) if random.random() < 0.9 else random.choice(EXTREMES)
    return length.to_bytes(8, "little") + header + content[8 + size :]


def recipe_edits(content: bytes, random: Random) -> bytes:
    """Our own file with another recipe, and its digest right three times of four."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    about = header["__metadata__"]
    recipe = json_edits(about["prunecli.recipe"].encode(), random).decode("utf-8", "replace")
    about["prunecli.recipe"] = recipe
    if random.random() < 0.75:
        about["prunecli.recipe.sha256"] = hashlib.sha256(recipe.encode("utf-8", "replace")).hexdigest()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def opcode_edits(stream: bytes, random: Random) -> bytes:
    """A pickle with other operations in it."""
    places = [(op, arg, at) for op, arg, at in pickletools.genops(stream) if at is not None]
    ends = [at for _, _, at in places[1:]] + [len(stream)]
    parts = [stream[at:end] for (_, _, at), end in zip(places, ends, strict=True)]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(parts))
        kind = random.randrange(6)
        if kind == 0:
            parts[at] = b""
        elif kind == 1:
            parts.insert(at, random.choice(parts))
        elif kind == 2:
            other = random.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif kind == 3:
            parts.insert(at, random.choice(_SNIPPETS))
        else:
            numbers = [i for i, (op, arg, _) in enumerate(places) if isinstance(arg, int) and op.arg]
            texts = [i for i, (_, arg, _) in enumerate(places) if isinstance(arg, str)]
            wanted = [i for i in (numbers if kind == 4 else texts) if i < len(parts) and parts[i]]
            if wanted:
                at = random.choice(wanted)
                parts[at] = _other_argument(parts[at], random)
    return b"".join(parts)


_SNIPPETS = (
    b"(", b"0", b"2", b"1", b"t", b"l", b"d", b"}", b"]", b")", b"R", b"b", b"a", b"e", b"s", b"u", b"N",
    b"\x81",
    b"\x92", b"\x90", b"Q", b".", b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\ndevice\n",
    b"ctorch\nSize\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"ccollections\nOrderedDict\n", b"ctorch\nDoubleStorage\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ctorch._utils\n_rebuild_qtensor\n",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"\x8b\xff\xff\xff\x7f", b"X\x02\x00\x00\x00hi",
    b"\x8d" + b"\xff" * 8,
    b"h\x00", b"h\x01", b"j\xff\xff\xff\xff", b"q\x00", b"r\xff\xff\xff\x7f", b"G\x7f\xf8" + b"\0" * 6,
    b"\x82\x01",
    b"\x95" + b"\xff" * 8, b"\x97", b"\x98", b"ios\nsystem\n", b"o",
)  # fmt: skip


def _other_argument(part: bytes, random: Random) -> bytes:
    """The same kind of operation with another number or text."""
    code = part[:1]
    number = random.choice(EXTREMES)
    if code in (b"K", b"h", b"q"):
        return code + bytes([number % 256])
    if code == b"M":
        return code + struct.pack("<H", number % 2**16)
    if code in (b"J", b"j", b"r"):
        return code + struct.pack("<I", number % 2**32)
    if code == b"\x8a":
        return code + b"\x09" + number.to_bytes(9, "little")
    text = random.choice(
        (b"", b"x", b"cpu", b"cuda:0", b"meta", b"0", b"../1", b"conv1.weight", b"\xff\xfe", b"a" * 300)
    )
    if code == b"X":
        return code + struct.pack("<I", len(text)) + text
    if code == b"c":
        return random.choice([s for s in _SNIPPETS if s[:1] == b"c"])
    return code + part[1:][::-1]


def zip_pickle_edits(content: bytes, random: Random) -> bytes:
    """Another pickle in the archive, with the checksum that belongs to it."""
    return _rewritten(
        content, lambda name, data: opcode_edits(data, random) if name.endswith("data.pkl") else data
    )


def entry_edits(content: bytes, random: Random) -> bytes:
    """Entries removed, renamed, doubled, exchanged, compressed, longer or shorter."""
    kind, names = random.randrange(7), _names(content)
    chosen, other = random.choice(names), random.choice(names)
    datas = dict(_entries(content))

    def changed(name: str, data: bytes) -> bytes | None:
        if kind == 0 and name == chosen:
            return None
        if kind == 1 and name in (chosen, other):
            return datas[other if name == chosen else chosen]
        if kind == 2 and name == chosen:
            return data[: random.randrange(len(data) + 1)]
        if kind == 3 and name == chosen:
            return data + random.randbytes(random.choice((1, 4, 4096)))
        return data

    renamed = {chosen: random.choice(("data.pkl", "../x", "x/data.pkl", ".", other, chosen.upper()))}
    return _rewritten(
        content, changed,
        rename=renamed if kind == 4 else {},
        again=chosen if kind == 5 else None,
        deflated=chosen if kind == 6 else None,
    )  # fmt: skip


def _entries(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def _names(content: bytes) -> list[str]:
    return [name for name, _ in _entries(content)]


def _rewritten(
    content: bytes,
    change: Callable[[str, bytes], bytes | None],
    rename: dict[str, str] | None = None,
    again: str | None = None,
    deflated: str | None = None,
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        # Of names that stand twice.
        warnings.simplefilter("ignore")
        for name, data in _entries(content):
            new = change(name, data)
            method = zipfile.ZIP_DEFLATED if name == deflated else zipfile.ZIP_STORED
            for _ in range((new is not None) + (name == again)):
                archive.writestr((rename or {}).get(name, name), new or b"", method)
    return buffer.getvalue()


def legacy_pickle_edits(content: bytes, random: Random) -> bytes:
    streams = pickles_of(content)
    rest = content[sum(map(len, streams)) :]
    at = random.choice((0, 1, 2, 3, 3, 3, 3, 4))
    streams[at] = opcode_edits(streams[at], random)
    return b"".join(streams) + rest


FORGERS: dict[str, dict[str, Mutator]] = {
    "safetensors": {"header": header_edits},
    "sharded": {"header": header_edits, "index": json_edits},
    "zip": {"opcodes": zip_pickle_edits, "entries": entry_edits},
    "wrapped": {"opcodes": zip_pickle_edits, "entries": entry_edits},
    "legacy": {"opcodes": legacy_pickle_edits},
    "own": {"header": header_edits, "recipe": recipe_edits},
}


def mutated(base: Base, others: Sequence[bytes], seed: str) -> tuple[str, bool, dict[str, bytes]]:
    """What was done, whether the format was kept whole, and the files that are different. Never the same."""
    random = Random(seed)
    while True:
        name = random.choice(sorted(base.files))
        content = base.files[name]
        kind, forged, changed = _one(base, name, content, others, random)
        if changed != content:
            return kind, forged, {name: changed}


def _one(
    base: Base, name: str, content: bytes, others: Sequence[bytes], random: Random
) -> tuple[str, bool, bytes]:
    forgers = {
        kind: mutator
        for kind, mutator in FORGERS[base.name].items()
        if (kind == "index") == name.endswith(".json")
    }
    drawn = random.random()
    if forgers and drawn < 0.45:
        kind = random.choice(sorted(forgers))
        return kind, True, forgers[kind](content, random)
    if drawn < 0.5:
        other = random.choice(others)
        at = _place(content, random)
        to = at if random.random() < 0.5 else random.randrange(len(other))
        # The place of the cut may be the end: then it is another file, whole and good.
        return "splice", to == 0 or at == 0, content[:at] + other[to:]
    kind = random.choice(sorted(DAMAGE))
    return kind, False, DAMAGE[kind](content, random)
