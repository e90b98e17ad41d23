"""What a file claims: names that print, tensors as large as what is stored of them."""

from __future__ import annotations

import pytest
import torch

from prunecli.checkpoint import soundness
from prunecli.checkpoint.soundness import dense, require_names
from prunecli.errors import InputError


def test_names_of_networks_pass() -> None:
    require_names(["layer1.0.conv1.weight", "block-a.Ünï", "0", "", "名前.weight", "a b", "[red]", "<b>"])


@pytest.mark.parametrize(
    "odd",
    [
        "\x00",
        "\n",
        "\r",
        "\t",
        "\x1b",
        "\x7f",
        "\x85",
        "\x9b",
        "\u202e",
        "\u200b",
        "\ufeff",
        "\u2028",
        "\ud800",
    ],
)
def test_characters_that_do_not_print_are_refused_by_number(odd: str) -> None:
    with pytest.raises(InputError, match=rf"U\+{ord(odd):04X}"):
        require_names(["fine", f"a{odd}b"])


def test_names_have_an_end() -> None:
    require_names(["a" * soundness.MAX_NAME])
    with pytest.raises(InputError, match="1025 characters"):
        require_names(["a" * (soundness.MAX_NAME + 1)])
    with pytest.raises(InputError, match="200001 tensors"):
        require_names(map(str, range(soundness.MAX_TENSORS + 1)))


def test_tensors_are_made_contiguous_and_shared_ones_stay_shared() -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    conjugate = torch.tensor([1 + 2j, 3 - 1j]).conj()
    found = dense({"a": weight, "b": weight, "c": weight.t(), "d": weight[:1], "e": conjugate}, 100)
    assert found["a"] is found["b"]
    assert found["c"].is_contiguous() and torch.equal(found["c"], weight.t())
    assert torch.equal(found["d"], weight[:1])
    assert torch.equal(found["e"], torch.tensor([1 - 2j, 3 + 1j]))
    assert not found["e"].is_conj()


def test_a_buffer_that_was_expanded_is_taken() -> None:
    assert dense({"a": torch.ones(1).expand(1000, 1000)}, 1000)["a"].shape == (1000, 1000)


def test_more_elements_than_are_stored_are_refused_before_they_are_made() -> None:
    bomb = torch.ones(1).expand(10**6, 10**6)
    with pytest.raises(
        InputError, match=r"'b' claims 1000000000000 elements \[1000000, 1000000\], where 4 B"
    ):
        dense({"a": torch.ones(3), "b": bomb}, 1577)
    parts = {f"p{index}": torch.ones(1).expand(10**7 + index) for index in range(20)}
    with pytest.raises(InputError, match="claims"):
        dense(parts, 1577)


ODD = {
    "sparse": lambda: torch.ones(2, 2).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "meta": lambda: torch.ones(2, device="meta"),
    "deep": lambda: torch.ones((1,) * 65),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_dense_is_refused_by_name(odd: str) -> None:
    with pytest.raises(InputError, match=r"tensor 'x' (is not dense|has 65 dimensions)"):
        dense({"x": ODD[odd]()}, 100)
