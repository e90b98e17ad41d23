"""When config.json can say what is left: numbers, lists, nulls, what the class adds; and when it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from directories import KINDS, saved, tensors_in

import prunecli
from prunecli.configuring import Written
from prunecli.networks.hugging_face import build_from
from prunecli.networks.resolving import load_weights

HALF = {"scheme": "local", "ratio": 0.5}


def pruned(directory: Path, **options: Any) -> tuple[prunecli.Result, Written]:
    result = prunecli.prune(directory, repair="none", **options)
    assert result._written is not None
    return result, result._written


def changed(directory: Path, written: Written) -> dict[str, Any]:
    dense = json.loads((directory / "config.json").read_text())
    return {key: value for key, value in written.config.items() if dense.get(key) != value}


EXPRESSIBLE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": (HALF, {"hidden_size": 16, "intermediate_size": 32}),
    # Qwen2 leaves the size of a head to its class unless told.
    "qwen2": (HALF, {"hidden_size": 16, "intermediate_size": 32, "head_dim": 8}),
    "qwen3": (HALF, {"hidden_size": 16, "intermediate_size": 32}),
    # null, which the class reads as four times the width.
    "gpt2": ({**HALF, "only": ["*.mlp.c_fc"]}, {"n_inner": 64}),
    "neox": ({**HALF, "only": ["*.dense_h_to_4h"]}, {"intermediate_size": 32}),
    "bert": ({**HALF, "only": ["*.intermediate.*"]}, {"intermediate_size": 32}),
    # No key of the configuration; the class reads it where it is there.
    "vit": (
        {**HALF, "ignore": ["*.attention.q_proj"]},
        {"hidden_size": 16, "intermediate_size": 32, "head_dim": 8},
    ),
    "segformer": ({**HALF, "only": ["decode_head.*"]}, {"decoder_hidden_size": 10}),
    "convnext": (HALF, {"hidden_sizes": [4, 8, 12, 16]}),
    "t5": ({**HALF, "only": ["*.DenseReluDense.*"]}, {"d_ff": 32}),
    "whisper": ({**HALF, "only": ["*.fc1"]}, {"encoder_ffn_dim": 32}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_the_configuration_says_the_new_sizes(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    options, wanted = EXPRESSIBLE[name]
    result, written = pruned(tmp_path, **options)
    assert (changed(tmp_path, written), written.loader) == (wanted, KINDS[name].auto)
    rebuilt = build_from(written.config).eval()
    load_weights(rebuilt, result.model.state_dict())
    with torch.no_grad():
        here, there = (tensors_in(net(**KINDS[name].example())) for net in (result.model, rebuilt))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(here, there, strict=True))
    own = result.model.config.to_dict()
    assert {key: own[key] for key in wanted} == wanted


def test_what_the_class_computes_from_other_numbers_is_brought_up_to_date(tmp_path: Path) -> None:
    """Swin's hidden_size is that of its last stage, and is written down beside embed_dim."""
    saved("swin", tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["hidden_size"] == 32
    _, written = pruned(tmp_path, **HALF)
    # With every width halved the sizes fit, but a head of four features is scaled otherwise than of eight.
    assert written.loader is None
    assert "scaling would follow" in str(written.reason)


def test_a_scale_that_follows_the_size_of_a_head_is_noticed(tmp_path: Path) -> None:
    saved("bert", tmp_path)
    result, written = pruned(tmp_path, **HALF)
    assert written.loader is None
    assert written.reason is not None
    assert "scaling would follow the new ones" in written.reason
    assert not changed(tmp_path, written)
    assert "prunecli.load" in written.note
    assert result.model.config.hidden_size == 32


def test_widths_that_differ_between_layers_cannot_be_said(tmp_path: Path) -> None:
    saved("llama", tmp_path)
    plan = prunecli.prune(tmp_path, repair="none", **HALF).plan
    name = next(name for name in plan.keep if name.endswith("layers.1.mlp.gate_proj"))
    uneven = prunecli.Plan({**plan.keep, name: plan.keep[name][:-4]}, plan.dense)
    _, written = pruned(tmp_path, plan=uneven)
    assert (written.loader, written.reason) == (None, "it has no numbers for these widths")
    assert not changed(tmp_path, written)


def test_a_width_that_the_class_refuses_cannot_be_said(tmp_path: Path) -> None:
    """Llama wants its width to be a multiple of the number of heads."""
    saved("llama", tmp_path)
    plan = prunecli.prune(tmp_path, repair="none", **HALF).plan
    stream = "model.embed_tokens"
    odd = prunecli.Plan({**plan.keep, stream: plan.keep[stream][:-1]}, plan.dense)
    _, written = pruned(tmp_path, plan=odd)
    assert written.loader is None
