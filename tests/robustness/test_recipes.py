"""The short form of ``python -m tests.robustness.recipes``: every recipe made by hand and every 60th mutation
through ``load``, and what is hostile in another way through the commands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from robustness import recipes
from robustness.recipes import Case, Genuine
from robustness.watching import ran

COMMANDS = ("arch 'evil.py:factory'", "inputs: 2^40 elements",
            "torchvision:mobilenet_v2 with {'width_mult': 1000000.0}")  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Genuine]]:
    folder = tmp_path_factory.mktemp("recipes").resolve()
    genuine = recipes.genuine(folder / "dense.safetensors")
    recipes.put(folder / "pruned.safetensors", genuine.tensors, json.dumps(genuine.recipe))
    mark = recipes.planted(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder, genuine
    assert not mark.exists()


def slow(case: Case) -> bool:
    """What builds the networks of other libraries: seconds of imports."""
    return "timm" in case.name or "ultralytics" in case.name


def test_the_genuine_file_is_taken(corpus: tuple[Path, Genuine]) -> None:
    folder, _ = corpus
    assert ran(lambda: recipes.loading(folder / "pruned.safetensors"), folder).code == 0


def test_nothing_more_than_a_recipe_may_ask_for_is_loaded(corpus: tuple[Path, Genuine]) -> None:
    folder, genuine = corpus
    cases = [case for case in recipes.corpus(genuine.recipe) if not slow(case)]
    cases += list(recipes.mutations(genuine.recipe))[::60]
    assert len(cases) > 200
    way = recipes.Surface("load", recipes.loading)
    found = {}
    for case in cases:
        path = recipes.put(folder / recipes.NAME, genuine.tensors, case.text)
        if told := recipes.problems(case, way, ran(lambda path=path: way.call(path), folder)):
            found[case.name] = told
    assert found == {}


def test_nor_by_a_command(corpus: tuple[Path, Genuine], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, genuine = corpus
    monkeypatch.setattr("prunecli.checking.reload_proof", None)
    recipes.reload_here()
    ways = list(recipes.surfaces(folder / "dense.safetensors", folder / "pruned.safetensors"))[1:]
    cases = {case.name: case for case in recipes.corpus(genuine.recipe)}
    found = {}
    for name in COMMANDS:
        path = recipes.put(folder / recipes.NAME, genuine.tensors, cases[name].text)
        for way in ways:
            outcome = ran(lambda way=way, path=path: way.call(path), folder)
            if told := recipes.problems(cases[name], way, outcome):
                found[name, way.name] = told
    assert found == {}


def test_a_wrong_digest_of_the_recipe(corpus: tuple[Path, Genuine]) -> None:
    folder, genuine = corpus
    path = recipes.put(folder / recipes.NAME, genuine.tensors, json.dumps(genuine.recipe), "0" * 64)
    outcome = ran(lambda: recipes.loading(path), folder)
    assert outcome.code == 3 and "digests differ" in outcome.err


def test_what_a_network_takes_is_seen_before_it_is_taken() -> None:
    """The watch itself: memory that is asked for is counted, and none of it is there."""
    from prunecli.errors import InputError
    from prunecli.networks.limits import limited

    def asks() -> int:
        with limited({"a": torch.zeros(4)}), pytest.raises(InputError, match="far more memory"):
            torch.zeros(1 << 34) + torch.arange(1 << 34)
        return 0

    outcome = ran(asks)
    assert outcome.code == 0 and outcome.megabytes < 50
