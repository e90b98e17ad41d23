"""Checkpoints in every dtype, with values and sizes that no training leaves behind.

    python -m tests.robustness.dtypes

prunes each and prints what became of it: pruned with every tensor in the dtype that it had (the output is
loaded, compared name by name, and run), or refused with exit 3 by a line that names a tensor and says what is
wrong with it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prunecli.networks.resolving import resolve

from .names import printed

Tensors = dict[str, Tensor]

_TRANSFORMER = """
import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads, self.norm1, self.norm2 = 2, nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.fc1, self.fc2 = nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.blocks = nn.Embedding(32, 16), nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, ids):
        return self.head(self.norm(self.blocks(self.embed(ids))).mean(1))


def make():
    torch.manual_seed(0)
    return Transformer()


def example_inputs():
    return torch.arange(8)[None]
"""


@dataclass(frozen=True)
class Network:
    """``words``: what the command line needs for it. ``weight``, ``bias`` and ``norm`` name tensors."""

    name: str
    tensors: Tensors
    words: tuple[str, ...]
    weight: str
    bias: str
    norm: str

    @property
    def spec(self) -> str:
        return self.words[1] if self.words else "cifar:resnet8"

    def module(self, path: Path) -> nn.Module:
        """What is in an output."""
        import prunecli

        return prunecli.load(path, arch=self.words[1]) if self.words else prunecli.load(path)


def networks(folder: Path) -> tuple[Network, Network]:
    """A convolutional network that is identified, and a transformer of one's own."""
    from prunecli.networks.building import build, real_maker

    torch.manual_seed(0)
    convolutional = real_maker("cifar:resnet8", {})().state_dict()
    file = folder / "transformer.py"
    file.write_text(_TRANSFORMER)
    arch = f"{file}:make"
    transformer = build(arch, {})[0].state_dict()
    return (
        Network("cnn", dict(convolutional), (), "layer1.0.conv1.weight", "fc.bias", "bn1.running_mean"),
        Network(
            "transformer", dict(transformer), ("--arch", arch), "blocks.0.fc1.weight", "blocks.0.fc1.bias",
            "norm.weight",
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    name: str
    change: Callable[[Network], Tensors]
    words: tuple[str, ...] = ()


FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
EIGHTS = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
OTHERS = (torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool, torch.complex64)


def cases() -> Iterator[Case]:
    def said(dtype: torch.dtype) -> str:
        return str(dtype).removeprefix("torch.")

    for dtype in (*FLOATS, *EIGHTS, *OTHERS):
        yield Case(f"all in {said(dtype)}", lambda net, to=dtype: _cast(net, to))
    repaired = ("--repair", "lstsq", "--repair-seconds", "1")
    for dtype in FLOATS[2:]:
        yield Case(f"all in {said(dtype)}, repaired", lambda net, to=dtype: _cast(net, to), repaired)
    for dtype in (torch.float16, torch.bfloat16, *EIGHTS):
        yield Case(f"matrices in {said(dtype)}", lambda net, to=dtype: _cast(net, to, lambda t: t.dim() > 1))
    yield Case(
        "matrices in float16, repaired", lambda n: _cast(n, FLOATS[2], lambda t: t.dim() > 1), repaired
    )
    yield Case("vectors in float16", lambda net: _cast(net, torch.float16, lambda t: t.dim() <= 1))
    for dtype in (torch.float64, torch.bfloat16, *EIGHTS, *OTHERS):
        yield Case(f"a weight in {said(dtype)}", lambda net, to=dtype: _one(net, net.weight, to=to))
    for dtype in (torch.float64, torch.float8_e5m2, torch.int64, torch.bool):
        yield Case(f"a bias in {said(dtype)}", lambda net, to=dtype: _one(net, net.bias, to=to))
    for dtype in (torch.float16, torch.int64):
        yield Case(f"of a norm in {said(dtype)}", lambda net, to=dtype: _one(net, net.norm, to=to))
    for name, value in (("NaN", float("nan")), ("Inf", float("inf")), ("-Inf", -float("inf"))):
        for kind in ("weight", "bias", "norm"):
            yield Case(f"{name} in a {kind}", lambda n, v=value, k=kind: _filled(n, getattr(n, k), v))
    yield Case("NaN in float16", lambda net: _cast(net, torch.float16) | _nan(net, torch.float16))
    yield Case("NaN in float8_e4m3fn", lambda net: net.tensors | _nan(net, torch.float8_e4m3fn))
    yield Case("NaN in float8_e5m2fnuz", lambda net: net.tensors | _nan(net, torch.float8_e5m2fnuz))
    yield Case("Inf in float8_e5m2", lambda n: n.tensors | _nan(n, torch.float8_e5m2, float("inf")))
    yield Case("NaN in complex64", lambda net: net.tensors | _nan(net, torch.complex64))
    for kind in ("weight", "bias", "norm"):
        yield Case(f"a {kind} of no element", lambda net, k=kind: _emptied(net, getattr(net, k)))
    yield Case("a tensor of no element beside", lambda net: net.tensors | {"empty": torch.zeros(0, 3)})
    yield Case("all tensors empty", lambda n: {name: t.flatten()[:0] for name, t in n.tensors.items()})
    yield Case("counters in int32", lambda net: _counters(net, torch.int32))
    yield Case("counters in float32", lambda net: _counters(net, torch.float32))


def _cast(net: Network, to: torch.dtype, which: Callable[[Tensor], bool] = lambda t: True) -> Tensors:
    return {
        name: tensor.to(to) if tensor.is_floating_point() and which(tensor) else tensor
        for name, tensor in net.tensors.items()
    }


def _one(net: Network, name: str, to: torch.dtype) -> Tensors:
    return net.tensors | {name: net.tensors[name].to(to)}


def _filled(net: Network, name: str, value: float) -> Tensors:
    changed = net.tensors[name].clone()
    changed.view(-1)[-1] = value
    return net.tensors | {name: changed}


def _nan(net: Network, dtype: torch.dtype, value: float = float("nan")) -> Tensors:
    changed = net.tensors[net.weight].clone()
    changed.view(-1)[0] = value
    return {net.weight: changed.to(dtype)}


def _emptied(net: Network, name: str) -> Tensors:
    return net.tensors | {name: net.tensors[name][:0]}


def _counters(net: Network, dtype: torch.dtype) -> Tensors:
    return {n: t if t.is_floating_point() else t.to(dtype) for n, t in net.tensors.items()}


@dataclass(frozen=True)
class Became:
    """``problem`` is empty where it is one of the two things that are promised."""

    said: str
    problem: str = ""


def became(case: Case, net: Network, ending: str, folder: Path) -> Became | None:
    """None where the format cannot hold such a checkpoint."""
    given, path = case.change(net), folder / f"checkpoint{ending}"
    try:
        if ending == ".safetensors":
            save_file({name: tensor.contiguous() for name, tensor in given.items()}, path)
        else:
            torch.save(given, path)
    except (KeyError, ValueError, TypeError, RuntimeError):
        return None
    out = folder / "out.safetensors"
    out.unlink(missing_ok=True)
    repair = () if "--repair" in case.words else ("--repair", "none")
    words = ("run", path, "--speedup", "1.3", "--tolerance", "0.3", "--force", "-o", out, "--arch", net.spec)
    found = printed((*words, *case.words, *repair))
    if found.code == 0:
        return _kept(net, given, out)
    errors = [line for line in found.err.split("\n") if line.startswith("error: ")]
    line = errors[0].removeprefix("error: ") if errors else found.err.strip()[-200:]
    line = line.replace(str(folder), "")
    if found.code != 3 or len(errors) != 1 or out.exists():
        return Became(f"exit {found.code}: {line}", "neither pruned nor refused")
    named = any(re.search(rf"'{re.escape(name)}'", line) for name in given)
    return Became(f"refused: {line}", "" if named else "no tensor is named")


def _kept(net: Network, given: Mapping[str, Tensor], out: Path) -> Became:
    written = load_file(out)
    other = {
        name: f"{given[name].dtype} became {tensor.dtype}"
        for name, tensor in written.items()
        if name in given and tensor.dtype != given[name].dtype
    }
    if other:
        return Became("pruned", f"'{next(iter(other))}': {next(iter(other.values()))}")
    if written.keys() - given.keys():
        return Became("pruned", f"'{min(written.keys() - given.keys())}' is new")
    dtypes = ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in written.values()}))
    problem = _run(net, net.module(out))
    if not problem:
        return Became(f"pruned, {dtypes}")
    # What mixes dtypes without saying where to cast runs nowhere, cut or not; its values do.
    as_given = _run(net, resolve(dict(given), arch=net.spec, arguments={}).module)
    in_floats = _run(net, net.module(out).float())
    if as_given and not in_floats:
        return Became(f"pruned, {dtypes}; runs in float32, as the dense one does")
    return Became(f"pruned, {dtypes}", f"does not run: {problem}")


def _run(net: Network, module: nn.Module) -> str:
    """What is raised, or that outputs are not finite; empty where all is well."""
    kinds = {parameter.dtype for parameter in module.parameters()}
    pictures = torch.randn(1, 3, 32, 32).to(min(kinds, key=str))
    try:
        with torch.no_grad():
            result = module(torch.arange(8)[None] if net.name == "transformer" else pictures)
    except RuntimeError as error:
        return f"{error}"[:80]
    return "" if bool(result.float().isfinite().all()) else "its outputs are not finite"


def main() -> int:
    torch.set_num_threads(1)
    import prunecli.latency
    from prunecli.racing import Effort

    prunecli.latency.EFFORT = Effort(seconds=0.02, least=2, enough=2, longest=0.2)
    wrong = count = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for net in networks(folder):
            for case in cases():
                for ending in (".safetensors", ".pt"):
                    found = became(case, net, ending, folder)
                    if found is None:
                        continue
                    count += 1
                    wrong += bool(found.problem)
                    problem = f"  PROBLEM: {found.problem}" if found.problem else ""
                    print(f"{net.name:12}{ending:13}{case.name:34}{found.said:.150}{problem}", flush=True)
    print(f"{count} checkpoints, problems: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
