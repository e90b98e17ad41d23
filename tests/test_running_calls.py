from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.running.calls import Call, Parameters, recognise


class Watch(TorchDispatchMode):
    def __init__(self, known: Parameters) -> None:
        super().__init__()
        self.known, self.found = known, list[tuple[Call, Tensor]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        call = recognise(func, args, kwargs or {}, self.known)
        if call is not None:
            self.found.append((call, out[0] if isinstance(out, tuple) else out))
        return out


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 4))
        self.b = nn.Parameter(torch.randn(6))


W, X = "w", torch.randn(2, 3, 4)
WAYS: dict[str, Callable[[Holder], Tensor]] = {
    "linear": lambda h: F.linear(X, h.w, h.b),
    "linear of what is not contiguous": lambda h: F.linear(X.transpose(0, 1), h.w, h.b),
    "no bias": lambda h: F.linear(X, h.w),
    "matmul": lambda h: X @ h.w.t(),
    "addmm": lambda h: torch.addmm(h.b, X[0], h.w.t()),
    "einsum": lambda h: torch.einsum("abi,oi->abo", X, h.w),
    "some rows": lambda h: F.linear(X, h.w[2:4]),
    "the same for all in the batch": lambda h: torch.bmm(X, h.w.t().expand(2, 4, 6)),
}


@pytest.mark.parametrize("way", WAYS)
def test_products_with_a_parameter_are_found_however_they_are_written(way: str) -> None:
    holder = Holder()
    with torch.no_grad(), Watch(Parameters(holder)) as watch:
        wanted = WAYS[way](holder)
    ((call, _),) = watch.found
    assert (call.kind, call.name) == ("product", "w")
    plain = call.x @ call.weight
    left = wanted.reshape(-1, wanted.shape[-1]) - plain
    assert torch.allclose(left, left[:1].expand_as(left), atol=1e-5), "the product, but for a constant"


def test_a_product_of_activations_is_none_and_a_convolution_by_what_was_computed_has_no_name() -> None:
    holder = Holder()
    with torch.no_grad(), Watch(Parameters(holder)) as watch:
        X @ X.transpose(1, 2)
        F.conv1d(X.transpose(1, 2), (holder.w * 2)[..., None])
    ((call, _),) = watch.found
    assert (call.kind, call.name) == ("convolution", None)


def test_norms_with_running_statistics_only() -> None:
    norm, plain = nn.BatchNorm1d(4).eval(), nn.BatchNorm1d(4, track_running_stats=False).eval()
    with torch.no_grad(), Watch(Parameters(nn.ModuleList([norm, plain]))) as watch:
        norm(X[0])
        plain(X[0])
    ((call, _),) = watch.found
    assert (call.kind, call.name) == ("norm", "0.running_mean")
