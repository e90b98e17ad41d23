"""One operation against ``torch.linalg.lstsq`` in float64 on activations that hooks stored, with a design
matrix that knows no patches: its columns are what the layer itself makes of every weight alone.
"""

from __future__ import annotations

import torch
from repair_examples import by_lstsq, convolutions, seen, sweep
from torch import nn

from prunecli.coupling.axes import kept_indices
from prunecli.repair.site import LEAST_SQUARES


def test_every_kind_of_convolution_equals_lstsq_on_stored_activations() -> None:
    torch.manual_seed(0)
    found = sweep(convolutions(), torch.randn(32, 3, 12, 12, dtype=torch.float64), 4)
    keep, space = found.result.plan.keep, found.result.space
    checked = 0
    for name, row in found.done.items():
        layer = name.removesuffix(".weight")
        module = found.repaired.get_submodule(layer)
        if row.method == "":
            continue
        assert row.method == LEAST_SQUARES
        assert row.ridge is not None
        x, _ = seen(found.repaired, layer, found.samples)
        _, y = seen(found.dense, layer, found.samples)
        dim = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        kept = kept_indices(space.axes[name][dim], space.sizes, keep)
        if isinstance(module, nn.ConvTranspose2d) and module.groups > 1:
            kept = torch.cat([kept + group * 3 for group in range(module.groups)])
        after = found.repaired.get_parameter(name)
        constant = module.bias is not None or layer in ("2", "7")
        before = found.cut.get_parameter(name)
        wanted = by_lstsq(module, before, x, y[:, kept], row.ridge, constant)
        scale = float(wanted.abs().max())
        groups = getattr(module, "groups", 1)
        parts = zip(after.chunk(groups), wanted.chunk(groups), before.chunk(groups), strict=True)
        changed = [not torch.equal(part, old) for part, _, old in parts]
        assert sum(changed) >= groups / 2, name
        for index, (part, solved) in enumerate(zip(after.chunk(groups), wanted.chunk(groups), strict=True)):
            assert not changed[index] or float((part - solved).abs().max()) < 1e-6 * scale, name
        if constant and module.bias is not None:
            _, now = seen(found.repaired, layer, found.samples)
            rest = (y[:, kept] - now).movedim(1, -1).reshape(-1, len(kept)).mean(0)
            rest = rest.reshape(groups, -1)[torch.tensor(changed)]
            assert float(rest.abs().max()) < 1e-9 * float(y.abs().max())
        checked += 1
    assert checked >= 6


def test_the_output_comes_nearer_to_the_dense_one() -> None:
    torch.manual_seed(0)
    samples = torch.randn(48, 3, 12, 12, dtype=torch.float64)
    found = sweep(convolutions(), samples[:32], 4)
    with torch.no_grad():
        wanted, cut, repaired = (net(samples[32:]) for net in (found.dense, found.cut, found.repaired))
    assert float((repaired - wanted).norm()) < 0.7 * float((cut - wanted).norm())
