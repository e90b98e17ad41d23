"""What torch-pruning makes of one network of the zoo, in the process that was forked for it.

It is given what its own examples give it, found from the network instead of typed in for each one: output
layers left alone, heads of the attention layers, tables of relative positions left alone, a pruner for patch
merging, whole heads instead of head widths where positions rotate, YOLO's blocks with their first convolution
in two; and afterwards the sizes that the modules remember are written anew, as those examples do. One thing
they do is left out: forwards of timm's attention written a second time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from zoo_models import Case, Entry, with_values

from prunecli.errors import first_line

RATIO = 0.5

FUSED = ("qkv", "qkv_proj", "query_key_value", "c_attn")
QUERY = ("query", "q_proj", "q")
KEY_VALUE = ("key", "value", "k_proj", "v_proj", "k", "v")
HEADS = ("num_heads", "num_attention_heads", "n_heads")
KEY_VALUE_HEADS = ("num_kv_heads", "num_key_value_heads")
HEAD_WIDTH = ("head_dim", "attention_head_size", "key_value_proj_dim", "head_size")
WHOLE_WIDTH = ("all_head_size", "attn_dim", "embed_dim", "inner_dim", "split_size")
TABLES = ("relative_position", "rel_pos", "attention_bias", "logit_scale", "cpb_mlp")
DETECTORS = {"Detect", "v10Detect", "Segment"}


@dataclass(frozen=True)
class Attention:
    """An attention layer with linear projections. ``query`` holds keys and values too where ``fused``."""

    module: nn.Module
    query: nn.Linear
    others: tuple[nn.Linear, ...]
    heads: int
    key_value_heads: int
    fused: bool


@dataclass
class Hints:
    """What the pruner is told, and in words."""

    options: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def add(self, words: str, **options: Any) -> None:
        self.options |= options
        self.words.append(words)


class PatchMergingPruner(tp.BasePruningFunc):
    """Four neighbours side by side, ``[..., 4 * in]``, a linear layer, and a norm before or behind it."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        if not self.norm_first:
            tp.prune_layernorm_out_channels(layer.norm, idxs)
        tp.prune_linear_out_channels(layer.reduction, idxs)
        return layer

    def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        width = self.get_in_channels(layer)
        repeated = [unit + quarter * width for quarter in range(4) for unit in idxs]
        if self.norm_first:
            tp.prune_layernorm_out_channels(layer.norm, repeated)
        tp.prune_linear_in_channels(layer.reduction, repeated)
        return layer

    def get_out_channels(self, layer: nn.Module) -> int:
        return layer.reduction.out_features

    def get_in_channels(self, layer: nn.Module) -> int:
        return layer.reduction.in_features // 4


