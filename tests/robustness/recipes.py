"""Recipes that ask for more than a recipe may: named, each a small change to that of a genuine file.

    python -m tests.robustness.recipes [--commands]

runs each through ``load`` and through the commands, and prints what became of it. What is watched: the exit
code, the lines on stderr, audit events (processes, network, files outside the corpus), time and memory.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from .watching import Outcome, ran

Data = dict[str, Any]
SECONDS = 5.0
MEGABYTES = 1000.0
NAME = "case.safetensors"


@dataclass(frozen=True)
class Case:
    """``text``: the recipe as it stands in the file. ``harmless``: it may be accepted, if what is loaded is
    the network of the file's tensors.
    """

    name: str
    text: str
    harmless: bool = False


@dataclass(frozen=True)
class Genuine:
    """A pruned network as this tool writes it."""

    tensors: dict[str, torch.Tensor]
    recipe: Data


def genuine(dense: Path) -> Genuine:
    """Cut from a seeded cifar:resnet20, which is written to ``dense``."""
    import prunecli
    from prunecli.networks.building import real_maker

    torch.manual_seed(0)
    save_file(real_maker("cifar:resnet20", {})().state_dict(), dense)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = prunecli.prune(dense, speedup=2, repair="none")
    tensors = {name: tensor.detach().contiguous() for name, tensor in result.model.state_dict().items()}
    return Genuine(tensors, json.loads(json.dumps(result._recipe.to_json())))


def put(path: Path, tensors: Mapping[str, torch.Tensor], text: str, digest: str | None = None) -> Path:
    """A file whose recipe is ``text``, with the digest that goes with it."""
    encoded = text.encode("utf-8", "surrogatepass")
    try:
        encoded.decode("utf-8")
    except UnicodeDecodeError:
        text = encoded.decode("utf-8", "replace")
    digest = sha256(text.encode()).hexdigest() if digest is None else digest
    metadata = {"format": "pt", "prunecli.recipe": text, "prunecli.recipe.sha256": digest}
    save_file(dict(tensors), path, metadata)
    return path


def corpus(base: Data) -> Iterator[Case]:
    """Everything made by hand."""
    for name, change in (
        *_architectures(), *_arguments(), *_inputs(base), *_shapes(base), *_patches(), *_plans(base),
        *_digests(base), *_rest(),
    ):  # fmt: skip
        data = copy.deepcopy(base)
        change(data)
        yield Case(name, json.dumps(data))
    yield from _texts(base)
    yield from _acceptable(base)


Change = Callable[[Data], None]


def _set(*path: Any, value: Any) -> Change:
    def change(data: Data) -> None:
        place: Any = data
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


def _architectures() -> Iterator[tuple[str, Change]]:
    names = [
        "subprocess:run", "os:system", "builtins:exec", "builtins:eval", "evil.py:factory",
        "./evil.py:factory", "/tmp/evil.py:factory", "evil:factory", "evilpkg.mod:x", "module", "module:x",
        "torch.hub:load", "importlib:import_module", "pickle:loads", "", ":", "cifar", "cifar:", ":resnet20",
        "cifar:REGISTRY", "cifar:__class__", "cifar:__init__", "cifar:_resnet", "cifar:resnet20.__globals__",
        "cifar:resnet20/../x", "CIFAR:resnet20", "cifar:resnet20 ", " cifar:resnet20", "cifar:resnet20\n",
        "cifar:resnet20\x00", "timm:hf_hub:org/model", "timm:hf-hub:org/model", "timm:hf_hub:../x",
        "timm:local-dir:/tmp", "timm:resnet18.a1_in1k", "timm:create_model", "timm:https://host.invalid/x.pth",
        "torchvision:get_weight", "torchvision:list_models", "torchvision:get_model",
        "torchvision:models.resnet18", "torchvision:quantized_resnet18", "torchvision:raft_large",
        "torchvision:__import__", "ultralytics:../../../evil.yaml", "ultralytics:/tmp/evil.yaml",
        "ultralytics:evil.yaml", "hf:/etc", "hf:../..", "hf:.", "hf:", "hf:org/model",
        "hf:https://host.invalid/x", "hf:BertModel", "cifar:" + "x" * 4000, "cifar:resnet20:resnet20",
        "FILE.py:factory", "torchvision:\u202eresnet18", "cifar:\ud800",
    ]  # fmt: skip
    for name in names:
        yield f"arch {name!r:.50}", _set("arch", value=name)
    for name in ("torchvision:resnet50", "timm:vit_giant_patch14_224", "cifar:resnet1202", "cifar:vgg16_bn"):
        yield f"another network: {name}", _set("arch", value=name)


def _arguments() -> Iterator[tuple[str, Change]]:
    given: list[dict[str, Any]] = [
        {"pretrained": True}, {"weights": "DEFAULT"}, {"weights_backbone": "DEFAULT"},
        {"checkpoint_path": "/etc/passwd"}, {"pretrained_cfg": "x"}, {"pretrained_cfg_overlay": "x"},
        {"cache_dir": "/tmp/evil"}, {"progress": True}, {"hf_hub_id": "org/model"},
        {"weights": "https://host.invalid/x.pth"}, {"pretrained_strict": False}, {"no_such": 1},
        {"num_classes": -1}, {"num_classes": 0}, {"num_classes": 1.5}, {"num_classes": "10"},
        {"num_classes": None}, {"num_classes": True},
        {"num_classes": 10**9}, {"num_classes": 2**48}, {"num_classes": 2**64}, {"num_classes": [10]},
        {"num_classes": {"a": 1}}, {"num_classes": 10, "in_channels": 2**30}, {"__class__": 1}, {"": 1},
        {"a b": 1}, {"self": 1}, {"block": "os"}, {"x" * 5000: 1}, {f"a{i}": 1 for i in range(300)},
        {"num_classes": 1e6}, {"device": "cuda"},
        {"num_classes\x1b[2J": 1},
    ]  # fmt: skip
    for arguments in given:
        yield f"arguments {arguments!r:.60}", _set("arguments", value=arguments)
    huge: list[tuple[str, dict[str, Any]]] = [
        ("torchvision:mobilenet_v2", {"width_mult": 1e6}),
        ("torchvision:vit_b_16", {"image_size": 999_984}),
        ("torchvision:resnet50", {"groups": 10**6}),
        ("torchvision:resnet50", {"width_per_group": 10**6}),
        ("torchvision:densenet121", {"num_init_features": 10**6, "bn_size": 10**6}),
        ("torchvision:fasterrcnn_resnet50_fpn", {"num_classes": 10**6, "min_size": 10**6}),
        ("torchvision:swin3d_b", {"num_classes": 10**6}),
        ("torchvision:regnet_y_128gf", {}),
        ("timm:vit_tiny_patch16_224", {"depth": 10**6}),
        ("timm:vit_tiny_patch16_224", {"img_size": 160_000}),
        ("timm:vit_tiny_patch16_224", {"embed_dim": 10**6, "num_heads": 1}),
        ("timm:vit_tiny_patch16_224", {"pretrained_cfg": "x"}),
        ("timm:swin_tiny_patch4_window7_224", {"window_size": 4000, "img_size": 16000}),
        ("timm:vitamin_xlarge_256", {"img_size": 4096}),
        ("timm:vitamin_xlarge_256", {"depth": 10**5}),
        ("timm:mixer_b16_224", {"img_size": 100_000}),
        ("timm:resnet50", {"stem_width": 10**6}),
        ("timm:resnet50", {"checkpoint_path": "/etc/passwd"}),
        ("timm:resnet50", {"features_only": True}),
        ("timm:resnet50", {"scriptable": True, "act_layer": "os.system"}),
        ("ultralytics:yolov8n", {"nc": 10**6}),
        ("ultralytics:yolov8n", {"cfg": "/etc/passwd"}),
        ("ultralytics:yolov8x", {"nc": 30_000, "ch": 1024}),
        ("ultralytics:yolo11-cls-resnet18", {}),
    ]  # fmt: skip
    for arch, arguments in huge:

        def change(data: Data, arch: str = arch, arguments: dict[str, Any] = arguments) -> None:
            data["arch"], data["arguments"] = arch, arguments
            data["shapes"], data["patches"] = {}, []

        yield f"{arch} with {arguments!r:.60}", change


def _inputs(base: Data) -> Iterator[tuple[str, Change]]:
    one = base["inputs"][0]

    def spec(**changes: Any) -> Data:
        return {**one, **changes}

    lists: dict[str, Any] = {
        "2^40 elements": [spec(shape=[2**20, 2**20])],
        "2^48 elements": [spec(shape=[2**24, 2**24])],
        "2^29 elements": [spec(shape=[2**29])],
        "many large ones": [spec(name=f"x{i}", shape=[2**24]) for i in range(60)],
        "10,000 inputs": [spec(name=f"x{i}", shape=[1]) for i in range(10_000)],
        "negative": [spec(shape=[-1, 3, 32, 32])],
        "a dimension of 2^62": [spec(shape=[2**62])],
        "nine dimensions": [spec(shape=[1] * 9)],
        "a dimension of 10^4000": [spec(shape=[10**4000])],
        "floats": [spec(shape=[1.0, 3.0])],
        "bools": [spec(shape=[True, True])],
        "a text": "1,3,32,32",
        "a dtype of torch": [spec(dtype="torch.float32")],
        "a dtype with a dunder": [spec(dtype="__class__")],
        "a complex dtype": [spec(dtype="complex64")],
        "a dtype of 10,000 letters": [spec(dtype="f" * 4000)],
        "a name of 2,000 levels": [spec(name=".".join("a" * 2000))],
        "a name of dots": [spec(name="...")],
        "a dunder": [spec(name="__class__")],
        "a name twice": [spec(name="x"), spec(name="x")],
        "a name inside another": [spec(name="x"), spec(name="x.y")],
        "an empty name": [spec(name="")],
        "a name with a newline": [spec(name="x\ny")],
        "bounds the wrong way round": [spec(dtype="int64", bounds=[5, 1])],
        "bounds beyond 64 bits": [spec(dtype="int64", bounds=[0, 2**70])],
        "bounds of floats": [spec(dtype="int64", bounds=[0.0, 1.0])],
        "three bounds": [spec(dtype="int64", bounds=[0, 1, 2])],
        "a field more": [spec(device="cuda")],
        "null": None,
    }
    for name, value in lists.items():
        yield f"inputs: {name}", _set("inputs", value=value)


def _shapes(base: Data) -> Iterator[tuple[str, Change]]:
    some = next(name for name, shape in base["shapes"].items() if len(shape) == 4)
    larger = [size + 1 for size in base["shapes"][some]]
    sizes: dict[str, Any] = {
        "larger than the network's": larger, "2^48": [2**48], "2^60": [2**30, 2**30], "of nine": [1] * 9,
        "negative": [-1, 3, 3, 3], "too few dimensions": [16], "zero": [0, 0, 0, 0], "floats": [1.0] * 4,
        "a text": "16", "nested": [[16, 3, 3, 3]], "null": None, "of 200,001": [1] * 200_001,
    }  # fmt: skip
    for name, size in sizes.items():
        yield f"a shape {name}", _set("shapes", some, value=size)
    names = ("no.such", "__class__", "conv1", "conv1._parameters.weight", "conv1.weight.data", "", ".", "..",
             "conv1.weight\x1b[31m", "x" * 5000)  # fmt: skip
    for name in names:
        yield f"a shape for {name!r:.40}", _set("shapes", name, value=[1])
    many = {f"a{index}": [1] for index in range(200_001)}
    yield "shapes of 200,001 tensors", _set("shapes", value=many)


def _patches() -> Iterator[tuple[str, Change]]:
    def patch(module: Any, attribute: Any, value: Any, index: Any = None, **more: Any) -> Data:
        return {"module": module, "attribute": attribute, "index": index, "value": value, **more}

    patches = [
        patch("", "__class__", 1), patch("", "__dict__", 1), patch("", "_modules", 1),
        patch("", "forward", 1),
        patch("", "training", 1), patch("", "training", 0), patch("conv1", "_parameters", 1),
        patch("conv1", "__dict__", 1, 0), patch("conv1", "weight", 1), patch("conv1", "kernel_size", 1, 0),
        patch("conv1", "stride", 1, 0), patch("conv1", "padding", 1, 0), patch("conv1", "dilation", 1, 0),
        patch("conv1", "padding", 10**6, 0), patch("conv1", "stride", 0, 0), patch("conv1", "groups", 2),
        patch("conv1", "groups", 10**9), patch("conv1", "out_channels", 10**12),
        patch("conv1", "out_channels", 0), patch("conv1", "out_channels", -3),
        patch("conv1", "out_channels", 2**60), patch("conv1", "padding_mode", 1),
        patch("conv1", "no_such", 1), patch("no.such", "width", 1), patch("", "num_classes", 10**6),
        patch("avgpool", "output_size", 10**6), patch("avgpool", "output_size", 2),
        patch("flatten", "start_dim", 1), patch("flatten", "end_dim", 1), patch("fc", "in_features", 10**9),
        patch("fc", "out_features", True), patch("fc", "out_features", 1.0), patch("fc", "out_features", "1"),
        patch("fc", "out_features", None), patch("fc", "out_features", [1]),
        patch("fc", "out_features", 1, 0),
        patch("fc", "out_features", 1, -1), patch("conv1", "kernel_size", 1, 2),
        patch("conv1", "kernel_size", 1), patch("bn1", "eps", 1), patch("bn1", "momentum", 1),
        patch("bn1", "track_running_stats", 1), patch("layer1.0._modules", "x", 1),
        patch("layer1.__class__", "x", 1), patch("layer1..0", "x", 1), patch(".", "x", 1),
        patch("", "a.b", 1), patch("", "", 1), patch("", "a\nb", 1), patch("\x1b]8;;", "x", 1),
        patch(1, "x", 1),
        patch("", 1, 1), patch("", "x", 1, deep={}), {}, None, "x", [],
    ]  # fmt: skip
    for each in patches:
        yield f"a patch {json.dumps(each)[1:62]}", lambda data, each=each: data["patches"].append(each)
    yield "200,001 patches", _set("patches", value=[patch("fc", "out_features", 10)] * 200_001)


def _plans(base: Data) -> Iterator[tuple[str, Change]]:
    group, entry = next(iter(base["plan"]["groups"].items()))
    wrong: dict[str, Any] = {
        "out of range": {"dense": 4, "kept": [4]}, "negative": {"dense": 4, "kept": [-1]},
        "unsorted": {"dense": 4, "kept": [1, 0]}, "duplicates": {"dense": 4, "kept": [1, 1]},
        "nothing kept": {"dense": 4, "kept": []}, "floats": {"dense": 4, "kept": [1.0]},
        "bools": {"dense": 4, "kept": [True]}, "a dense size of 2^70": {"dense": 2**70, "kept": [1]},
        "a negative size": {"dense": -4, "kept": [0]}, "a size as text": {"dense": "4", "kept": [0]},
        "10^6 numbers": {"dense": 10, "kept": list(range(10**6))}, "no size": {"kept": [0]},
        "a field more": {**entry, "more": 1}, "null": None, "nested": {"dense": 4, "kept": [[0]]},
    }  # fmt: skip
    for name, value in wrong.items():
        yield f"a plan: {name}", _set("plan", "groups", group, value=value)
    yield "a plan with a field more", _set("plan", "more", value=1)
    yield "a plan without groups", _set("plan", value={})
    yield "a plan as list", _set("plan", value=[])
    yield (
        "a plan of 200,001 groups",
        _set("plan", "groups", value={f"g{i}": {"dense": 2, "kept": [0]} for i in range(200_001)}),
    )


def _digests(base: Data) -> Iterator[tuple[str, Change]]:
    name = next(iter(base["digests"]))
    other = "0" * 64
    for value in (
        other,
        "",
        "x" * 64,
        base["digests"][name].upper(),
        None,
        5,
        [other],
        "0" * 63,
        "0" * 10**6,
    ):
        yield f"a digest {value!r:.30}", _set("digests", name, value=value)
    yield "a tensor without digest", lambda data: data["digests"].pop(name)
    yield "a digest without tensor", _set("digests", "no.such", value=other)
    yield "no digests", _set("digests", value={})
    yield "digests as list", _set("digests", value=[])
    yield "a digest of the cut that is none", _set("cut_digests", name, value="../x")
    yield "a digest of the source that is none", _set("source_digest", value="<script>")
    yield "a digest of the source of 5,000 letters", _set("source_digest", value="0" * 5000)


def _rest() -> Iterator[tuple[str, Change]]:
    for value in ("prunecli.recipe/2", "", 1, None, [], {"x": 1}, "x" * 10**6, ["x" * 10**6]):
        yield f"version {value!r:.30}", _set("version", value=value)
    for value in ("repair", {"a": 1}, [1], [["x"]], ["x"] * 10_000, ["x" * 5000], None):
        yield f"changed_by {value!r:.30}", _set("changed_by", value=value)
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    options: list[Any] = [
        {"deep": deep}, {"speedup": {"a": 1}}, [], None, "x", {"x" * 5000: 1}, {"x": "y" * 5000},
        {"x": 2**60}, {"x": [2**60]}, {f"a{i}": 1 for i in range(200_001)}, {"x": [1] * 200_001},
    ]  # fmt: skip
    for value in options:
        yield f"options {value!r:.30}", _set("options", value=value)
    yield "a field more", _set("code", value="print(1)")
    yield "a dunder field", _set("__class__", value="x")
    for name in ("arch", "plan", "digests", "version", "options"):
        yield f"no {name}", lambda data, name=name: data.pop(name)


def _texts(base: Data) -> Iterator[Case]:
    """What is no JSON, or JSON that says less than it seems to."""
    text = json.dumps(base)
    options = json.dumps(base["options"])
    for name, value in (
        ("NaN", "NaN"), ("Infinity", "Infinity"), ("-Infinity", "-Infinity"), ("1e999", "1e999"),
        ("a number of 10^6 digits", "1" * 10**6), ("a number with an exponent of 10^6", "1e1000000"),
    ):  # fmt: skip
        yield Case(f"an option {name}", text.replace(options, '{"x":' + value + "}"))
    yield Case("200,000 levels of lists", "[" * 200_000 + "]" * 200_000)
    yield Case("200,000 levels of objects", '{"a":' * 200_000 + "1" + "}" * 200_000)
    for levels in (500, 990, 5_000, 50_000):
        nested = "[" * levels + "]" * levels
        yield Case(f"a version of {levels} levels", text.replace(json.dumps(base["version"]), nested))
        yield Case(f"options of {levels} levels", text.replace(options, '{"x":' + nested + "}"))
    for name, value in (
        ("empty", ""), ("null", "null"), ("a number", "1"), ("a text", '"x"'), ("a list", "[]"),
        ("an object", "{}"), ("cut off", text[: len(text) // 2]), ("more behind it", text + "{}"),
        ("Python", str(base)), ("a BOM before it", "\ufeff" + text),
    ):  # fmt: skip
        yield Case(f"text: {name}", value)
    doubled = text.replace('"arch": ', '"arch": "cifar:resnet20", "arch": "os:system", "x": ', 1)
    yield Case("an arch given twice", doubled)


def _acceptable(base: Data) -> Iterator[Case]:
    """Odd, and nobody's harm: taken or refused, but never more than the network of these tensors."""
    text = json.dumps(base)
    first = text.replace('"arch": ', '"arch": "os:system", "arch": ', 1)
    yield Case("an arch given twice, the first hostile", first, harmless=True)
    changes: list[tuple[str, Change]] = [
        ("a lone surrogate in an option", _set("options", "x", value="\ud800")),
        ("ANSI and HTML in an option", _set("options", "x", value="\x1b[31m<script>")),
        ("ANSI in changed_by", _set("changed_by", value=["\x1b]8;;http://host.invalid\x1b\\repair"])),
        ("an input of another dtype", _set("inputs", 0, "dtype", value="int64")),
        ("an input of one dimension", _set("inputs", 0, "shape", value=[7])),
        ("an input of no element", _set("inputs", 0, "shape", value=[0, 3, 32, 32])),
        ("an input of another name", _set("inputs", 0, "name", value="no_such_argument")),
        ("no inputs", _set("inputs", value=[])),
        ("a group that is not there", _set("plan", "groups", "\x1b[31mno", value={"dense": 2, "kept": [0]})),
        ("a plan of other units", lambda data: _other_units(data)),
        ("10^6 classes, cut to 10", _set("arguments", "num_classes", value=10**6)),
        ("10^6 channels, cut to 3", _set("arguments", "in_channels", value=10**6)),
        ("no plan", _set("plan", "groups", value={})),
        ("no patches", _set("patches", value=[])),
        ("no shapes", _set("shapes", value={})),
    ]
    for name, change in changes:
        data = copy.deepcopy(base)
        change(data)
        yield Case(name, json.dumps(data), harmless=True)


