"""``nn.MultiheadAttention`` and the layers made of it: sizes, masks, and the masked oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from tracing import (
    Net,
    check,
    check_macs,
    check_on,
    example,
    free,
    group_of,
    half,
    patches,
    slots,
    strides,
    subject,
)  # fmt: skip

from prunecli.assembly import all_tensors, rebuilt
from prunecli.coupling import trace
from prunecli.coupling.space import Space
from prunecli.proofs import masked, pruned, relative_error, run
from prunecli.surgery import cut

OPTIONS = {
    "plain": {},
    "without biases": {"bias": False},
    "keys and values of the module's own": {"add_bias_kv": True},
    "a key of zeros": {"add_zero_attn": True},
    "separate weights": {"kdim": 8, "vdim": 10},
    "separate, with keys of its own": {"kdim": 8, "vdim": 10, "add_bias_kv": True, "add_zero_attn": True},
}


def self_attention(m: Net, x: Tensor) -> Tensor:
    h = m.stem(x)
    return m.out(m.attention(h, h, h)[0])


def test_multi_head_attention_module() -> None:
    net = Net(
        self_attention,
        stem=nn.Linear(4, 12), attention=nn.MultiheadAttention(12, 3, batch_first=True), out=nn.Linear(12, 2),
    )  # fmt: skip
    space = check(net, 2, 5, 4)
    held = {group.kind: group.size for group in space.groups if group.frozen}
    assert held["heads"] == 3
    # embed_dim == heads x head size: three features of the stream for each of a head.
    assert [sorted(bundle.values()) for bundle in strides(space)] in ([[1, 3]], [[1, 1, 3]])
    assert ("embed_dim", None) in patches(space, "attention")


def crossed(m: Net, x: Tensor, memory: Tensor) -> Tensor:
    keys = m.keys(memory)
    return m.out(m.attention(m.stem(x), keys, keys if m.values is None else m.values(memory))[0])


@pytest.mark.parametrize("separate", [False, True])
def test_cross_attention_cuts_what_it_attends_to(separate: bool) -> None:
    """Keys and values have widths of their own, and the weights that read them follow."""
    torch.manual_seed(0)
    sizes = {"kdim": 8, "vdim": 10} if separate else {}
    net = Net(
        crossed, stem=nn.Linear(4, 12), keys=nn.Linear(5, 8 if separate else 12),
        values=nn.Linear(5, 10) if separate else None,
        attention=nn.MultiheadAttention(12, 3, batch_first=True, **sizes), out=nn.Linear(12, 2),
    )  # fmt: skip
    inputs = (example(2, 5, 4), example(2, 7, 5))
    space = trace(net, inputs)
    kept = half(space)
    case = subject(net, space, *inputs)
    if separate:
        assert {"keys", "values"} <= free(space).keys()
        assert ("attention.k_proj_weight", 1) in slots(space.by_name["keys"])
        assert ("attention.v_proj_weight", 1) in slots(space.by_name["values"])
        assert patches(space, "attention").items() >= {("kdim", None): 4, ("vdim", None): 5}.items()
    assert group_of(space, "stem.weight").name in kept
    exact = case.keeps_values(kept)
    assert not separate or {"keys", "values"} <= exact.keys()
    assert not exact or case.error(exact) < 1e-9
    assert [t.shape for t in case.output(kept)] == [t.shape for t in case.output({})]


def test_the_head_size_follows_where_heads_stay() -> None:
    net = Net(
        self_attention,
        stem=nn.Linear(4, 12), attention=nn.MultiheadAttention(12, 3, batch_first=True), out=nn.Linear(12, 2),
    )  # fmt: skip
    found = patches(check(net, 2, 5, 4), "attention")
    assert found["head_dim", None] * 3 == found["embed_dim", None] < 12
    assert ("num_heads", None) not in found


def attended(m: Net, x: Tensor, memory: Tensor) -> Tensor:
    mixed, weights = m.attention(m.stem(x), m.keys(memory), m.values(memory), need_weights=m.weighted)
    return m.out(mixed) if weights is None else (m.out(mixed), weights)


def attention(options: dict[str, object], weighted: bool, batch_first: bool) -> Net:
    torch.manual_seed(1)
    module = nn.MultiheadAttention(12, 3, batch_first=batch_first, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Net(
        attended, stem=nn.Linear(4, 12), keys=nn.Linear(5, options.get("kdim", 12)),
        values=nn.Linear(5, options.get("vdim", 12)), attention=module, out=nn.Linear(12, 2),
        weighted=weighted,
    )  # fmt: skip


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_form_of_the_module(name: str, batch_first: bool, weighted: bool) -> None:
    net = attention(OPTIONS[name], weighted, batch_first)
    inputs = (example(2, 5, 4), example(2, 5, 5)) if batch_first else (example(5, 2, 4), example(7, 2, 5))
    space = check_on(net, *inputs)
    assert not space.unknown_operators
    check_macs(net, space, *inputs)
    wanted, found = silenced_and_cut(net, space, *inputs)
    assert relative_error(wanted, found) < 1e-9


@pytest.mark.parametrize("name", OPTIONS)
def test_heads_that_are_freed(name: str) -> None:
    """Features, heads and the size of a head come down together: 12 = 3 x 4 becomes 6 = 2 x 3."""
    net, inputs = attention(OPTIONS[name], False, True), (example(2, 5, 4), example(2, 5, 5))
    space = check_on(net, *inputs, thaw=lambda group: group.kind == "heads")
    found = patches(space, "attention")
    assert (found["embed_dim", None], found["num_heads", None], found["head_dim", None]) == (6, 2, 3)
    assert relative_error(*silenced_and_cut(net, space, *inputs)) < 1e-9
    weighted = trace(attention(OPTIONS[name], True, True), inputs)
    marks = {group.kind: group.value_changing for group in weighted.groups}
    assert marks["heads"] == "the weights of an attention are averaged over it"


def silenced_and_cut(net: Net, space: Space, *inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Half of everything. A smaller head divides by less: the queries of the cut network make up for it."""
    tensors = {name: tensor.detach().double() for name, tensor in all_tensors(net).items()}
    keep = half(space)
    small = pruned(net, space, cut(tensors, space, keep), keep)
    size, ratio = small.attention.embed_dim, small.attention.head_dim / net.attention.head_dim
    assert ratio < 1 and small.attention.head_dim * small.attention.num_heads == size
    names = ("q_proj_weight", "in_proj_weight", "in_proj_bias")
    with torch.no_grad():
        for tensor in (getattr(small.attention, name) for name in names):
            if tensor is not None:
                tensor[:size] *= ratio**0.5
    dense = rebuilt(net, masked(tensors, space, keep))
    return run(dense, inputs, torch.float64), run(small, inputs, torch.float64)


