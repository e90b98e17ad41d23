"""The networks that ultralytics ships, by name: read from its YAML without importing it or torch."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prunecli.errors import UsageError

PREFIX = "ultralytics"
# The class of the last layer in a YAML, and the class of nn/tasks.py that is built around it.
_BUILDERS = {
    "Detect": "DetectionModel", "v10Detect": "DetectionModel",
    "Segment": "SegmentationModel", "Segment26": "SegmentationModel",
    "Pose": "PoseModel", "Pose26": "PoseModel",
    "OBB": "OBBModel", "OBB26": "OBBModel",
    "Classify": "ClassificationModel",
}  # fmt: skip
QUIET = {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false"}
"""What keeps ultralytics from looking for the network, printing, and installing packages."""
_NUMBERED = re.compile(r"yolov?\d+")


@dataclass(frozen=True)
class Shipped:
    """A YAML of the package at one scale ('' where it has none), and what is built from it."""

    path: Path
    scale: str
    builder: str


@lru_cache(maxsize=1)
def shipped() -> dict[str, Shipped]:
    """Every network by name. Raises ``UsageError`` if ultralytics is not installed."""
    found: dict[str, Shipped] = {}
    for path in sorted((_package() / "cfg" / "models").rglob("*.yaml")):
        settings = settings_of(path)
        builder = _BUILDERS.get(settings["head"][-1][2])
        if builder is not None:
            scales = list(settings.get("scales") or [""])
            for scale in scales:
                name = path.stem if len(scales) == 1 else _scaled(path.stem, scale)
                found[name] = Shipped(path, scale, builder)
    return found


def _scaled(stem: str, scale: str) -> str:
    """``yolov8-seg`` at scale n is ``yolov8n-seg``."""
    return _NUMBERED.sub(lambda number: number[0] + scale, stem, count=1)


def _package() -> Path:
    spec = find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("ultralytics is not installed", 'type: pip install "prunecli[yolo]"')
    return Path(spec.submodule_search_locations[0])


def settings_of(path: Path) -> dict[str, Any]:
    """What a YAML says: classes, scales, layers."""
    yaml: Any = importlib.import_module("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    settings: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), loader)
    return settings


def is_installed() -> bool:
    return find_spec("ultralytics") is not None


def plain(name: str) -> str:
    """The name without the ending that ultralytics itself writes."""
    return name.removesuffix(".yaml")
