from __future__ import annotations

import pytest
import torch

from prunecli.training.order import epoch_order, places, steps_per_epoch


def test_each_sample_once_and_another_order_each_epoch_and_seed() -> None:
    orders = [epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(order.sort().values.tolist() == list(range(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 6
    assert torch.equal(epoch_order(50, 1, 2), orders[-1])


@pytest.mark.parametrize(
    ("count", "size", "steps", "seen"),
    [(20, 5, 4, 20), (23, 5, 5, 23), (21, 5, 4, 20), (3, 5, 1, 3), (1, 5, 1, 1), (3, 1, 3, 3)],
)
def test_a_last_batch_of_one_is_left_out(count: int, size: int, steps: int, seen: int) -> None:
    assert steps_per_epoch(count, size) == steps
    order = epoch_order(count, 0, 0)
    taken = torch.cat([places(order, step, size) for step in range(steps)])
    assert torch.equal(taken, order[:seen])
