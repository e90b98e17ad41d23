"""Recurrent layers and cells: hidden units go like channels, layers keep their own, states follow."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from tracing import (
    Net,
    check,
    check_macs,
    example,
    free,
    group_of,
    half,
    patches,
    slots,
    space_of,
    strides,
)

import prunecli
from prunecli.assembly import all_tensors, rebuilt
from prunecli.coupling import trace

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN, "relu": partial(nn.RNN, nonlinearity="relu")}
FORMS = {
    "one layer": {},
    "three layers": {"num_layers": 3},
    "both directions": {"bidirectional": True},
    "layers in both directions": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "without biases": {"bias": False},
}


def features(options: dict[str, object]) -> int:
    return int(options.get("proj_size", 8)) * (2 if options.get("bidirectional") else 1)  # type: ignore[call-overload]


def network(kind: str, **options: object) -> Net:
    torch.manual_seed(0)
    return Net(
        lambda m, x: m.out(m.rnn(m.stem(x))[0]),
        stem=nn.Linear(4, 6), rnn=KINDS[kind](6, 8, **options), out=nn.Linear(features(options), 2),
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_hidden_units_are_pruned(kind: str, form: str) -> None:
    net, x = network(kind, **FORMS[form]), example(5, 2, 4)
    space = check(net, 5, 2, 4)
    layers = int(FORMS[form].get("num_layers", 1)) * (2 if FORMS[form].get("bidirectional") else 1)
    assert sorted(free(space).values()) == [6, *[8] * layers]
    # One hidden_size for all: the groups lose equally many units, each its own.
    assert strides(space) == (
        [dict.fromkeys((n for n in free(space) if n != "stem"), 1)] if layers > 1 else []
    )
    assert patches(space, "rnn") == {("hidden_size", None): 4, ("input_size", None): 3}
    check_macs(net, space, x)


def test_a_unit_is_a_row_of_every_gate_and_a_column() -> None:
    space = check(network("lstm", num_layers=2), 5, 2, 4)
    first, second = group_of(space, "rnn.weight_hh_l0", 1), group_of(space, "rnn.weight_hh_l1", 1)
    assert slots(first) == {
        ("rnn.weight_ih_l0", 0), ("rnn.weight_hh_l0", 0), ("rnn.weight_hh_l0", 1),
        ("rnn.bias_ih_l0", 0), ("rnn.bias_hh_l0", 0), ("rnn.weight_ih_l1", 1),
    }  # fmt: skip
    assert ("out.weight", 1) in slots(second)
    # 5 steps of 2 samples: 4 gates of 8 units, read by 6 features and 8 states, then by 8 and 8.
    own = 5 * 2 * 4 * 8 * ((6 + 8) + (8 + 8))
    assert space.macs.value(space.sizes) == own + 5 * 2 * (4 * 6 + 8 * 2)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_an_lstm_that_projects(options: dict[str, object]) -> None:
    net = network("lstm", proj_size=3, **options)
    space = check(net, 5, 2, 4)
    assert set(free(space).values()) == {6, 8, 3}
    found = patches(space, "rnn")
    assert found.keys() == {("hidden_size", None), ("input_size", None), ("proj_size", None)}
    assert any(guard.op == "<" for guard in space.guards), "a projection makes smaller"
    check_macs(net, space, example(5, 2, 4))


def test_the_last_state_of_one_layer_ties_no_other() -> None:
    net = Net(
        lambda m, x: m.out(m.rnn(m.stem(x))[1][-1]),
        stem=nn.Linear(4, 6),
        rnn=nn.GRU(6, 8, 2),
        out=nn.Linear(8, 2),
    )
    space = check(net, 5, 2, 4)
    assert len(free(space)) == 3
    assert ("out.weight", 1) in slots(group_of(space, "rnn.weight_hh_l1", 1))


@pytest.mark.parametrize(
    "together",
    [lambda h: h.mean(0), lambda h: h.transpose(0, 1).sum(1), lambda h: h.view(2, -1, h.shape[-1])[0]],
)
def test_the_last_states_looked_at_together_are_one(together: object) -> None:
    """A mean over layers adds the first unit of one to the first of the other."""
    net = Net(
        lambda m, x: m.out(together(m.rnn(m.stem(x))[1])),  # type: ignore[operator]
        stem=nn.Linear(4, 6), rnn=nn.GRU(6, 8, 2), out=nn.Linear(8, 2),
    )  # fmt: skip
    space = check(net, 5, 2, 4)
    assert free(space) == {"stem": 6, "rnn": 8}


def test_states_unpacked_by_layer() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        _, (h, c) = m.rnn(m.stem(x))
        first, second = h
        return m.out(torch.cat([first, second, c.unbind()[1]], 1))

    net = Net(forward, stem=nn.Linear(4, 6), rnn=nn.LSTM(6, 8, 2), out=nn.Linear(24, 2))
    assert len(free(check(net, 5, 2, 4))) == 3


def test_states_that_are_given() -> None:
    """A decoder starts where the encoder ended: its units are the encoder's."""

    def forward(m: Net, x: Tensor) -> Tensor:
        _, state = m.encoder(x)
        return m.out(m.decoder(x[:2], state)[0])

    for kind in (nn.LSTM, nn.GRU):
        net = Net(forward, encoder=kind(4, 8), decoder=kind(4, 8), out=nn.Linear(8, 2))
        space = check(net, 5, 2, 4)
        assert free(space) == {"encoder": 8}
        assert patches(space, "decoder") == patches(space, "encoder") == {("hidden_size", None): 4}


