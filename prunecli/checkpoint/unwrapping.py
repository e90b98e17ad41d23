"""From whatever ``torch.save`` was given to a plain state_dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from prunecli.errors import InputError

# In order of preference: the trained model before an average of it.
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module",
    "params", "weights", "ema_state_dict", "state_dict_ema", "model_ema", "params_ema", "ema",
)  # fmt: skip
AVERAGES = ("ema_state_dict", "state_dict_ema", "model_ema", "params_ema", "ema")
PREFIXES = ("module.", "_orig_mod.", "model.")
MAX_LEVELS = 4


@dataclass(frozen=True)
class Unwrapped:
    """``tensors`` by name in the network; ``notes`` say how they were found, ``dropped`` what lay around."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    dropped: tuple[str, ...]


def unwrap(saved: object) -> Unwrapped:
    """Find the state_dict inside ``saved``, strip wrapper prefixes. ``InputError`` if there is none."""
    notes: list[str] = []
    dropped: list[str] = []
    found = _descend(saved, notes, dropped)
    tensors = {name: value.detach() for name, value in found.items() if isinstance(value, Tensor)}
    dropped += [name for name, value in found.items() if not isinstance(value, Tensor)]
    tensors = _strip(tensors, notes, dropped)
    return Unwrapped(tensors, tuple(notes), tuple(dropped))


def _descend(saved: object, notes: list[str], dropped: list[str]) -> dict[str, object]:
    """Follow wrapper keys down to the mapping that holds the tensors."""
    path: list[str] = []
    level = _mapping(saved)
    for _ in range(MAX_LEVELS):
        key = _wrapper(level)
        if key is None:
            break
        path.append(key)
        dropped += [name for name in level if name != key]
        if key not in AVERAGES and any(_holds_tensors(level.get(name)) for name in AVERAGES):
            notes.append(f"the averaged weights beside '{key}' are not used")
        level = _mapping(level[key])
    if not any(isinstance(value, Tensor) for value in level.values()):
        several = [name for name, value in level.items() if _holds_tensors(value, 1)]
        if len(several) > 1:
            raise InputError(
                f"several sets of weights found ({', '.join(several[:6])})",
                "save the one to prune in a file of its own",
            )
        inside = ", ".join(f"'{name}'" for name in list(level)[:6]) or "nothing"
        raise InputError(
            f"no weights found; the file holds {inside}",
            "save the state_dict: torch.save(model.state_dict(), FILE)",
        )
    if path:
        notes.insert(0, f"under '{'.'.join(path)}'")
    return level


def _mapping(saved: object) -> dict[str, object]:
    if not isinstance(saved, Mapping):
        raise InputError(
            f"no state_dict found: the file holds a {type(saved).__name__}",
            "save the state_dict: torch.save(model.state_dict(), FILE)",
        )
    return {key: value for key, value in saved.items() if isinstance(key, str)}


def _holds_tensors(value: object, levels: int = MAX_LEVELS) -> bool:
    if not isinstance(value, Mapping) or not levels:
        return False
    inner = value.values()
    return any(isinstance(v, Tensor) for v in inner) or any(
        _holds_tensors(value.get(key), levels - 1) for key in WRAPPERS
    )


def _wrapper(level: Mapping[str, object]) -> str | None:
    """The key to follow: a known wrapper, else the only state_dict in a mapping without tensors."""
    for key in WRAPPERS:
        if _holds_tensors(level.get(key)):
            return key
    if any(isinstance(value, Tensor) and value.dim() for value in level.values()):
        return None
    flat = [key for key, value in level.items() if _is_state_dict(value)]
    return flat[0] if len(flat) == 1 else None


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    )


def _strip(tensors: dict[str, Tensor], notes: list[str], dropped: list[str]) -> dict[str, Tensor]:
    """Remove what wrappers (DataParallel, torch.compile, Lightning, averaging) put before every name."""
    if "n_averaged" in tensors and all(n.startswith("module.") for n in tensors if n != "n_averaged"):
        dropped.append("n_averaged")
        tensors = {name: tensor for name, tensor in tensors.items() if name != "n_averaged"}
    removed = ""
    while prefix := next((p for p in PREFIXES if tensors and all(n.startswith(p) for n in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        removed += prefix
    if removed:
        notes.append(f"prefix '{removed}' removed")
    inner = {name.replace("._orig_mod.", "."): tensor for name, tensor in tensors.items()}
    if len(inner) == len(tensors) and inner.keys() != tensors.keys():
        notes.append("'_orig_mod' removed from inside names")
        return inner
    return tensors
