"""The catalogue of known networks: who has which parameter names. Read without importing torch.

``index.json`` is written by :mod:`prunecli.networks.index`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from prunecli.checkpoint.specs import Scalar
from prunecli.networks import ultralytics_names

PATH = Path(__file__).with_name("index.json")
COUNTERS = "num_batches_tracked"
_SKETCH = 32
_HEX = 6


@dataclass(frozen=True)
class Entry:
    """``digest``: of the sorted parameter names; ``sketch``: the smallest hashes of single names."""

    spec: str
    arguments: dict[str, Scalar]
    digest: str
    sketch: frozenset[str]


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    rows = json.loads(PATH.read_text(encoding="utf-8"))["networks"]
    return tuple(
        Entry(row["spec"], row["arguments"], row["digest"], frozenset(_chunks(row["sketch"]))) for row in rows
    )


def names() -> tuple[str, ...]:
    """Every network that is identified without ``--arch``: ``torchvision:resnet50``, ``cifar:resnet56``..."""
    return tuple(dict.fromkeys(entry.spec for entry in entries()))


def listed() -> tuple[str, ...]:
    """What can be listed quickly: :func:`names`, and the networks of ultralytics where that is installed."""
    more = ultralytics_names.shipped() if ultralytics_names.is_installed() else ()
    return (*names(), *(f"{ultralytics_names.PREFIX}:{name}" for name in more))


def candidates(keys: Iterable[str]) -> tuple[Entry, ...]:
    """Networks with exactly these parameter names, BatchNorm counters aside, in order of preference."""
    wanted = name_digest(keys)
    return tuple(entry for entry in entries() if entry.digest == wanted)


def nearest(keys: Iterable[str], count: int = 3) -> tuple[tuple[str, float], ...]:
    """Networks by estimated share of common names (Jaccard index from bottom-k sketches), best first."""
    mine = frozenset(_chunks(name_sketch(keys)))
    best: dict[str, float] = {}
    for entry in entries():
        lowest = sorted(mine | entry.sketch)[:_SKETCH]
        common = sum(value in mine and value in entry.sketch for value in lowest) / max(len(lowest), 1)
        best[entry.spec] = max(best.get(entry.spec, 0.0), common)
    ranked = sorted(best.items(), key=lambda item: -item[1])
    return tuple((spec, share) for spec, share in ranked[:count] if share > 0)


def name_digest(keys: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(_named(keys)).encode()).hexdigest()[:16]


def name_sketch(keys: Iterable[str]) -> str:
    hashes = {hashlib.sha256(key.encode()).hexdigest()[:_HEX] for key in _named(keys)}
    return "".join(sorted(hashes)[:_SKETCH])


def _named(keys: Iterable[str]) -> list[str]:
    return sorted(key for key in keys if not key.endswith(COUNTERS))


def _chunks(text: str) -> list[str]:
    return [text[start : start + _HEX] for start in range(0, len(text), _HEX)]
