"""ultralytics: the detectors, segmenters, classifiers, pose and oriented-box networks whose YAML it ships.

A name is that of a YAML with the letter of a scale (``yolov8n-seg``). The file is read from the package
itself, never from the working directory, where ultralytics would look first. A YAML of one's own goes
through a factory (``FILE.py:factory``), since ultralytics evaluates parts of it.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.errors import UsageError
from prunecli.networks.family import Arguments, Family, image
from prunecli.networks.ultralytics_names import PREFIX, QUIET, plain, settings_of, shipped

_SIDES = {"ClassificationModel": 224}
_SIDE = 640
# Recipes are untrusted, and the constructor takes real memory for each class and channel.
_MOST = {"nc": 30_000, "ch": 1_024}
# The last layer's tensors with one row for each class, with or without the prefix that reading strips.
_CLASS_ROWS = re.compile(r"(?:model\.)*\d+\.(?:cv3\.0\.2|linear)\.weight")


def _make(name: str, arguments: Arguments) -> nn.Module:
    for key, value in arguments.items():
        if type(value) is not int or not 1 <= value <= _MOST.get(key, 0):
            raise UsageError(
                f"ultralytics: takes no --arch-arg {key}={value}",
                "nc=CLASSES or ch=CHANNELS; for more write FILE.py:factory",
            )
    known = shipped()[name]
    settings = _unfetched(settings_of(known.path)) | {"scale": known.scale, "yaml_file": f"{name}.yaml"}
    options: dict[str, Any] = {**arguments}
    with _silent():
        builder = getattr(_tasks(), known.builder)
        module: nn.Module = builder(settings, verbose=False, **options)
    return module


def _unfetched(settings: dict[str, Any]) -> dict[str, Any]:
    """A YAML may take a part from torchvision (``[channels, name, weights, ...]``), by default with weights
    from the network.
    """
    for _, _, kind, arguments in (*settings["backbone"], *settings["head"]):
        if kind == "TorchVision":
            arguments[2:3] = [None]
    return settings


def _tasks() -> Any:
    """``ultralytics.nn.tasks``. The first import reads no settings of the user and leaves none behind;
    whoever needs theirs in the same process imports ultralytics before.
    """
    if "ultralytics" in sys.modules:
        return importlib.import_module("ultralytics.nn.tasks")
    with tempfile.TemporaryDirectory() as folder, _environment(QUIET | {"YOLO_CONFIG_DIR": folder}):
        return importlib.import_module("ultralytics.nn.tasks")


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """``changes`` for a while; what else is set meanwhile (a number of threads for children) is undone."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        for key in os.environ.keys() - before.keys():
            del os.environ[key]
        os.environ.update(before)


@contextmanager
def _silent() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _inputs(name: str, arguments: Arguments, module: nn.Module) -> tuple[InputSpec, ...]:
    channels = arguments.get("ch", 3)
    side = _SIDES.get(shipped()[name].builder, _SIDE)
    return image(channels if isinstance(channels, int) else 3, side, side)


def _infer(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Scalar]:
    """The classes, which decide the width of hidden layers too, so that shapes alone do not explain them."""
    rows = [len(tensor) for key, tensor in tensors.items() if _CLASS_ROWS.fullmatch(key) and tensor.dim()]
    if not rows or rows[-1] == settings_of(shipped()[name].path).get("nc"):
        return {}
    return {"nc": rows[-1]}


def _classes(module: nn.Module) -> int | None:
    settings = getattr(module, "yaml", None)
    classes = settings.get("nc") if isinstance(settings, dict) else None
    return classes if isinstance(classes, int) else None


ULTRALYTICS = Family(
    prefix=PREFIX,
    names=lambda: tuple(shipped()),
    make=_make,
    inputs=_inputs,
    infer=_infer,
    classes_argument="nc",
    channels_argument="ch",
    default_classes=_classes,
    plain=plain,
    # The constructor runs the network to find its strides.
    sketched=False,
)
