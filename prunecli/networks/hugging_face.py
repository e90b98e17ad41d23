"""Hugging Face directories: the network that ``config.json`` names, from transformers alone.

Code that lies in a directory, or that a configuration points to, is never run; nothing is fetched.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from prunecli.checkpoint.locating import CONFIG
from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import InputError, UsageError, first_line
from prunecli.networks.family import Arguments, Family, nothing

Config: TypeAlias = dict[str, Any]

MAX_CONFIG_BYTES = 16 << 20
_TOKENS, _TARGETS = 128, 16
_SECOND = 16_000
"""Samples of a second of sound."""

DIGEST_ARGUMENT = "config_sha256"
_LABELS = ("id2label", "label2id", "_name_or_path", "transformers_version", "task_specific_params")
# Keys with which a configuration would have weights or code fetched, or a kernel chosen for another machine.
_PRETRAINED = "use_pretrained_backbone"
_MACHINE = ("auto_map", "attn_implementation", "_attn_implementation", "_attn_implementation_internal")


def read_config(directory: Path) -> Config:
    """The JSON of ``config.json``. Raises ``InputError``."""
    path = directory / CONFIG
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise InputError(f"'{path}' is too large for a configuration", "get the directory again")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}", "name a Hugging Face directory") from None
    except (ValueError, RecursionError):
        raise InputError(f"'{path}' is not JSON", "get the directory again") from None
    if not isinstance(data, dict):
        raise InputError(f"'{path}' holds no configuration", "get the directory again")
    if data.get("quantization_config") is not None:
        raise InputError(
            f"'{path}' is that of a quantised network", "prune the weights as they were before quantisation"
        )
    return data


def model_class(config: Mapping[str, Any]) -> Any:
    """The class of transformers that the configuration names. Raises ``InputError`` for any other."""
    transformers = _transformers()
    known: Any = importlib.import_module("transformers.models.auto.configuration_auto")
    kind, named = config.get("model_type"), config.get("architectures")
    if not isinstance(kind, str) or kind not in known.CONFIG_MAPPING_NAMES:
        raise InputError(
            f"model_type {kind!r:.60} of {CONFIG} is not known to transformers {transformers.__version__}",
            "a network with code of its own: describe it in Python and give --arch FILE.py:factory",
        )
    name = named[0] if isinstance(named, list) and named else None
    if not isinstance(name, str):
        raise InputError(
            f"{CONFIG} names no class", 'add "architectures": ["..."] with the class of the model'
        )
    module = known.model_type_to_module_name(kind)
    found = getattr(transformers, name, None) or _inside(
        f"transformers.models.{module}.modeling_{module}", name
    )
    own = isinstance(found, type) and found.__module__.startswith("transformers.models.")
    if not own or not issubclass(found, transformers.PreTrainedModel):
        raise InputError(
            f"{CONFIG} names the class {name!r:.60}, which transformers {transformers.__version__} lacks",
            "update transformers, or describe the network in Python and give --arch FILE.py:factory",
        )
    return found


def _inside(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def build_from(config: Mapping[str, Any]) -> nn.Module:
    """The network of a configuration, without the weights. Raises ``InputError`` for one that its own checks
    refuse, and what the constructor raises.
    """
    kind = model_class(config)
    invalid = importlib.import_module("huggingface_hub.errors").StrictDataclassError
    with quiet():
        try:
            settings = kind.config_class.from_dict(_harmless(config))
        except invalid as error:
            raise InputError(f"{CONFIG} is refused by transformers: {' '.join(str(error).split())}") from None
        module: nn.Module = kind(settings)
    return without_cache(module)


def without_cache(module: nn.Module) -> nn.Module:
    """Keys and values of past tokens are no output to compare; generation asks for them by itself."""
    settings: Any = module.config
    for part in (settings, settings.get_text_config(), settings.get_text_config(decoder=True)):
        if hasattr(part, "use_cache"):
            part.use_cache = False
    return module


def _harmless(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: _harmless(item) for key, item in value.items() if key not in _MACHINE}
        return kept | ({_PRETRAINED: False} if kept.get(_PRETRAINED) else {})
    return [_harmless(item) for item in value] if isinstance(value, list) else value


@contextmanager
def quiet() -> Iterator[None]:
    """No download, no progress bars, no advice on stderr."""
    bars = _transformers().utils.logging
    hub: Any = importlib.import_module("huggingface_hub.constants")
    disabled, shown, offline = (
        logging.root.manager.disable,
        bars.is_progress_bar_enabled(),
        hub.HF_HUB_OFFLINE,
    )
    logging.disable(logging.WARNING)
    bars.disable_progress_bar()
    hub.HF_HUB_OFFLINE = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub.HF_HUB_OFFLINE = offline
        logging.disable(disabled)
        if shown:
            bars.enable_progress_bar()


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise UsageError("transformers is not installed", 'type: pip install "prunecli[hf]"') from None


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of what a network is built from; names of classes and the like may change."""
    told = {key: value for key, value in config.items() if key not in _LABELS}
    return sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _make(name: str, arguments: Arguments) -> nn.Module:
    """``arguments`` come from recipes only: the digest of the configuration that was written."""
    odd = sorted(arguments.keys() - {DIGEST_ARGUMENT})
    if odd:
        raise UsageError(f"hf: takes no --arch-arg '{odd[0]}'", f"edit {CONFIG} in '{name}'")
    config = read_config(Path(name))
    if arguments.get(DIGEST_ARGUMENT, config_digest(config)) != config_digest(config):
        raise InputError(
            f"{CONFIG} in '{name}' is not the one that was written with these weights", "get it again"
        )
    return build_from(config)