def _other_units(data: Data) -> None:
    for entry in data["plan"]["groups"].values():
        count, size = len(entry["kept"]), entry["dense"]
        entry["kept"] = list(range(size - count, size))


_VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2**31, 2**63, 0.5, "", "x", "../x", "\x1b[31m", [], [0], {}, {"x": 0}, [[]],
)  # fmt: skip


def mutations(base: Data) -> Iterator[Case]:
    """Every kind of place in ``base``, with every value that is not of its type; deleted; doubled."""
    for path in _places(base):
        where = ".".join(map(str, path))
        for value in _VALUES:
            data = copy.deepcopy(base)
            _set(*path, value=value)(data)
            if data != base:
                yield Case(f"{where} = {value!r}", json.dumps(data), harmless=True)
        data = copy.deepcopy(base)
        holder: Any = data
        for step in path[:-1]:
            holder = holder[step]
        del holder[path[-1]]
        yield Case(f"{where} deleted", json.dumps(data), harmless=True)
        data = copy.deepcopy(base)
        place: Any = data
        for step in path:
            place = place[step]
        if isinstance(place, list) and place:
            place.append(place[-1])
            yield Case(f"{where} with its last twice", json.dumps(data), harmless=True)
        elif isinstance(place, dict):
            place["x"] = 1
            yield Case(f"{where} with a key more", json.dumps(data), harmless=True)


