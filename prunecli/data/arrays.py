"""``npz:FILE`` and ``safetensors:FILE``: arrays of inputs and labels, the samples along dimension 0."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from prunecli.checkpoint.specs import InputSpec
from prunecli.data.pictures import Picture
from prunecli.errors import InputError, first_line
from prunecli.inputs import Inputs, assemble

INPUT_NAMES = ("x", "images", "inputs")
LABEL_NAMES = ("y", "labels")

_CHANNELS = (1, 3)


def read_npz(path: str) -> dict[str, Tensor]:
    """Raises ``InputError`` for a file that is missing, damaged, or holds pickled objects."""
    try:
        # numpy leaves a file that it opened open where it fails.
        with Path(path).open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise InputError(f"'{path}' holds one array without a name", "np.savez(FILE, x=..., y=...)")
            return {name: _tensor(name, stored[name]) for name in stored.files}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"no such file: '{path}'", "check the path in --data") from None
    except ValueError as error:
        if "allow_pickle" in str(error) or "pickled" in str(error):
            raise InputError(
                f"'{path}' holds pickled objects, which are not read",
                "save plain arrays: np.savez(FILE, x=...)",
            ) from None
        raise _damaged(path, error) from None
    except (OSError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from None
    except (MemoryError, NotImplementedError, RuntimeError, TypeError, OverflowError) as error:
        raise _damaged(path, error) from None


def read_safetensors(path: str) -> dict[str, Tensor]:
    """Raises ``InputError`` for a file that is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"no such file: '{path}'", "check the path in --data") from None
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from None


def _damaged(path: str, error: Exception) -> InputError:
    return InputError(f"'{path}' could not be read: {first_line(error)}", "write it again")


def _tensor(name: str, array: Any) -> Tensor:
    if not isinstance(array, np.ndarray):
        # An entry of the archive that numpy did not write.
        raise InputError(f"'{name}' is no array", "np.savez(FILE, x=..., y=...)")
    if array.dtype.kind not in "biuf":
        raise InputError(f"array '{name}' holds {array.dtype}, not numbers", "save plain arrays of numbers")
    if array.dtype.kind == "u" and array.itemsize > 1:
        array = array.astype(np.int64)
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))


def labels_in(arrays: Mapping[str, Tensor]) -> Tensor | None:
    """The labels, int64 ``[N]``. Raises ``InputError`` for what cannot be labels."""
    name = next((name for name in LABEL_NAMES if name in arrays), None)
    return None if name is None else checked_labels(arrays[name], name)


def checked_labels(labels: Tensor, name: str = "labels") -> Tensor:
    """``labels`` as int64 ``[N]``. Raises ``InputError`` for what cannot be labels."""
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dim() != 1:
        raise InputError(f"{name} is {list(labels.shape)}", "labels are one class index per sample: [N]")
    if labels.is_floating_point() and not bool((labels == labels.round()).all()):
        raise InputError(f"{name} holds fractions", "labels are class indices: 0, 1, 2, ...")
    if bool((labels < 0).any()):
        raise InputError(
            f"{name} holds {int(labels.min())} at sample {int(labels.argmin())}", "classes count from 0"
        )
    return labels.long()


def inputs_in(arrays: Mapping[str, Tensor], specs: Sequence[InputSpec], origin: str) -> list[Tensor]:
    """One array per input of the network, as it was stored. Raises ``InputError`` where one is missing, empty
    or longer than the others.
    """
    found = [arrays[_key(arrays, spec, len(specs), origin)] for spec in specs]
    for spec, array in zip(specs, found, strict=True):
        if array.dim() == 0 or not len(array):
            raise InputError(
                f"{origin} has no samples: '{spec.name or 'x'}' is {list(array.shape)}",
                "look at what was saved",
            )
    lengths = {len(array) for array in found}
    labels = labels_in(arrays)
    if labels is not None:
        lengths.add(len(labels))
    if len(lengths) > 1:
        raise InputError(
            f"{origin} has arrays of {' and '.join(map(str, sorted(lengths)))} samples",
            "inputs and labels have the same first dimension",
        )
    return found