def _inputs(name: str, arguments: Arguments, module: nn.Module) -> tuple[InputSpec, ...]:
    """What the class calls its main input, in the size that the configuration gives."""
    settings: Any = module.config
    main = getattr(module, "main_input_name", "input_ids")
    inputs = {
        "input_ids": lambda: _tokens("input_ids", settings.get_text_config(), _TOKENS),
        "pixel_values": lambda: InputSpec(main, "float32", _image_shape(settings)),
        "input_features": lambda: InputSpec(main, "float32", _sound_shape(settings)),
        "input_values": lambda: InputSpec(main, "float32", (1, _SECOND)),
    }
    if main not in inputs:
        return ()
    found = [inputs[main]()]
    if "decoder_input_ids" in signature(module.forward).parameters:
        found.append(_tokens("decoder_input_ids", settings.get_text_config(decoder=True), _TARGETS))
    return tuple(found)


def _tokens(name: str, settings: Any, length: int) -> InputSpec:
    longest = getattr(settings, "max_position_embeddings", None) or length
    return InputSpec(name, "int64", (1, min(length, int(longest))), (0, int(settings.vocab_size) - 1))


def _image_shape(settings: Any) -> tuple[int, ...]:
    vision = getattr(settings, "vision_config", settings)
    size = getattr(vision, "image_size", None) or 224
    if isinstance(size, Mapping):
        size = [size.get("height", 224), size.get("width", 224)]
    height, width = (size, size) if isinstance(size, int) else (int(side) for side in list(size)[-2:])
    frames = getattr(vision, "num_frames", None)
    channels = getattr(vision, "num_channels", 3)
    return (1, *((frames,) if isinstance(frames, int) else ()), channels, height, width)


def _sound_shape(settings: Any) -> tuple[int, ...]:
    """Two frames of the spectrogram for each position, as Whisper has them."""
    return 1, getattr(settings, "num_mel_bins", 80), 2 * getattr(settings, "max_source_positions", 1500)


def translate(name: str, tensors: Mapping[str, Tensor], module: nn.Module) -> Mapping[str, Tensor]:
    """``tensors`` under the names of the class, as transformers itself renames those of older files.

    Raises ``InputError`` if some parameter is not among them.
    """
    kind: Any = type(module)
    with quiet():
        try:
            filled, told = kind.from_pretrained(
                None, config=module.config, state_dict=dict(tensors), output_loading_info=True
            )
        except (RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"the weights do not fit {kind.__name__}: {first_line(error)}") from None
    lost = sorted(told["missing_keys"]) or sorted(key for key, *_ in told["mismatched_keys"])
    if lost:
        raise InputError(f"the weights are not those of a {kind.__name__}: '{lost[0]}' is missing or differs")
    result: dict[str, Tensor] = filled.state_dict()
    return result


def auto_class(module: nn.Module) -> str:
    """The ``AutoModel...`` that loads such a module, or the class itself where none does."""
    from transformers.models.auto import modeling_auto

    kind: Any = type(module)
    for name in sorted(vars(modeling_auto), key=lambda name: (name == "AutoModel", name)):
        mapping = getattr(getattr(modeling_auto, name), "_model_mapping", None)
        if mapping is not None and kind.config_class in mapping.keys():  # noqa: SIM118 (not a dict)
            listed = mapping[kind.config_class]
            if kind in (listed if isinstance(listed, tuple) else (listed,)):
                return name
    return str(kind.__name__)


def load_plainly(directory: Path) -> nn.Module:
    """What a user without this package gets: ``AutoModel....from_pretrained(directory)``."""
    kind = model_class(read_config(directory))
    with quiet():
        module: nn.Module = kind.from_pretrained(directory, local_files_only=True, use_safetensors=True)
    return without_cache(module.eval())


HUGGING_FACE = Family(
    prefix="hf",
    names=None,
    make=_make,
    inputs=_inputs,
    infer=nothing,
    classes_argument="num_labels",
    channels_argument=None,
    default_classes=lambda module: None,
    translate=translate,
    recorded=lambda name, module: type(module).__name__,
)
