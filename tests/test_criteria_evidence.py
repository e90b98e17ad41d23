from __future__ import annotations

import torch

from prunecli.criteria.evidence import INPUT_NEEDS, LOSS_NEEDS, NEEDS, NOTHING, IndexInputs


def test_every_need_is_of_the_loss_or_of_inputs() -> None:
    assert NEEDS.keys() == LOSS_NEEDS | INPUT_NEEDS
    assert not LOSS_NEEDS & INPUT_NEEDS
    assert not (NOTHING.gradient or NOTHING.inputs or NOTHING.scores or NOTHING.notes)


def test_sums_of_inputs_add_up() -> None:
    a, b = (IndexInputs(n, torch.full((2,), float(n)), torch.full((2,), n / 2)) for n in (3, 4))
    both = a + b
    assert (both.count, both.magnitude.tolist(), both.squares.tolist()) == (7, [7.0, 7.0], [3.5, 3.5])