def _places(data: Any, most: int = 2) -> Iterator[tuple[Any, ...]]:
    """Paths to every leaf and container, of long lists and mappings only the first few."""
    fixed = isinstance(data, dict) and "version" in data
    items = list(data.items() if isinstance(data, dict) else enumerate(data))
    for key, value in items if fixed else items[:most]:
        yield (key,)
        if isinstance(value, dict | list) and value:
            yield from ((key, *rest) for rest in _places(value, most if key != "inputs" else 10))


@dataclass(frozen=True)
class Surface:
    """One way into the tool: ``call(path)`` returns an exit code, and prints as the command does."""

    name: str
    call: Callable[[Path], int]
    compares: bool = False
    """Takes a file whose network is refused for its names and shapes alone, and says so."""


def loading(path: Path) -> int:
    """``prunecli.load``, with the exit code and the line that a command would give. What it accepts has to be
    the network of the file's tensors.
    """
    import prunecli
    from prunecli.cli import output
    from prunecli.errors import PruneError

    try:
        module = prunecli.load(path)
    except PruneError as error:
        output.error(error.message, error.hint)
        return error.exit_code
    from safetensors.torch import load_file

    held, state = load_file(path), module.state_dict()
    same = held.keys() == state.keys() and all(torch.equal(held[key], state[key]) for key in held)
    known = ("torch.nn.", "prunecli.networks.cifar")
    strange = {type(part).__module__ for part in module.modules()}
    if not same or not all(name.startswith(known) for name in strange):
        raise AssertionError(f"loaded something else: {sorted(strange)}")
    return 0


