from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from resnet8 import IMAGE, Own, resnet8, same_tensors

import prunecli
from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import InputError
from prunecli.opening import Naming, open_against, open_any

UNNAMED = Naming(None, None, None, ())


def test_a_dense_checkpoint_and_a_module(checkpoint: Path) -> None:
    found = open_any(checkpoint, UNNAMED)
    assert found.recipe is None
    assert found.network.facts.spec == "cifar:resnet8"
    assert same_tensors(found.network.module.state_dict(), resnet8().state_dict())
    module = Own()
    own = open_any(module, Naming(IMAGE, None, None, ()))
    assert own.network.module is module
    assert own.network.source is None


def test_a_pruned_checkpoint_is_what_load_gives(saved: Path) -> None:
    found = open_any(saved, UNNAMED)
    assert found.recipe is not None
    assert same_tensors(found.network.module.state_dict(), prunecli.load(saved).state_dict())
    assert [spec.shape for spec in found.network.specs] == [(1, 3, 32, 32)]
    assert found.network.source is not None
    assert found.network.source.name == saved.name
    other = open_any(saved, Naming(None, None, None, ("3,64,64",)))
    assert [spec.shape for spec in other.network.specs] == [(1, 3, 64, 64)]


def test_the_other_network_is_the_one_that_the_recipe_names(checkpoint: Path, saved: Path) -> None:
    subject = open_any(saved, UNNAMED)
    other = open_against(checkpoint, UNNAMED, subject)
    assert other.recipe is None
    assert same_tensors(other.network.module.state_dict(), resnet8().state_dict())
    assert [spec.shape for spec in other.network.specs] == [(1, 3, 32, 32)]
    large = replace(subject.recipe, inputs=(InputSpec(None, "float32", (1, 3, 48, 48)),))  # type: ignore[type-var]
    other = open_against(checkpoint, UNNAMED, replace(subject, recipe=large))
    assert [spec.shape for spec in other.network.specs] == [(1, 3, 48, 48)]
    given = replace(UNNAMED, inputs=("3,40,40",))
    other = open_against(checkpoint, given, replace(subject, recipe=large))
    assert [spec.shape for spec in other.network.specs] == [(1, 3, 40, 40)]
    named = (InputSpec("ids", "int64", (1, 9)),)
    other = open_any(checkpoint, replace(UNNAMED, fallback=named))
    assert [spec.shape for spec in other.network.specs] == [(1, 3, 32, 32)]
    module = resnet8()
    assert open_against(module, UNNAMED, subject).network.module is module


def test_a_checkpoint_goes_to_a_device_and_a_module_stays(checkpoint: Path) -> None:
    meta = torch.device("meta")
    assert next(open_any(checkpoint, UNNAMED).on(meta).parameters()).is_meta
    module = Own()
    assert open_any(module, Naming(IMAGE, None, None, ())).on(meta) is module
    assert not next(module.parameters()).is_meta


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"no zip")
    with pytest.raises(InputError):
        open_any(tmp_path / "x.pth", UNNAMED)