class TwoBranches(nn.Module):
    """YOLO's C2f with a convolution for each half of what its first one gives, instead of a chunk."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        units = block.cv1.conv.out_channels
        self.branches = nn.ModuleList(copy.deepcopy(block.cv1) for _ in range(2))
        for branch, others in zip(self.branches, (range(units // 2, units), range(units // 2)), strict=True):
            tp.prune_conv_out_channels(branch.conv, list(others))
            tp.prune_batchnorm_out_channels(branch.bn, list(others))
        self.m, self.cv2 = block.m, block.cv2
        for name in ("i", "f", "type", "np"):
            if hasattr(block, name):
                setattr(self, name, getattr(block, name))

    def forward(self, features: Tensor) -> Tensor:
        parts = [branch(features) for branch in self.branches]
        for step in self.m:
            parts.append(step(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


def _in_two(module: nn.Module) -> int:
    """Put ``TwoBranches`` in the place of every C2f with the forward of C2f; how many there were."""
    found = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            kind = next((kind for kind in type(child).__mro__ if kind.__name__ == "C2f"), None)
            if kind is not None and type(child).forward is kind.forward:
                setattr(parent, name, TwoBranches(child).eval())
                found += 1
    return found


def at_peer(entry: Entry) -> dict[str, Any]:
    """Build, prune half of every group with torch-pruning, run forward on the same inputs.

    ``peer_stage`` is the stage that failed, or ``done``; ``peer_seconds`` the time of graph and step;
    ``peer_removed`` the share of parameter elements that went. ``peer_hints`` says what it was told. What
    fails stands under ``error``.
    """
    row: dict[str, Any] = {"peer_stage": "build", "peer_forward": False}
    try:
        case = entry.build()
        module = with_values(case.module)
        total = sum(p.numel() for p in module.parameters())
        row["peer_stage"] = "graph"
        attentions = list(_attentions(module))
        hints = _hints(case, attentions)
        row["peer_hints"] = "; ".join(hints.words)
        began = perf_counter()
        pruner = tp.pruner.BasePruner(
            module, case.inputs, importance=tp.importance.GroupMagnitudeImportance(p=2), pruning_ratio=RATIO,
            global_pruning=False, round_to=None, output_transform=_tensors, **hints.options,
        )  # fmt: skip
        row["peer_stage"] = "prune"
        pruner.step()
        row["peer_seconds"] = round(perf_counter() - began, 3)
        _write_sizes(module, attentions, pruner.num_heads)
        left = sum(p.numel() for p in module.parameters())
        row |= {"peer_removed": round(1 - left / max(1, total), 4), "peer_stage": "forward"}
        with torch.no_grad():
            module.eval()(*case.inputs)
        row |= {"peer_forward": True, "peer_stage": "done"}
    # Whatever the other tool raises is its result on this network, not a fault of the benchmark.
    except (Exception, SystemExit) as error:
        row["error"] = f"{type(error).__name__}: {first_line(error)}"
    return row


def _hints(case: Case, attentions: list[Attention]) -> Hints:
    """What its examples for networks of this kind pass to the pruner."""
    module = case.module
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    hints = Hints()
    blocks = _in_two(module)
    if blocks:
        hints.words.append(f"{blocks} C2f blocks in two branches")
    for child in module.modules():
        if isinstance(getattr(child, "fused_attn", None), bool):
            child.fused_attn = False
    tables = [
        item
        for name, item in (*module.named_parameters(), *module.named_modules())
        if any(part in name for part in TABLES)
    ]
    ignored = [*_output_layers(module, case.inputs), *_detection_layers(module)]
    hints.add(f"ignored_layers: {len(ignored)}", ignored_layers=[*ignored, *tables])
    if tables:
        hints.words.append("what acts on heads alone (relative positions, scales) ignored")
    _add_heads(hints, module, attentions)
    merging = {
        type(m): PatchMergingPruner(m.norm.normalized_shape[0] == m.reduction.in_features)
        for m in module.modules()
        if _merges_patches(m)
    }
    if merging:
        hints.add(
            "customized_pruners and root_module_types: patch merging",
            customized_pruners=merging,
            root_module_types=(nn.Linear, nn.LayerNorm, *merging),
        )
    return hints


def _add_heads(hints: Hints, module: nn.Module, attentions: list[Attention]) -> None:
    num_heads: dict[nn.Module, int] = {}
    for attention in attentions:
        num_heads[attention.query] = attention.heads
        num_heads |= dict.fromkeys(attention.others, attention.key_value_heads)
    groups = {m: m.num_heads for m in module.modules() if isinstance(m, nn.MultiheadAttention)}
    doubled = {m.gate_up_proj: 2 for m in module.modules() if hasattr(m, "gate_up_proj")}
    hints.options |= {"in_channel_groups": {}, "out_channel_groups": {**groups, **doubled}}
    hints.options |= {"num_heads": num_heads, "prune_num_heads": False}
    if groups:
        hints.words.append(f"out_channel_groups: heads of {len(groups)} nn.MultiheadAttention")
    if num_heads:
        hints.words.append(f"num_heads: {len(num_heads)} linear layers")
    if num_heads and any("rotary" in type(m).__name__.lower() for m in module.modules()):
        hints.add(
            "prune_num_heads, no head widths: positions rotate",
            prune_num_heads=True, prune_head_dims=False, head_pruning_ratio=RATIO,
        )  # fmt: skip


def _attentions(module: nn.Module) -> Iterator[Attention]:
    for child in module.modules():
        heads = _number(child, HEADS)
        linear = {name: layer for name, layer in child.named_children() if isinstance(layer, nn.Linear)}
        query = next((name for name in (*FUSED, *QUERY) if name in linear), None)
        if heads is None or query is None or isinstance(child, nn.MultiheadAttention):
            continue
        others = tuple(linear[name] for name in KEY_VALUE if name in linear)
        key_value = _number(child, KEY_VALUE_HEADS) or heads
        yield Attention(child, linear[query], others, heads, key_value, query in FUSED)


def _number(module: nn.Module, names: Sequence[str]) -> int | None:
    """The first of ``names`` that the module, or the configuration it keeps, has as a number."""
    for holder in (module, getattr(module, "config", None)):
        for name in names:
            if isinstance(getattr(holder, name, None), int):
                return int(getattr(holder, name))
    return None


def _merges_patches(module: nn.Module) -> bool:
    return "PatchMerging" in type(module).__name__ and all(
        isinstance(getattr(module, name, None), kind)
        for name, kind in (("norm", nn.LayerNorm), ("reduction", nn.Linear))
    )


def _tensors(outputs: Any) -> list[Tensor]:
    """All tensors of what a forward gave that depend on a parameter."""
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.grad_fn is not None else []
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        return [tensor for output in outputs for tensor in _tensors(output)]
    return []


def _output_layers(module: nn.Module, inputs: Sequence[Tensor]) -> list[nn.Module]:
    """The layers whose units are the units of the output: the first met on every way back from it."""
    made_by: dict[Any, nn.Module] = {}

    def remember(layer: nn.Module, _: Any, output: Any) -> None:
        for tensor in _tensors(output):
            made_by[tensor.grad_fn] = layer

    kinds = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention, nn.Embedding)
    hooks = [m.register_forward_hook(remember) for m in module.modules() if isinstance(m, kinds)]
    ahead = [tensor.grad_fn for tensor in _tensors(module(*inputs))]
    for hook in hooks:
        hook.remove()
    found: dict[nn.Module, None] = {}
    seen: set[Any] = set()
    while ahead:
        operation = ahead.pop()
        if operation is None or operation in seen:
            continue
        seen.add(operation)
        if operation in made_by:
            found[made_by[operation]] = None
        else:
            ahead += [following for following, _ in operation.next_functions]
    return list(found)


def _detection_layers(module: nn.Module) -> list[nn.Module]:
    """The parts of a detector that its examples leave whole: YOLO's head, SSD's head, the pyramid and the
    heads on regions of two-stage detectors.
    """
    found = [m for m in module.modules() if DETECTORS & {kind.__name__ for kind in type(m).__mro__}]
    detector = getattr(module, "detector", None)
    if detector is None:
        return found
    if hasattr(detector, "rpn"):
        return [*found, detector.backbone.fpn, detector.roi_heads]
    return [*found, detector.head] if type(detector).__name__ == "SSD" else found


def _write_sizes(module: nn.Module, attentions: list[Attention], num_heads: dict[nn.Module, int]) -> None:
    """The sizes that modules remember beside their weights, from the weights."""
    for attention in attentions:
        heads = num_heads.get(attention.query, attention.heads)
        width = attention.query.out_features // (3 if attention.fused else 1)
        _write(attention.module, HEADS, heads)
        _write(attention.module, HEAD_WIDTH, width // heads)
        _write(attention.module, WHOLE_WIDTH, width)
        _write(attention.module, ("num_key_value_groups",), heads // attention.key_value_heads)
    if isinstance(getattr(module, "hidden_dim", None), int) and hasattr(module, "conv_proj"):
        module.hidden_dim = module.conv_proj.out_channels


def _write(module: nn.Module, names: Sequence[str], number: int) -> None:
    for name in names:
        if isinstance(getattr(module, name, None), int):
            setattr(module, name, number)


torch.set_num_threads(1)