def surfaces(dense: Path, pruned: Path) -> Iterator[Surface]:
    """``load`` and every command that reads such a file; ``dense`` and ``pruned`` are genuine."""
    from prunecli.cli import main

    def command(*words: object) -> Callable[[Path], int]:
        def call(path: Path) -> int:
            return main([str(path) if word is None else str(word) for word in words])

        return call

    noise = ("--data", "noise", "--samples", 2, "--batch-size", 2)
    yield Surface("load", loading)
    yield Surface("inspect", command("inspect", None))
    yield Surface("verify", command("verify", None))
    yield Surface("verify --against", command("verify", None, "--against", dense))
    yield Surface("run", command("run", None, "--speedup", 2, "-o", dense.with_name("out.safetensors")))
    yield Surface("diff", command("diff", pruned, None), compares=True)
    yield Surface("eval --against", command("eval", None, "--against", dense, *noise))


def reload_here() -> None:
    """The reload of ``verify`` in this process, where it can be watched, and without the seconds that
    another takes to start.
    """
    from prunecli import checking, inputs
    from prunecli.fresh import RELOAD
    from prunecli.proofs import evidence
    from prunecli.report.model import Proof

    def here(path: Path, specs: Any, expected: Any, arch: str | None = None, **_: Any) -> Proof:
        from prunecli.loading import load

        try:
            evidence(load(path, arch=arch), inputs.make(specs))
        except Exception as error:
            return Proof(RELOAD, False, detail=f"{type(error).__name__}: {error}"[:200])
        return Proof(RELOAD, True)

    checking.reload_proof = here