@pytest.mark.parametrize("moved", [False, True])
def test_states_of_zeros_that_forward_makes(moved: bool) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        start = torch.zeros(m.rnn.num_layers, x.shape[1], m.hidden, dtype=x.dtype)
        start = start.to(x.device).contiguous() if moved else start
        return m.out(m.rnn(x, (start, start))[0])

    net = Net(forward, rnn=nn.LSTM(4, 8, 2), out=nn.Linear(8, 2), hidden=8)
    space = check(net, 5, 2, 4)
    assert sorted(free(space).values()) == [8, 8]
    assert patches(space, "") == {("hidden", None): 4}
    assert patches(space, "rnn") == {("hidden_size", None): 4}


def test_a_state_put_into_zeros_has_its_units() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        start = torch.zeros(1, x.shape[1], m.rnn.hidden_size, dtype=x.dtype)
        start[0] = m.first(x[0])
        return m.out(m.rnn(x, start)[0])

    net = Net(forward, first=nn.Linear(4, 8), rnn=nn.GRU(4, 8), out=nn.Linear(8, 2))
    space = check(net, 5, 2, 4)
    assert free(space) == {"first": 8}


def test_learnt_states() -> None:
    net = Net(
        lambda m, x: m.out(m.rnn(x, m.start.expand(-1, x.shape[1], -1).contiguous())[0]),
        rnn=nn.GRU(4, 8, 2), out=nn.Linear(8, 2), start=nn.Parameter(torch.randn(2, 1, 8)),
    )  # fmt: skip
    space = check(net, 5, 2, 4)
    assert free(space) == {"rnn": 8}
    assert ("start", 2) in slots(space.by_name["rnn"])


def test_a_constant_state_keeps_the_units() -> None:
    net = Net(
        lambda m, x: m.out(m.rnn(x, torch.ones(1, 2, 8, dtype=x.dtype))[0]),
        rnn=nn.GRU(4, 8),
        out=nn.Linear(8, 2),
    )
    assert not free(space_of(net, 5, 2, 4))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("ordered", [True, False])