def _key(arrays: Mapping[str, Tensor], spec: InputSpec, number: int, origin: str) -> str:
    wanted = ((spec.name,) if spec.name else ()) + (INPUT_NAMES if number == 1 else ())
    if not wanted:
        raise InputError("the network has several inputs without names", "name them: --input name:shape")
    for name in wanted:
        if name in arrays:
            return name
    held = ", ".join(sorted(arrays)) or "nothing"
    raise InputError(f"{origin} has no array '{wanted[0]}', it has {held}", f"name one {' or '.join(wanted)}")


def fitting(array: Tensor, spec: InputSpec, name: str) -> Tensor:
    """``array`` as the network takes it. Raises ``InputError`` for another shape or kind, NaN and Inf."""
    dtype: torch.dtype = getattr(torch, spec.dtype)
    wanted = spec.shape[1:]
    given = tuple(array.shape[1:])
    if given != wanted and (1, *given) == wanted:
        array, given = array.unsqueeze(1), wanted
    if given != wanted and not _other_length(given, wanted, dtype):
        raise InputError(
            f"{name} is {_sizes('N', given)}, the network takes {_sizes('N', wanted)}",
            "save the arrays in the network's shape, or say --input",
        )
    if array.is_floating_point() and not dtype.is_floating_point:
        raise InputError(
            f"{name} holds {array.dtype}, the network takes {spec.dtype}".replace("torch.", ""),
            "save integers",
        )
    if array.is_floating_point():
        finite = array.flatten(1).isfinite().all(1) if array.dim() > 1 else array.isfinite()
        if not bool(finite.all()):
            first = int(finite.logical_not().nonzero()[0])
            raise InputError(f"{name} holds NaN or Inf at sample {first}", "leave such samples out")
    return array.to(dtype)


def _other_length(given: tuple[int, ...], wanted: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Texts may be longer or shorter than the example."""
    return not dtype.is_floating_point and len(given) == len(wanted) == 1 and given[0] > 0


def _sizes(first: str, sizes: Sequence[int]) -> str:
    return f"[{', '.join((first, *map(str, sizes)))}]"


def planted(specs: Sequence[InputSpec], tensors: Sequence[Tensor], origin: str) -> Inputs:
    """The arrays where the network takes them. Raises as :func:`fitting`."""
    return assemble(
        specs, [fitting(t, s, s.name or f"input of {origin}") for t, s in zip(tensors, specs, strict=True)]
    )


def is_pictures(array: Tensor, specs: Sequence[InputSpec]) -> bool:
    """Whether ``array`` has the bytes of images that a network takes as floating numbers."""
    image = len(specs) == 1 and len(specs[0].shape) == 4 and specs[0].dtype not in ("uint8", "int64")
    return image and array.dtype == torch.uint8 and array.dim() in (3, 4)


def pictures_in(array: Tensor, labels: Tensor | None, name: str) -> list[Picture]:
    """``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` as pictures. Raises ``InputError``."""
    if array.dim() == 4 and array.shape[3] not in _CHANNELS and array.shape[1] in _CHANNELS:
        array = array.permute(0, 2, 3, 1)
    if array.dim() == 4 and array.shape[3] not in _CHANNELS:
        raise InputError(
            f"{name} is {_sizes('N', array.shape[1:])}: no images of 1 or 3 channels", "[N, H, W, C]"
        )
    if array.dim() == 4 and array.shape[3] == 1:
        array = array[..., 0]
    known = [None] * len(array) if labels is None else labels.tolist()
    pixels = array.contiguous()
    return [
        Picture(f"{name} {index}", partial(_picture, pixels[index], label))
        for index, label in enumerate(known)
    ]


def _picture(pixels: Tensor, label: int | None) -> tuple[Image.Image, int | None]:
    return Image.fromarray(pixels.numpy()), label