def problems(case: Case, way: Surface, outcome: Outcome) -> list[str]:
    """What is wrong with what became of a case."""
    found = list(outcome.events)
    if outcome.code == 0:
        if not case.harmless and not way.compares:
            found.append("accepted")
    elif not outcome.is_clean_refusal:
        lines = outcome.err.strip().split("\n")
        found.append(f"exit {outcome.code}: {lines[-1]:.200} ({len(lines)} lines)")
    if any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in outcome.out + outcome.err):
        found.append("control characters printed")
    if outcome.seconds > SECONDS:
        found.append(f"{outcome.seconds:.1f} s")
    if outcome.megabytes > MEGABYTES:
        found.append(f"{outcome.megabytes:.0f} MB")
    return found


def planted(folder: Path) -> Path:
    """Code that says so if it is ever run, where a recipe might find it."""
    mark = folder / "ran"
    code = f"open({str(mark)!r}, 'w')\ndef factory(*a, **k): pass\n"
    (folder / "evil.py").write_text(code)
    (folder / "evilpkg").mkdir(exist_ok=True)
    (folder / "evilpkg" / "__init__.py").write_text(code)
    (folder / "evilpkg" / "mod.py").write_text(code)
    return mark


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.recipes")
    parser.add_argument(
        "--mutations", type=int, default=0, help="every N-th mutation through the commands too"
    )
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    reload_here()
    # Should a bound be missing, this process is what ends, and not its neighbours.
    resource.setrlimit(resource.RLIMIT_AS, (10 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with tempfile.TemporaryDirectory() as name:
        return _report(Path(name).resolve(), given.mutations)


def _report(folder: Path, stride: int) -> int:
    mark = planted(folder)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    dense = folder / "dense.safetensors"
    base = genuine(dense)
    pruned = put(folder / "pruned.safetensors", base.tensors, json.dumps(base.recipe))
    ways = list(surfaces(dense, pruned))
    for way in ways:  # what is imported on first use, and the proof that a genuine file is taken
        first = ran(lambda way=way: way.call(pruned), folder)
        print(f"genuine file: {way.name}: exit {first.code}")
    for name in ("timm", "torchvision", "ultralytics.nn.tasks"):
        __import__(name)
    told: Counter[tuple[str, str, str]] = Counter()
    slowest: dict[str, tuple[float, str]] = {}
    growth: dict[str, float] = Counter()
    bad = 0
    sets = [("by hand", list(corpus(base.recipe)), 1), ("mutations", list(mutations(base.recipe)), stride)]
    for kind, cases, every in sets:
        for index, case in enumerate(cases):
            path = put(folder / NAME, base.tensors, case.text)
            for way in ways if every and index % every == 0 else ways[:1]:
                outcome = ran(lambda way=way, path=path: way.call(path), folder)
                found = problems(case, way, outcome)
                if mark.exists():
                    found.append("code ran")
                    mark.unlink()
                bad += bool(found)
                told[kind, way.name, f"exit {outcome.code}"] += 1
                slowest[way.name] = max(slowest.get(way.name, (0.0, "")), (outcome.seconds, case.name))
                growth[way.name] += max(outcome.megabytes, 0.0)
                for each in found:
                    print(f"PROBLEM {case.name} | {way.name} | {each}", flush=True)
        print(f"{kind}: {len(cases)} recipes")
    print(f"\n{'':10} {'':18} outcomes")
    for kind, way_name in dict.fromkeys((key[0], key[1]) for key in told):
        codes = {key[2]: count for key, count in told.items() if key[:2] == (kind, way_name)}
        print(f"{kind:10} {way_name:18} " + ", ".join(f"{code}: {n}" for code, n in sorted(codes.items())))
    for way_name, (seconds, case_name) in slowest.items():
        print(
            f"slowest    {way_name:18} {seconds:.2f} s ({case_name}); memory grew {growth[way_name]:.0f} MB"
        )
    print(f"problems: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