def test_packed_sequences(kind: type[nn.RNNBase], ordered: bool) -> None:
    def forward(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([5, 3] if ordered else [3, 5])
        packed = pack_padded_sequence(m.stem(x), lengths, batch_first=True, enforce_sorted=ordered)
        out, last = m.rnn(packed)
        padded, _ = pad_packed_sequence(out, batch_first=True)
        return m.out(padded), m.head((last[0] if isinstance(last, tuple) else last)[-1])

    net = Net(
        forward,
        stem=nn.Linear(4, 6),
        rnn=kind(6, 8, 2, batch_first=True),
        out=nn.Linear(8, 2),
        head=nn.Linear(8, 3),
    )
    space = check(net, 2, 5, 4)
    assert sorted(free(space).values()) == [6, 8, 8]
    check_macs(net, space, example(2, 5, 4))


def test_a_sequence_without_a_batch() -> None:
    space = check(network("lstm"), 5, 4)
    assert sorted(free(space).values()) == [6, 8]


CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_cells_in_a_loop(kind: str, given: bool) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        state = None
        if given:
            zeros = torch.zeros(x.shape[0], m.rnn.hidden_size, dtype=x.dtype)
            state = (zeros, zeros) if kind == "lstm" else zeros
        for step in range(x.shape[1]):
            state = m.rnn(m.stem(x[:, step]), state)
        return m.out(state[0] if isinstance(state, tuple) else state)

    net = Net(forward, stem=nn.Linear(4, 6), rnn=CELLS[kind](6, 8), out=nn.Linear(8, 2))
    space = check(net, 2, 3, 4)
    assert free(space) == {"stem": 6, "rnn": 8}
    assert patches(space, "rnn") == {("hidden_size", None): 4, ("input_size", None): 3}
    check_macs(net, space, example(2, 3, 4))


def test_two_cells_that_pass_their_states() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        first = second = None
        for step in range(3):
            first = m.a(x[:, step], first)
            second = m.b(first[0], second)
        return m.out(second[0])

    net = Net(forward, a=nn.LSTMCell(4, 8), b=nn.LSTMCell(8, 6), out=nn.Linear(6, 2))
    assert free(check(net, 2, 3, 4)) == {"a": 8, "b": 6}


def test_a_looser_run_on_real_tensors_learns_the_same() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.rnn(m.stem(x))[0]
        assert float(x.abs().sum()) < 1e9
        return m.out(h)

    net = network("lstm", num_layers=2)
    wanted, net.function = check(net, 5, 2, 4), forward
    assert check(net, 5, 2, 4) == wanted


def test_flat_weights_follow_when_tensors_are_put_in_place() -> None:
    net, x = network("gru", num_layers=2, bidirectional=True), example(5, 2, 4)
    doubled = rebuilt(net, {name: tensor.detach() * 2 for name, tensor in all_tensors(net).items()})
    assert all(a is b for a, b in zip(doubled.rnn._flat_weights, doubled.rnn.parameters(), strict=True))
    assert not torch.equal(doubled(x), net(x))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_network_is_pruned_saved_and_loaded(kind: str, tmp_path: object) -> None:
    def make() -> Net:
        return network(kind, num_layers=2, bidirectional=True)

    x = example(5, 2, 4)
    result = prunecli.prune(make(), example_inputs=x, speedup=2, tolerance=0.2)
    assert result.report.target.reached > 1.9
    path = f"{tmp_path}/small.safetensors"
    result.save(path)
    loaded = prunecli.load(path, into=make())
    assert torch.equal(loaded(x), result.model(x))
    assert loaded.rnn.hidden_size == loaded.rnn.weight_hh_l0.shape[1] < 8
    assert f"({loaded.stem.out_features}, {loaded.rnn.hidden_size}, " in repr(loaded.rnn)


def test_half_of_a_large_one_is_found_quickly() -> None:
    """The trace never runs the steps one by one."""
    net = Net(lambda m, x: m.out(m.rnn(x)[0]), rnn=nn.LSTM(256, 512, 4), out=nn.Linear(512, 10))
    space = trace(net, (torch.empty(1000, 1, 256, device="meta"),))
    assert len(half(space)) == 4
