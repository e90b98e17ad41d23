from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Batch
from prunecli.data.functions import batches_of
from prunecli.errors import InputError, UsageError

ONE = (InputSpec(None, "float32", (1, 3)),)
TWO = (InputSpec("ids", "int64", (1, 4)), InputSpec("mask", "int64", (1, 4)))
SOURCE = """
import torch

def rows():
    for start in range(0, 6, 2):
        yield torch.arange(start, start + 2).view(2, 1).expand(2, 3).float()

def labelled():
    return [(x, x[:, 0].long()) for x in rows()]

class Dataset:
    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index >= 6:
            raise IndexError(index)
        return torch.full((3,), float(index)), index

def dataset():
    return Dataset()

def loader():
    return torch.utils.data.DataLoader(Dataset(), batch_size=4, shuffle=True)

def one():
    return torch.zeros(5, 3)

def named():
    yield {"x": torch.zeros(2, 3), "labels": [1, 2]}

def two():
    yield {"mask": torch.ones(2, 4), "ids": torch.zeros(2, 4), "labels": torch.tensor([5, 6])}

def two_in_order():
    yield torch.zeros(2, 4).long(), torch.ones(2, 4).long(), torch.tensor([5, 6])

def two_and_labels():
    yield (torch.zeros(2, 4).long(), torch.ones(2, 4).long()), torch.tensor([5, 6])

def list_of_images():
    for number in range(2):
        yield torch.full((3, 8, 8), float(number))

def nothing():
    return []

def number():
    return 3

def fails():
    raise KeyError("lost")

def fails_late():
    yield torch.zeros(1, 3)
    raise KeyError("lost\\nagain")

def text():
    yield "text"

def wrong_shape():
    yield torch.zeros(2, 5)

def too_few():
    yield {"ids": torch.zeros(2, 4).long()}

def uneven():
    yield torch.zeros(2, 3), torch.zeros(3).long()

def some_labels():
    yield torch.zeros(2, 3), torch.zeros(2).long()
    yield torch.zeros(2, 3)

def odd_labels():
    yield torch.zeros(2, 3), "ab"

def nan():
    yield torch.full((2, 3), float("nan"))
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(SOURCE)
    return str(path)


def told(batches: tuple[Batch, ...]) -> tuple[list[float], list[int] | None]:
    first = [value for batch in batches for value in batch.inputs.tensors[0][:, 0].tolist()]
    if batches[0].labels is None:
        return first, None
    return first, [label for batch in batches if batch.labels is not None for label in batch.labels.tolist()]


@pytest.mark.parametrize(
    ("function", "samples", "values", "labels"),
    [
        ("rows", None, range(6), None),
        ("rows", 3, range(3), None),
        ("labelled", None, range(6), range(6)),
        ("labelled", 5, range(5), range(5)),
        ("dataset", None, range(6), range(6)),
        ("dataset", 4, range(4), range(4)),
        ("one", None, [0] * 5, None),
        ("named", None, [0, 0], [1, 2]),
    ],
)
def test_what_a_function_may_give(
    file: str, function: str, samples: int | None, values: list[int], labels: list[int] | None
) -> None:
    found = told(batches_of(file, function, ONE, samples, 0))
    assert found == (list(map(float, values)), None if labels is None else list(labels))


def test_a_shuffling_loader_is_seeded_and_leaves_torchs_generator_alone(file: str) -> None:
    torch.manual_seed(5)
    wanted = torch.randn(1)
    torch.manual_seed(5)
    first, again, other = (told(batches_of(file, "loader", ONE, None, seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.randn(1), wanted)
    assert first == again != other
    assert first[0] == list(map(float, first[1] or []))


@pytest.mark.parametrize("function", ["two", "two_in_order", "two_and_labels"])
def test_several_inputs(file: str, function: str) -> None:
    if function == "two":
        with pytest.raises(InputError, match=r"ids of own.py:two holds float32, the network takes int64"):
            batches_of(file, function, TWO, None, 0)
        return
    (batch,) = batches_of(file, function, TWO, None, 0)
    assert [int(batch.inputs.named[name].sum()) for name in ("ids", "mask")] == [0, 8]
    assert batch.labels is not None
    assert batch.labels.tolist() == [5, 6]


def test_inputs_without_a_batch(file: str) -> None:
    found = batches_of(file, "list_of_images", (InputSpec("images.0", "float32", (3, 8, 8)),), None, 0)
    assert [batch.inputs.named["images"][0].mean().item() for batch in found] == [0, 1]
    assert all(batch.whole for batch in found)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "own.py:nothing gave no samples"),
        ("number", "own.py:number gave a int, not an iterable"),
        ("fails", "own.py:fails raised KeyError: 'lost'"),
        ("fails_late", "own.py:fails_late raised KeyError: 'lost\\nagain'"),
        ("text", "own.py:text gave str for 1 input"),
        ("wrong_shape", "input of own.py:wrong_shape is [N, 5], the network takes [N, 3]"),
        ("uneven", "own.py:uneven gave 2 and 3 samples in one batch"),
        ("some_labels", "own.py:some_labels gave labels for some batches only"),
        ("odd_labels", "own.py:odd_labels gave labels of type str"),
        ("nan", "input of own.py:nan holds NaN or Inf at sample 0"),
    ],
)
def test_what_it_may_not_give(file: str, function: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        batches_of(file, function, ONE, None, 0)
    assert caught.value.message == message
    assert caught.value.hint


def test_an_input_that_is_left_out(file: str) -> None:
    with pytest.raises(InputError, match="gave Tensor, NoneType for 2 inputs"):
        batches_of(file, "too_few", TWO, None, 0)


def test_a_function_that_is_not_there(file: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        batches_of(file, "rowz", ONE, None, 0)
    assert caught.value.hint == "did you mean rows?"
    with pytest.raises(UsageError) as caught:
        batches_of(str(tmp_path / "missing.py"), "rows", ONE, None, 0)
    assert caught.value.hint == "check the path in --data"
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(InputError) as failed:
        batches_of(str(tmp_path / "broken.py"), "rows", ONE, None, 0)
    assert failed.value.hint == "mend the file"
