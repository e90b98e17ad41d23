"""The run itself: the module is left as it was, constants are read, values are looked at if they must be."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, error, example, free, half, reason, space_of, subject

from prunecli.assembly import all_tensors, rebuilt, skeleton
from prunecli.coupling import trace
from prunecli.coupling.axes import Fixed
from prunecli.proofs import masked, pruned, relative_error, run
from prunecli.surgery import cut


class Leaky(nn.Module):
    """Stores tensors on itself, counts its calls, swaps a buffer, and reads its own numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.width, self.shape, self.cache, self.calls = 6, [2, 3], None, 0
        self.history, self.by_size, self.seen = [], {}, set()
        self.register_buffer("table", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.a(x))
        self.cache = h
        self.calls += 1
        self.extra = {"seen": h}
        self.history.append(h)
        self.by_size[len(x)] = h
        self.seen.add(len(x))
        self.b.register_forward_hook(lambda *_: None)
        self.table = self.table + h.mean(0)
        self.b.last = h
        return self.b(h.view(-1, *self.shape).reshape(-1, self.width))


def photograph(module: nn.Module) -> dict[str, object]:
    """Everything a module holds, by identity for tensors and by type and value for numbers."""
    found: dict[str, object] = {}
    for path, child in module.named_modules():
        for key, value in child.__dict__.items():
            if key in ("_parameters", "_buffers", "_modules"):
                found[f"{path}:{key}"] = {name: id(item) for name, item in value.items()}
            else:
                found[f"{path}:{key}"] = (type(value), copy.copy(value))
    for name, tensor in all_tensors(module).items():
        found[f"value of {name}"] = (tensor._version, tensor.sum().item(), set(vars(tensor)))
    return found


@pytest.mark.parametrize("training", [False, True])
def test_the_module_is_left_exactly_as_it_was(training: bool) -> None:
    module = Leaky().train(training)
    module.norm.eval()
    before = photograph(module)
    forward_hooks = len(nn.modules.module._global_forward_hooks)
    trace(module, (example(5, 4),))
    assert photograph(module) == before
    assert type(module.width) is int and type(module.shape[0]) is int
    assert module.cache is None and not hasattr(module, "extra") and not hasattr(module.b, "last")
    assert len(nn.modules.module._global_forward_hooks) == forward_hooks
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_module_is_left_as_it_was_when_forward_raises() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        m.cache = m.a(x)
        raise KeyError("forward's own")

    net = Net(forward, a=nn.Linear(4, 6), width=6)
    before = photograph(net)
    with pytest.raises(KeyError, match="forward's own"):
        trace(net, (example(2, 4),))
    assert photograph(net) == before
    assert not nn.modules.module._global_forward_hooks
    assert torch.backends.mha.get_fastpath_enabled()


def test_batch_norm_counters_do_not_move_in_train_mode() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)).train()
    trace(net, (example(3, 4),))
    assert net[1].num_batches_tracked == 0
    assert net[1].running_mean.abs().sum() == 0
    assert net.training


def test_nothing_is_computed_on_meta_parameters() -> None:
    net = skeleton(Leaky().eval())
    assert free(trace(net, (torch.empty(5, 4, device="meta"),))) == free(
        trace(Leaky().eval(), (example(5, 4),))
    )


def test_constants_made_in_forward_are_real() -> None:
    """A shape or a stride read from a constant with ``.item()`` is the right number."""

    def forward(m: Net, x: Tensor) -> Tensor:
        stride = torch.tensor([8.0, 16.0, 32.0])
        scale = int((stride / 8).sum().item())
        assert scale == 7
        grid = torch.arange(x.shape[1], device=x.device)
        steps = [1 / step for step in stride.tolist()]
        return m.b(m.a(x) * steps[0]) + grid[:3].sum()

    net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    assert free(check(net, 2, 4)) == {"a": 6}


