"""Tiny Hugging Face directories with random weights, one per family, and the input of each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")
WORDS = {"vocab_size": 90, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BLOCKS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
ENCODED = {
    "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64,
    "num_mel_bins": 20, "max_source_positions": 30,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A class, its configuration, its input by name and shape, and the auto class that loads it."""

    model: str
    config: dict[str, Any]
    input: tuple[str, tuple[int, ...]]
    auto: str

    @property
    def cls(self) -> Any:
        found = getattr(transformers, self.model, None)
        if found is None:
            from transformers.models.whisper import modeling_whisper as module

            found = getattr(module, self.model)
        return found

    def make(self, **changes: Any) -> nn.Module:
        torch.manual_seed(0)
        logging.disable(logging.WARNING)
        module: nn.Module = self.cls(self.cls.config_class(**{**self.config, **changes})).eval()
        logging.disable(logging.NOTSET)
        # Its own initialisation is so small that little of it would show.
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1 and "norm" not in name.lower():
                nn.init.normal_(parameter, std=0.2)
        return module

    def example(self) -> dict[str, Tensor]:
        name, shape = self.input
        generator = torch.Generator().manual_seed(1)
        if name == "input_ids":
            return {name: torch.randint(0, WORDS["vocab_size"], shape, generator=generator)}
        return {name: torch.randn(shape, generator=generator)}


_words = partial(Kind, input=("input_ids", (1, 128)))
KINDS: dict[str, Kind] = {
    "llama": _words(
        "LlamaForCausalLM", {**BLOCKS, **WORDS, "num_key_value_heads": 2}, auto="AutoModelForCausalLM"
    ),
    "qwen2": _words(
        "Qwen2ForCausalLM",
        {**BLOCKS, **WORDS, "num_key_value_heads": 2, "tie_word_embeddings": True},
        auto="AutoModelForCausalLM",
    ),
    "qwen3": _words(
        "Qwen3ForCausalLM",
        {**BLOCKS, **WORDS, "num_key_value_heads": 2, "head_dim": 16},
        auto="AutoModelForCausalLM",
    ),
    "gpt2": _words(
        "GPT2LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 4, **WORDS}, auto="AutoModelForCausalLM"
    ),
    "neox": _words("GPTNeoXForCausalLM", {**BLOCKS, **WORDS}, auto="AutoModelForCausalLM"),
    "bert": _words(
        "BertForSequenceClassification", {**BLOCKS, **WORDS}, auto="AutoModelForSequenceClassification"
    ),
    "vit": Kind(
        "ViTForImageClassification", {**BLOCKS, "image_size": 32, "patch_size": 8},
        ("pixel_values", (1, 3, 32, 32)), "AutoModelForImageClassification",
    ),
    "segformer": Kind(
        "SegformerForSemanticSegmentation",
        {
            "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4],
            "decoder_hidden_size": 20, "num_labels": 5, "image_size": 64,
        },
        ("pixel_values", (1, 3, 64, 64)), "AutoModelForSemanticSegmentation",
    ),
    "swin": Kind(
        "SwinForImageClassification",
        {
            "image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4],
            "window_size": 4,
        },
        ("pixel_values", (1, 3, 32, 32)), "AutoModelForImageClassification",
    ),
    "convnext": Kind(
        "ConvNextForImageClassification",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "image_size": 64},
        ("pixel_values", (1, 3, 64, 64)), "AutoModelForImageClassification",
    ),
    "t5": _words(
        "T5EncoderModel",
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 90},
        auto="AutoModelForTextEncoding",
    ),
    "whisper": Kind("WhisperEncoder", ENCODED, ("input_features", (1, 20, 60)), "WhisperEncoder"),
}  # fmt: skip


def saved(name: str, directory: Path, **changes: Any) -> nn.Module:
    """The network of a kind, written to ``directory`` by its own library; returned as it was written."""
    module = KINDS[name].make(**changes)
    quietly(lambda: module.save_pretrained(directory))  # type: ignore[operator]
    return module


def quietly(do: Callable[[], Any]) -> Any:
    from prunecli.networks.hugging_face import quiet

    with quiet():
        return do()


def tensors_in(output: Any) -> list[Tensor]:
    """Outputs that are not cached keys and values."""
    return [value for key, value in output.items() if key != "past_key_values" and isinstance(value, Tensor)]
