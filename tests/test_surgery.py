"""cut() against plain boolean masks worked out by hand."""

from __future__ import annotations

import pytest
import torch
from spaces import attention, chain, concatenation, residual

from prunecli.errors import InputError
from prunecli.surgery import cut


def test_a_chain_loses_rows_columns_and_statistics() -> None:
    sketch = chain(6, 5)
    tensors = sketch.tensors()
    out = cut(tensors, sketch.space(), {"g0": [0, 2, 5], "g1": [1, 4]})
    assert torch.equal(out["conv0.weight"], tensors["conv0.weight"][[0, 2, 5]])
    assert torch.equal(out["conv1.weight"], tensors["conv1.weight"][[1, 4]][:, [0, 2, 5]])
    assert torch.equal(out["bn0.running_var"], tensors["bn0.running_var"][[0, 2, 5]])
    assert torch.equal(out["fc.weight"], tensors["fc.weight"][:, [1, 4]])
    assert all(tensor.is_contiguous() for tensor in out.values())


def test_what_does_not_change_is_the_same_object() -> None:
    sketch = chain(6, 5)
    tensors = sketch.tensors() | {"unrelated": torch.ones(3, dtype=torch.int64)}
    out = cut(tensors, sketch.space(), {"g1": [0, 1, 2, 3, 4], "g0": [0, 1]})
    assert out["unrelated"] is tensors["unrelated"]
    assert out["fc.weight"] is tensors["fc.weight"]
    assert out["bn0.num_batches_tracked"] is tensors["bn0.num_batches_tracked"]


def test_a_permuted_list_permutes_though_nothing_is_removed() -> None:
    sketch = chain(3)
    tensors = sketch.tensors()
    out = cut(tensors, sketch.space(), {"g0": [2, 1, 0]})
    assert torch.equal(out["conv0.weight"], tensors["conv0.weight"].flip(0))


def test_a_merged_dimension_keeps_the_units_of_every_factor() -> None:
    sketch = attention(heads=4, head_dim=6)
    tensors = sketch.tensors()
    out = cut(tensors, sketch.space(), {"qkv:heads": [0, 3], "head_dim": [1, 2, 5]})
    whole = tensors["qkv.weight"].reshape(3, 4, 6, 20)
    assert torch.equal(out["qkv.weight"], whole[:, [0, 3]][:, :, [1, 2, 5]].reshape(18, 20))
    assert torch.equal(
        out["qkv.bias"], tensors["qkv.bias"].reshape(3, 4, 6)[:, [0, 3]][:, :, [1, 2, 5]].reshape(18)
    )
    assert torch.equal(out["proj.weight"][:, 3], tensors["proj.weight"][:, 19])


def test_a_concatenated_dimension_keeps_each_part_in_place() -> None:
    sketch = concatenation()
    tensors = sketch.tensors()
    out = cut(tensors, sketch.space(), {"a": [7], "b": [0, 11]})
    columns = [7, 8, 9, 10, 11, 22, 23 + 7]
    assert torch.equal(out["join.weight"], tensors["join.weight"][:, columns])
    assert torch.equal(out["depthwise.weight"], tensors["depthwise.weight"][[0, 11]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_stays(dtype: torch.dtype) -> None:
    sketch = residual()
    tensors = {name: tensor.to(dtype) for name, tensor in sketch.tensors().items()}
    out = cut(tensors, sketch.space(), {"stream": [0, 1]})
    assert {tensor.dtype for tensor in out.values()} == {dtype}
    assert not any(tensor.requires_grad for tensor in out.values())


def test_a_tensor_of_another_shape_is_refused() -> None:
    sketch = chain(6)
    tensors = sketch.tensors() | {"conv0.weight": torch.zeros(7, 3, 3, 3)}
    with pytest.raises(InputError, match=r"'conv0.weight' has shape \[7, 3, 3, 3\] where \[6, 3, 3, 3\]"):
        cut(tensors, sketch.space(), {"g0": [0]})