def test_a_constant_meeting_an_axis_keeps_it() -> None:
    net = Net(lambda m, x: m.b(m.a(x) + torch.arange(6.0)), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    space = space_of(net, 2, 4)
    assert not free(space)
    assert reason(space, "a.weight") == "it meets a constant tensor of the network"


def test_a_buffer_follows_the_axis_it_meets() -> None:
    net = Net(lambda m, x: m.b(m.a(x) * m.table), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    net.register_buffer("table", torch.linspace(1, 2, 6))
    space = check(net, 2, 4)
    assert free(space) == {"a": 6}
    assert space.axes["table"] == space.axes["a.bias"]


def with_table(table: Tensor, persistent: bool = False) -> Net:
    net = Net(lambda m, x: m.b(m.a(x) * m.table), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    net.register_buffer("table", table, persistent=persistent)
    return net


def test_a_buffer_without_a_file_is_cut_where_its_indices_are_the_same() -> None:
    net = with_table(torch.full((6,), 0.5))
    space = check(net, 2, 4)
    assert free(space) == {"a": 6}
    assert space.axes["table"] == space.axes["a.bias"]
    both = with_table(torch.linspace(1, 2, 2)[:, None].expand(2, 6))
    space = check(both, 5, 2, 4)
    assert space.axes["table"] == (Fixed(2), space.axes["a.bias"][0])


@pytest.mark.parametrize(
    "table",
    [torch.linspace(1, 2, 6), torch.tensor([1.0, 1, 1, 1, 1, 2]), torch.ones(6, device="meta"),
     torch.tensor([0.0, 0, 0, -0.0, 0, 0])],
)  # fmt: skip
def test_a_buffer_without_a_file_stays_where_they_differ(table: Tensor) -> None:
    space = space_of(with_table(table), 2, 4)
    assert not free(space)
    assert reason(space, "a.weight") == (
        "its indices differ in the buffer table, which is not in the checkpoint"
    )


@pytest.mark.parametrize(("table", "same"), [(torch.linspace(1, 2, 6), False), (torch.full((6,), 2.0), True)])
def test_the_first_indices_stand_for_others_only_where_all_are_the_same(table: Tensor, same: bool) -> None:
    """What whoever loads the network would make of the buffer, against the masked network."""
    net = with_table(table, persistent=True)
    space = space_of(net, 2, 4)
    case = subject(net, space, example(2, 4))
    keep = half(space)
    small = pruned(net, space, cut(all_tensors(net), space, keep), keep)
    small.table = table[: len(keep["a"])]
    silenced = rebuilt(net, masked(case.tensors, space, keep)).eval()
    wanted, found = (run(module, case.inputs, torch.float64) for module in (silenced, small))
    assert (relative_error(wanted, found) < 1e-9) is same
    assert same or relative_error(wanted, found) > 1e-3


@pytest.mark.parametrize(
    "look",
    [
        lambda h: h.sum().item(), lambda h: (h > 0).nonzero().shape[0], lambda h: bool((h > 1e9).any()),
        lambda h: h[h > 0].sum().item(), lambda h: h.tolist(),
    ],
)  # fmt: skip
def test_a_forward_that_looks_at_values_runs_on_real_tensors(look: Callable[[Tensor], object]) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        h = F.relu(m.b(m.a(x)))
        look(h[:, :0].sum() + m.c(h))
        return m.c(h)

    net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 8), c=nn.Linear(8, 3))
    space = space_of(net, 2, 4)
    assert free(space)["a"] == 6
    assert space.macs.value(space.sizes) >= 2 * (4 * 6 + 6 * 8 + 8 * 3)


def test_a_real_run_costs_the_same() -> None:
    """The failed first run leaves nothing in the cost."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x)
        out = m.b(h)
        return out if m.blind or float(out.sum()) < 1e9 else h

    costs = []
    for blind in (True, False):
        net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3), blind=blind)
        space = space_of(net, 2, 4)
        costs.append(space.macs)
        assert free(space) == {"a": 6}
    assert costs[0] == costs[1]


class Auxiliary(nn.Module):
    """A second head that exists only in train mode, as in GoogLeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head, self.drop = nn.Linear(4, 6), nn.Linear(6, 3), nn.Dropout(0.5)
        self.aux = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))

    def forward(self, x: Tensor) -> object:
        h = self.a(x)
        return (self.head(h), self.aux(h)) if self.training else self.head(self.drop(h))