def test_weights_of_every_head_can_be_asked_for() -> None:
    net = Net(
        lambda m, x: m.attention(m.stem(x), m.stem(x), m.out(x), average_attn_weights=False)[1],
        stem=nn.Linear(4, 12), attention=nn.MultiheadAttention(12, 3), out=nn.Linear(4, 12),
    )  # fmt: skip
    space = trace(net, (example(5, 2, 4),))
    assert not [group for group in space.groups if group.kind == "heads"], "their number is an output's"
    assert relative_error(*silenced_and_cut(net, space, example(5, 2, 4))) < 1e-9


@pytest.mark.parametrize("shape", [(5, 5), (6, 5, 5)])
def test_masks(shape: tuple[int, ...]) -> None:
    """A mask per sample and head knows how many heads there are."""
    mask, padding = torch.zeros(shape).masked_fill(torch.ones(shape).triu(1) > 0, -9.0), torch.zeros(2, 5)
    net = Net(
        lambda m, x: m.out(
            m.attention(*[m.stem(x)] * 3, attn_mask=mask.to(x), key_padding_mask=padding.to(x))[0]
        ),
        stem=nn.Linear(4, 12), attention=nn.MultiheadAttention(12, 3, batch_first=True), out=nn.Linear(12, 2),
    )  # fmt: skip
    space = check(net, 2, 5, 4)
    assert len([group for group in space.groups if group.kind == "heads"]) == (len(shape) == 2)
    check_macs(net, space, example(2, 5, 4))


def test_attention_without_a_batch() -> None:
    net = Net(
        lambda m, x: m.out(m.attention(*[m.stem(x)] * 3)[0]),
        stem=nn.Linear(4, 12), attention=nn.MultiheadAttention(12, 3), out=nn.Linear(12, 2),
    )  # fmt: skip
    space = check(net, 5, 4)
    assert len(free(space)) == 4


def test_learnt_queries() -> None:
    """A pooling by attention: the query is a parameter."""
    net = Net(
        lambda m, x: m.out(m.attention(m.query.expand(x.shape[0], -1, -1), m.stem(x), m.stem(x))[0]),
        stem=nn.Linear(4, 12), query=nn.Parameter(torch.randn(1, 1, 12)), out=nn.Linear(12, 2),
        attention=nn.MultiheadAttention(12, 3, batch_first=True),
    )  # fmt: skip
    space = check(net, 2, 5, 4)
    assert ("query", 2) in {slot for group in space.groups for slot in slots(group)}


LAYERS = {
    "encoder": (nn.TransformerEncoder, nn.TransformerEncoderLayer),
    "decoder": (nn.TransformerDecoder, nn.TransformerDecoderLayer),
}


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_stacks_of_transformer_layers(kind: str, norm_first: bool) -> None:
    stack, layer = LAYERS[kind]
    options = {"enable_nested_tensor": False} if kind == "encoder" else {}
    net = Net(
        lambda m, *x: m.out(m.stack(*(m.stem(value) for value in x))),
        stem=nn.Linear(4, 12), out=nn.Linear(12, 2),
        stack=stack(layer(12, 3, 16, norm_first=norm_first, batch_first=True), 2, **options),
    )  # fmt: skip
    inputs = (example(2, 5, 4),) if kind == "encoder" else (example(2, 5, 4), example(2, 7, 4))
    space = check_on(net, *inputs)
    check_macs(net, space, *inputs)
    # The stream, the hidden layers, and two sizes of a head per attention.
    assert len(free(space)) == 1 + 2 + 2 * 2 * len(inputs)
    assert {p.reason for p in space.pinned} <= {"the network's input", "the network's output"}


def test_a_whole_transformer() -> None:
    """It compares the features it is given with ``d_model``, which follows them."""

    def forward(m: Net, source: Tensor, target: Tensor) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(7, dtype=target.dtype)
        return m.out(m.both(m.stem(source), m.stem(target), tgt_mask=causal, tgt_is_causal=True))

    net = Net(
        forward, stem=nn.Linear(4, 12), out=nn.Linear(12, 2),
        both=nn.Transformer(12, 2, 2, 2, 16, batch_first=True),
    )  # fmt: skip
    inputs = example(2, 5, 4), example(2, 7, 4)
    space = check_on(net, *inputs)
    check_macs(net, space, *inputs)
    assert len(free(space)) == 1 + 4 + 2 * 6
    kept = half(space)[group_of(space, "stem.weight").name]
    assert patches(space, "both")["d_model", None] == len(kept) < 12
