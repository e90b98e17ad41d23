from __future__ import annotations

import torch

from prunecli.running.chunks import Chunks, one_thread_each


def test_results_come_in_the_order_of_the_chunks() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread_each(torch.device("cpu")) as chunks:
            assert torch.get_num_threads() == 1
            assert list(chunks.each(lambda x: x * x, range(7))) == [x * x for x in range(7)]
        assert torch.get_num_threads() == 2
        assert (
            list(Chunks(torch.device("cpu")).each(lambda _: torch.is_grad_enabled(), range(3))) == [False] * 3
        )
    finally:
        torch.set_num_threads(threads)