def test_auxiliary_heads_are_traced_in_train_mode() -> None:
    net = Auxiliary().eval()
    modes = {name: child.training for name, child in net.named_modules()}
    space = trace(net, (example(1, 4),))
    assert free(space) == {"a": 6, "aux.0": 5}
    assert ("aux.0.weight", 1) in {(s.parameter, s.dim) for s in space.by_name["a"].slots}
    assert {name: child.training for name, child in net.named_modules()} == modes
    assert space.macs.value(space.sizes) == 4 * 6 + 6 * 3, "train mode is not counted"
    assert error(net, space, example(1, 4)) < 1e-9


def test_a_network_that_cannot_be_trained_on_its_inputs_is_traced_all_the_same() -> None:
    """A detector asks for targets in train mode; what it never uses in eval mode stays."""

    def forward(m: Net, x: Tensor) -> Tensor:
        if m.training:
            raise ValueError("targets are missing")
        return m.b(m.a(x))

    net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3), only_trained=nn.Linear(6, 2))
    space = check(net, 1, 4)
    assert free(space) == {"a": 6}
    assert reason(space, "only_trained.weight", 0) == "forward never uses it"
    assert not net.training


def test_an_auxiliary_head_that_looks_at_values_runs_on_real_tensors() -> None:
    def forward(m: Net, x: Tensor) -> object:
        h = m.a(x)
        return (m.b(h), m.aux(h) * float(x.sum())) if m.training else m.b(h)

    net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3), aux=nn.Linear(6, 2))
    assert ("aux.weight", 1) in {(s.parameter, s.dim) for s in check(net, 1, 4).by_name["a"].slots}


def test_what_forward_never_uses_is_pinned() -> None:
    net = Net(lambda m, x: m.a(x), a=nn.Linear(4, 6), unused=nn.Linear(5, 7))
    space = space_of(net, 2, 4)
    assert reason(space, "unused.weight", 0) == reason(space, "unused.weight", 1) == "forward never uses it"


def test_tied_weights_are_one() -> None:
    """An auto-encoder whose decoder is its encoder turned around."""
    net = Net(lambda m, x: F.linear(F.relu(m.a(x)), m.a.weight.t()), a=nn.Linear(4, 6))
    space = check(net, 2, 4)
    assert free(space) == {"a": 6}
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    tied = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(6, 2))
    shared = space_of(tied, 2, 4)
    assert free(shared) == {"0": 6}
    assert shared.axes["2.weight"] == shared.axes["4.weight"]


def test_inputs_may_be_nested_and_integers() -> None:
    net = Net(
        lambda m, pair, scale: m.b(m.a(pair["x"]) * scale + pair["y"][0].sum()),
        a=nn.Linear(4, 6),
        b=nn.Linear(6, 3),
    )
    space = trace(net, ({"x": example(2, 4), "y": [example(3)]}, 2))
    assert free(space) == {"a": 6}


def test_two_traces_are_equal() -> None:
    net = Leaky().eval()
    assert trace(net, (example(5, 4),)) == trace(net, (example(5, 4),))


@pytest.mark.parametrize("look", [False, True])
def test_random_numbers_of_the_process_are_left_where_they_were(look: bool) -> None:
    """Dropout in train mode draws some, on real tensors as well."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = F.dropout(m.a(x), training=True)
        assert not look or len(h.tolist()) == 2
        return m.b(m.drop(h) + torch.rand(6))

    net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3), drop=nn.Dropout(0.5)).train()
    torch.manual_seed(3)
    wanted = torch.get_rng_state()
    trace(net, (example(2, 4),))
    assert torch.equal(torch.get_rng_state(), wanted)
