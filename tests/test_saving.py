"""A Hugging Face directory from end to end: the command, both ways of loading, and what is done if one
fails.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runner import run_here
from directories import KINDS, quietly, saved, tensors_in, transformers
from equality import same_outputs
from safetensors import safe_open

import prunecli
from prunecli.checkpoint import read
from prunecli.errors import ImpossibleError, InputError
from prunecli.fresh import PLAIN, RELOAD
from prunecli.loading import _dense
from prunecli.report.model import Proof

HALF = {"scheme": "local", "ratio": 0.5}


def outputs(module: Any, name: str) -> list[torch.Tensor]:
    with torch.no_grad():
        return tensors_in(module(**KINDS[name].example()))


def test_a_uniform_result_loads_without_this_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, out = tmp_path / "dense", tmp_path / "dense.pruned"
    saved("qwen2", dense)
    (dense / "tokenizer.json").write_text("{}")
    ran = run_here(capsys, "run", dense, "--ratio", "0.5", "--scheme", "local")
    assert ran.code == 0, ran.err
    assert "AutoModelForCausalLM.from_pretrained(DIR) loads the result" in ran.err
    report = json.loads((tmp_path / "dense.pruned.json").read_text())
    assert report["network"]["spec"] == "hf:Qwen2ForCausalLM"
    proofs = {proof["name"]: proof["passed"] for proof in report["proofs"]}
    assert proofs[PLAIN] and proofs[RELOAD]
    assert str(tmp_path) not in json.dumps({**report, "command": None})
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    plain = quietly(lambda: transformers.AutoModelForCausalLM.from_pretrained(out)).eval()
    loaded = prunecli.load(out)
    assert type(plain) is type(loaded) is KINDS["qwen2"].cls
    assert loaded.get_parameter("model.layers.1.mlp.up_proj.weight").shape == (32, 16)
    for wanted, found in zip(outputs(plain, "qwen2"), outputs(loaded, "qwen2"), strict=True):
        torch.testing.assert_close(wanted, found)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    with safe_open(out / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 (not a mapping)
    monkeypatch.setattr("prunecli.checking.reload_proof", lambda *_: Proof(RELOAD, True))
    assert prunecli.verify(out, against=dense).passed


def test_other_widths_load_by_their_recipe(tmp_path: Path, no_reload: None) -> None:
    saved("bert", tmp_path / "dense")
    result = prunecli.prune(tmp_path / "dense", flops=0.6)
    report = result.save(tmp_path / "small")
    assert any("config.json keeps the dense sizes" in note for note in report.notes)
    kept, dense = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("small", "dense"))
    assert kept == dense
    loaded = prunecli.load(tmp_path / "small")
    for wanted, found in zip(outputs(result.model, "bert"), outputs(loaded, "bert"), strict=True):
        assert same_outputs(wanted, found)


def test_a_module_in_memory_goes_to_a_directory_too(tmp_path: Path, no_reload: None) -> None:
    module = saved("vit", tmp_path / "dense")
    result = prunecli.prune(
        module, example_inputs=KINDS["vit"].example(), arch=f"hf:{tmp_path / 'dense'}", **HALF
    )
    assert result.report.network.spec == "hf:ViTForImageClassification"
    result.save(tmp_path / "small")
    assert same_outputs(outputs(prunecli.load(tmp_path / "small"), "vit")[0], outputs(result.model, "vit")[0])


def test_where_plain_loading_gives_another_network_the_dense_configuration_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proved(*_: object, plainly: bool = False, **__: object) -> Proof:
        return Proof(PLAIN, False, 0.5, 1e-4, "relative error 0.5") if plainly else Proof(RELOAD, True)

    saved("llama", tmp_path / "dense")
    result = prunecli.prune(tmp_path / "dense", **HALF)
    monkeypatch.setattr("prunecli.saving.reload_proof", proved)
    report = result.save(tmp_path / "small")
    assert [proof.name for proof in report.proofs][-1] == RELOAD
    assert any("the library's own loader: relative error 0.5" in note for note in report.notes)
    assert json.loads((tmp_path / "small" / "config.json").read_text())["hidden_size"] == 32
    assert prunecli.load(tmp_path / "small").config.hidden_size == 32


def test_a_reload_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("t5", tmp_path / "dense")
    result = prunecli.prune(tmp_path / "dense", **HALF)
    failed = Proof(RELOAD, False, 0.5, 1e-4, "relative error 0.5")
    monkeypatch.setattr("prunecli.saving.reload_proof", lambda *_, **__: failed)
    with pytest.raises(ImpossibleError, match=r"does not reload as the same network: relative error 0\.5"):
        result.save(tmp_path / "small")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf")
    saved("t5", folder / "dense")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prunecli.saving.reload_proof", lambda *_, **__: Proof(RELOAD, True))
        prunecli.prune(folder / "dense", **HALF).save(folder / "small")
    return folder / "small"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["T5Model"]}, "not the one that was written"),
        ({"model_type": "mine"}, "not the one that was written"),
        ({"num_layers": 3}, "not the one that was written"),
        ({"layer_norm_epsilon": 1.0}, "not the one that was written"),
        ({"auto_map": {"AutoModel": "evil.Evil"}}, "not the one that was written"),
        ({"id2label": {"0": "cat"}, "_name_or_path": "mine/net"}, None),
    ],
)
def test_a_configuration_changed_since_is_noticed(
    changes: dict[str, Any], said: str | None, small: Path
) -> None:
    """The sizes are the recipe's, but much else is computed from the configuration."""
    config = small / "config.json"
    text = config.read_text()
    config.write_text(json.dumps({**json.loads(text), **changes}))
    try:
        if said is None:
            assert not prunecli.load(small).training
        else:
            with pytest.raises(InputError, match=said):
                prunecli.load(small)
    finally:
        config.write_text(text)


def test_a_recipe_of_another_class_is_refused(small: Path) -> None:
    with pytest.raises(InputError, match=r"names hf:T5EncoderModel, the recipe hf:BertModel"):
        recipe = read(small).recipe
        assert recipe is not None
        _dense(replace(recipe, arch="hf:BertModel"), small, None, None, None)


def test_a_pruned_directory_is_not_pruned_again(small: Path) -> None:
    with pytest.raises(InputError, match="was pruned by this tool already"):
        prunecli.prune(small, ratio=0.5)
