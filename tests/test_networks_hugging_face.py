"""Hugging Face directories: the class they name, its inputs, the same outputs; nothing is run or fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from directories import BLOCKS, ENCODED, KINDS, WORDS, quietly, saved, tensors_in
from equality import same_outputs
from safetensors.torch import load_file, save_file

from prunecli.checkpoint import InputSpec, read
from prunecli.errors import InputError, UsageError
from prunecli.networks import build, resolve
from prunecli.networks.hugging_face import (
    auto_class,
    build_from,
    load_plainly,
    model_class,
    quiet,
    read_config,
)

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **BLOCKS, **WORDS}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_built_and_computes_the_same(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    module = saved(name, tmp_path)
    network = resolve(read(tmp_path).tensors, arch=f"hf:{tmp_path}", arguments={})
    assert type(network.module) is kind.cls
    main, shape = kind.input
    bounds = (0, WORDS["vocab_size"] - 1) if main == "input_ids" else None
    assert network.inputs == (InputSpec(main, "int64" if bounds else "float32", shape, bounds),)
    with torch.no_grad():
        wanted, found = (tensors_in(net(**kind.example())) for net in (module, network.module))
    assert wanted
    assert all(map(torch.equal, wanted, found))
    assert auto_class(module) == kind.auto
    assert not getattr(network.module.config, "use_cache", False)


def test_tied_weights_are_one_parameter_though_the_file_holds_one_name(tmp_path: Path) -> None:
    saved("qwen2", tmp_path)
    tensors = read(tmp_path).tensors
    assert "lm_head.weight" not in tensors
    module = resolve(tensors, arch=f"hf:{tmp_path}", arguments={}).module
    assert module.get_parameter("lm_head.weight") is module.get_parameter("model.embed_tokens.weight")


def test_shards_and_half_precision(tmp_path: Path) -> None:
    module = KINDS["vit"].make().to(torch.bfloat16)
    quietly(lambda: module.save_pretrained(tmp_path, max_shard_size="20KB"))  # type: ignore[operator]
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    network = resolve(read(tmp_path).tensors, arch=f"hf:{tmp_path}", arguments={})
    assert network.inputs[0].dtype == "bfloat16"
    pixels = KINDS["vit"].example()["pixel_values"].to(torch.bfloat16)
    assert same_outputs(module(pixels).logits, network.module(pixels).logits)


def test_older_names_are_translated_and_what_the_class_lacks_is_left(tmp_path: Path) -> None:
    module = saved("bert", tmp_path)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
    }
    save_file({**old, "cls.seq_relationship.weight": torch.ones(2, 32)}, tmp_path / "model.safetensors")
    network = resolve(read(tmp_path).tensors, arch=f"hf:{tmp_path}", arguments={})
    assert "older names translated" in network.notes
    example = KINDS["bert"].example()
    assert same_outputs(module(**example).logits, network.module(**example).logits)


def test_weights_that_are_missing_are_never_made_up(tmp_path: Path) -> None:
    saved("bert", tmp_path)
    tensors = read(tmp_path).tensors
    lost = tensors.pop("bert.pooler.dense.weight")
    with pytest.raises(InputError, match=r"'bert\.pooler\.dense\.weight' is missing or differs"):
        resolve(tensors, arch=f"hf:{tmp_path}", arguments={})
    with pytest.raises(InputError, match="BertForSequenceClassification"):
        resolve({**tensors, "bert.pooler.dense.weight": lost[:5]}, arch=f"hf:{tmp_path}", arguments={})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"model_type": "mine", "architectures": ["Mine"]},
            "model_type 'mine' .* is not known to transformers",
        ),
        ({"architectures": ["LlamaForCausalLM"]}, "model_type None"),
        ({"model_type": "llama"}, "names no class"),
        ({"model_type": "llama", "architectures": ["LlamaForEverything"]}, "'LlamaForEverything', which"),
        ({"model_type": "llama", "architectures": ["AutoTokenizer"]}, "'AutoTokenizer', which"),
        ({"model_type": "llama", "architectures": ["os"]}, "'os', which"),
        ({"model_type": "llama", "architectures": ["apply_rotary_pos_emb"]}, "'apply_rotary_pos_emb', which"),
    ],
)
def test_only_classes_of_transformers_are_built(config: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        model_class(config)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no configuration"),
        (json.dumps({**LLAMA, "quantization_config": {"bits": 4}}), "quantised network"),
    ],
)
def test_configurations_that_cannot_be_used(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=said):
        read_config(tmp_path)
    with pytest.raises(InputError, match="cannot read"):
        read_config(tmp_path / "nowhere")


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "modeling_mine.py").write_text("raise SystemExit('it ran')\n")
    config = {**LLAMA, "auto_map": {"AutoModelForCausalLM": "modeling_mine.Mine"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert type(build(f"hf:{tmp_path}", {})[0]) is KINDS["llama"].cls


def test_nothing_is_fetched_for_a_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration may ask for a backbone with weights from elsewhere; it is built without them."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it reached for the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    backbone = {"model_type": "resnet", "out_features": ["stage4"], "embedding_size": 8,
                "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}  # fmt: skip
    config = {
        "model_type": "upernet", "architectures": ["UperNetForSemanticSegmentation"],
        "backbone_config": {**backbone, "use_pretrained_backbone": True}, "use_pretrained_backbone": True,
        "hidden_size": 8, "auxiliary_in_channels": 16, "pool_scales": [1],
    }  # fmt: skip
    assert sum(p.numel() for p in build_from(config).parameters()) > 0


def test_what_its_own_checks_refuse_is_one_line() -> None:
    with pytest.raises(InputError, match=r"refused by transformers: .*hidden size \(33\)") as caught:
        build_from({**LLAMA, "hidden_size": 33})
    assert "\n" not in caught.value.message


def test_arguments_belong_into_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with pytest.raises(UsageError, match="takes no --arch-arg 'hidden_size'"):
        build(f"hf:{tmp_path}", {"hidden_size": 8})


def test_a_decoder_gets_its_tokens_too(tmp_path: Path) -> None:
    config = {
        "model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"], **ENCODED, **WORDS,
        "decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 16, "decoder_start_token_id": 1,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, inputs = build(f"hf:{tmp_path}", {})
    assert inputs == (
        InputSpec("input_features", "float32", (1, 20, 60)),
        InputSpec("decoder_input_ids", "int64", (1, 16), (0, 89)),
    )


def test_plain_loading_is_the_librarys_own(tmp_path: Path) -> None:
    module = saved("neox", tmp_path)
    loaded = load_plainly(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), loaded.parameters(), strict=True))
    assert not loaded.training


def test_settings_are_left_as_they_were() -> None:
    import logging

    from huggingface_hub import constants
    from transformers.utils.logging import is_progress_bar_enabled

    before = (constants.HF_HUB_OFFLINE, logging.root.manager.disable, is_progress_bar_enabled())
    with pytest.raises(KeyError), quiet():
        assert constants.HF_HUB_OFFLINE
        raise KeyError
    assert (constants.HF_HUB_OFFLINE, logging.root.manager.disable, is_progress_bar_enabled()) == before
