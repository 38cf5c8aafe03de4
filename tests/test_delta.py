"""Kimi Delta Attention: the chunked form against the recurrence, packed documents, states, gates without a bound."""

import itertools

import pytest
import torch

from perilune.model.delta import GATES, GROUP_TOKENS, DeltaState, KimiDeltaAttention, init_delta, short_conv
from perilune.model.delta_rule import _safe_block, delta_chunked, delta_recurrent, document_runs

HIDDEN, HEADS, WIDTH, TAPS = 24, 2, 8, 4
# Steepest log decay of a token; the last two need blocks of fewer rows than a chunk has.
STEEP = {"slow": 0.05, "bounded": 5.0, "steep": 20.0, "unbounded": 100.0}
BORDERS = {"one": (), "early": (1, 2, 3), "on-chunks": (32, 64), "off-chunks": (31, 33, 50, 51, 90), "late": (69, 98)}
LENGTH = 99


def random_inputs(seed, length=LENGTH, steepest=1.0, batch=2, dtype=torch.float64):
    """q, k, v, g, beta and a state as a layer would make them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    q, k, v = (normal(batch, length, HEADS, WIDTH) for _ in range(3))
    g = -steepest * torch.rand(q.shape, generator=generator, dtype=dtype)
    unit = torch.nn.functional.normalize
    return [unit(q, dim=-1), unit(k, dim=-1), v, g, normal(batch, length, HEADS).sigmoid(), normal(2, HEADS, 8, 8)]


def segments_at(borders, length=LENGTH, batch=2):
    """Documents of both rows; those of the second row end one token later, and a name comes twice."""
    rows = [[sum(t >= border + row for border in borders) % 2 for t in range(length)] for row in range(batch)]
    return torch.tensor(rows)


def results_and_gradients(rule, inputs, segments, **options):
    inputs = [x.clone().requires_grad_() for x in inputs]
    output, state = rule(*inputs, segments, **options)
    generator = torch.Generator().manual_seed(99)
    loss = sum(
        (x * torch.randn(x.shape, generator=generator, dtype=torch.float64)).sum() for x in (output.double(), state)
    )
    loss.backward()
    return [output.detach(), state.detach(), *(x.grad for x in inputs)]


def relative_error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-30)).item()


def layer_of(gate="softplus", seed=0):
    generator = torch.Generator().manual_seed(seed)
    layer = KimiDeltaAttention(HIDDEN, HEADS, WIDTH, TAPS, 1e-5, gate=gate)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_(0.0, 0.3, generator=generator)
        init_delta(layer, generator)
        for conv in (layer.q_conv1d, layer.k_conv1d, layer.v_conv1d):
            conv.weight.normal_(0.0, 0.5, generator=generator)
    return layer


def random_x(seed, batch, length):
    return torch.randn(batch, length, HIDDEN, generator=torch.Generator().manual_seed(seed))


# The rule


@pytest.mark.parametrize("borders", BORDERS)
@pytest.mark.parametrize("steepest", STEEP)
def test_chunked_equals_recurrent_in_float64_with_gradients(steepest, borders):
    inputs, segments = random_inputs(1, steepest=STEEP[steepest]), segments_at(BORDERS[borders])
    plain = results_and_gradients(delta_recurrent, inputs, segments)
    for chunk in (8, 32):
        fast = results_and_gradients(delta_chunked, inputs, segments, chunk=chunk)
        for ours, theirs in zip(fast, plain, strict=True):
            assert relative_error(ours, theirs) < 1e-12


@pytest.mark.parametrize("steepest", STEEP)
def test_chunked_in_float32_stays_close_to_the_recurrence_in_float64(steepest):
    inputs, segments = random_inputs(2, steepest=STEEP[steepest]), segments_at((20, 47))
    plain = results_and_gradients(delta_recurrent, inputs, segments)
    fast = results_and_gradients(delta_chunked, [x.float() for x in inputs], segments)
    for ours, theirs in zip(fast, plain, strict=True):
        assert ours.dtype == torch.float32
        assert relative_error(ours.double(), theirs) < 5e-6


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 64, 65])
def test_any_length_fits(length):
    inputs = random_inputs(3, length)
    for ours, theirs in zip(delta_chunked(*inputs), delta_recurrent(*inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_every_block_size_is_met_and_fits():
    blocks = set()
    for decay in (1.0, 5.0, 10.0, 20.0, 45.0, 90.0, 1000.0):
        inputs = random_inputs(4, 64)
        inputs[3] = torch.full_like(inputs[3], -decay)
        blocks.add(_safe_block(inputs[3].transpose(1, 2).unflatten(2, (2, 32))))
        for ours, theirs in zip(delta_chunked(*inputs), delta_recurrent(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert blocks == {32, 16, 8, 4, 2, 1}


def test_the_same_key_over_and_over_stays_exact():
    """Powers of the triangular matrix would grow to 1e8 here; substitution does not."""
    q, k, v, g, beta, state = random_inputs(5, 256)
    k = k[:, :1].expand_as(k)
    inputs = [q, k, v, torch.zeros_like(g), torch.full_like(beta, 0.999), state]
    fast, plain = delta_chunked(*(x.float() for x in inputs)), delta_recurrent(*inputs)
    for ours, theirs in zip(fast, plain, strict=True):
        assert relative_error(ours.double(), theirs) < 1e-5


def mixed_decays(shape):
    """Neighbours that forget everything and nothing, in both time and channels."""
    generator = torch.Generator().manual_seed(6)
    steps = torch.tensor([-100.0, -40.0, -5.0, -1e-4, 0.0])
    return steps[torch.randint(0, len(steps), shape, generator=generator)]


def test_mixed_extreme_decays_are_finite_and_right():
    inputs = random_inputs(7)
    inputs[3] = mixed_decays(inputs[3].shape).double()
    segments = segments_at((31, 33, 50))
    plain = results_and_gradients(delta_recurrent, inputs, segments)
    fast = results_and_gradients(delta_chunked, [x.float() for x in inputs], segments)
    for ours, theirs in zip(fast, plain, strict=True):
        assert ours.isfinite().all()
        assert relative_error(ours.double(), theirs) < 1e-4


@pytest.mark.parametrize("rule", [delta_recurrent, delta_chunked], ids=["recurrent", "chunked"])
@pytest.mark.parametrize("border", range(1, 66))
def test_nothing_crosses_a_border(rule, border):
    inputs = random_inputs(8, 67, steepest=0.1)
    state = inputs.pop()
    segments = (torch.arange(67) >= border).long().expand(2, -1)
    output, last = rule(*inputs, state, segments)
    first, _ = rule(*(x[:, :border] for x in inputs), state)
    second, alone = rule(*(x[:, border:] for x in inputs))
    torch.testing.assert_close(output, torch.cat((first, second), dim=1))
    torch.testing.assert_close(last, alone)


def test_documents_count_from_zero_whatever_their_names():
    assert document_runs(torch.tensor([[7, 7, 3, 3, 7]])).tolist() == [[0, 0, 1, 1, 2]]


def test_a_chunk_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="chunk is 24; it must be a power of two"):
        delta_chunked(*random_inputs(9), chunk=24)


def test_training_after_inference():
    """Constants are kept between calls; made in inference mode they could not be saved for a backward pass."""
    layer, x = layer_of(), random_x(0, 1, 70)
    with torch.inference_mode():
        layer(x)
    layer(x)[0].sum().backward()


# The layer


def run(layer, x, segments, state, length_each):
    """Reads x in pieces of the given lengths, the state going along."""
    outputs, start = [], 0
    for length in length_each:
        piece = slice(start, start + length)
        y, state = layer(x[:, piece], None if segments is None else segments[:, piece], state)
        outputs.append(y)
        start += length
    return torch.cat(outputs, dim=1), state


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("lengths", [(40, 33), (1,) * 73, (2, 1, 70), (16, 15, 42), (72, 1)], ids=str)
def test_split_reads_equal_one_read(gate, lengths):
    layer, x = layer_of(gate), random_x(1, 2, 73)
    with torch.no_grad():
        whole, last = layer(x)
        pieces, state = run(layer, x, None, None, lengths)
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(state.conv_BWK, last.conv_BWK)
    torch.testing.assert_close(state.matrix_BHKV, last.matrix_BHKV)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("lengths", [(30, 1, 36), (3, 2, 62), (1, 33, 33), (67,)], ids=str)
def test_packed_documents_equal_each_document_alone(gate, lengths):
    """Outputs, the last state, and gradients of every weight and of the input."""
    layer, x = layer_of(gate), random_x(2, 1, 67).requires_grad_()
    names = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[None]
    weights = random_x(3, 1, 67)

    packed, packed_state = layer(x, names)
    documents = [layer(part) for part in x.split(lengths, dim=1)]
    alone, alone_state = torch.cat([y for y, _ in documents], dim=1), documents[-1][1]
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(packed_state.matrix_BHKV, alone_state.matrix_BHKV, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(packed_state.conv_BWK, alone_state.conv_BWK)
    wanted = [x, *layer.parameters()]
    ours = torch.autograd.grad((packed * weights).sum(), wanted)
    theirs = torch.autograd.grad((alone * weights).sum(), wanted)
    for one, other in zip(ours, theirs, strict=True):
        assert relative_error(one, other) < 1e-4  # float32 sums of terms that cancel


def test_a_state_belongs_to_the_document_of_the_first_token():
    layer, x, before = layer_of(), random_x(4, 1, 40), random_x(5, 1, 25)
    with torch.no_grad():
        _, state = layer(before)
        packed, last = layer(x, torch.tensor([[4] * 18 + [5] * 22]), state)
        first, _ = layer(x[:, :18], None, state)
        second, alone = layer(x[:, 18:])
    torch.testing.assert_close(packed, torch.cat((first, second), dim=1))
    torch.testing.assert_close(last.matrix_BHKV, alone.matrix_BHKV)


def test_the_convolution_leaves_its_last_inputs_of_this_document():
    x = torch.arange(1.0, 6.0).view(1, 5, 1)
    taps, before = torch.tensor([[1000.0, 100.0, 10.0, 1.0]]), torch.tensor([[[7.0, 8.0, 9.0]]])
    y, after = short_conv(x, taps, before, None)
    assert y.flatten().tolist() == [7891.0, 8912.0, 9123.0, 1234.0, 2345.0]
    assert after.tolist() == [[[3.0, 4.0, 5.0]]]
    y, after = short_conv(x, taps, before, torch.tensor([[0, 1, 1, 2, 2]]))
    assert y.flatten().tolist() == [7891.0, 2.0, 23.0, 4.0, 45.0]
    assert after.tolist() == [[[0.0, 4.0, 5.0]]]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_reads_shorter_than_the_convolution_keep_older_inputs(length):
    x = torch.arange(1.0, length + 1).view(1, length, 1)
    _, after = short_conv(x, torch.ones(1, 4), torch.tensor([[[7.0, 8.0, 9.0]]]), None)
    assert after.flatten().tolist() == [7.0, 8.0, 9.0, *range(1, length + 1)][-3:]


def test_many_rows_in_groups_equal_each_row_alone(monkeypatch):
    monkeypatch.setattr("perilune.model.delta.GROUP_TOKENS", 64)
    assert GROUP_TOKENS > 64
    layer, x, segments = layer_of(), random_x(6, 5, 30), segments_at((11, 12), 30, batch=5)
    state = layer.new_state(5)
    state.matrix_BHKV.copy_(torch.arange(5.0)[:, None, None, None])
    state.conv_BWK.copy_(torch.arange(5.0)[:, None, None])
    with torch.no_grad():
        for names in (None, segments):
            whole, last = layer(x, names, state)
            for row in range(5):
                mine = slice(row, row + 1)
                one = DeltaState(state.conv_BWK[mine], state.matrix_BHKV[mine])
                alone, end = layer(x[mine], None if names is None else names[mine], one)
                torch.testing.assert_close(whole[mine], alone)
                torch.testing.assert_close(last.matrix_BHKV[mine], end.matrix_BHKV)
                torch.testing.assert_close(last.conv_BWK[mine], end.conv_BWK)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("bias", [-1e4, -50.0, 50.0, 1e4])
def test_extreme_gates_are_finite(gate, bias):
    layer, x = layer_of(gate), random_x(7, 2, 80).requires_grad_()
    with torch.no_grad():
        layer.dt_bias.copy_(torch.linspace(-1.0, 1.0, HEADS * WIDTH) * bias)
        layer.A_log.copy_(torch.linspace(-3.0, 3.0, HEADS).view_as(layer.A_log))
    y, state = layer(x, segments_at((15, 16, 40), 80))
    (y.square().sum() + state.matrix_BHKV.sum()).backward()
    gradients = [x.grad, *(weight.grad for weight in layer.parameters())]
    assert all(z.isfinite().all() for z in (y, state.matrix_BHKV, *gradients))


def test_states_are_independent_of_what_comes_later():
    layer, x = layer_of(), random_x(8, 1, 20)
    with torch.inference_mode():
        _, state = layer(x)
        copy = state.clone()
        layer(x, None, state)
    assert torch.equal(state.matrix_BHKV, copy.matrix_BHKV) and torch.equal(state.conv_BWK, copy.conv_BWK)
    assert state.nbytes == 4 * (HEADS * WIDTH * 3 * (TAPS - 1) + HEADS * WIDTH * WIDTH)


@pytest.mark.parametrize("gate", GATES)
def test_a_fresh_layer_forgets_at_half_lives_from_1_to_500_tokens(gate):
    layer = KimiDeltaAttention(HIDDEN, 4, 64, TAPS, 1e-5, gate=gate)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
    init_delta(layer, torch.Generator().manual_seed(0))
    with torch.no_grad():
        half_lives = 0.6931472 / -layer.log_decay(random_x(9, 1, 1))[0, 0]
    for head in half_lives:
        assert head.min().item() == pytest.approx(1.0, rel=1e-3)
        assert head.max().item() == pytest.approx(500.0, rel=1e-3)
        assert all(slow > fast for fast, slow in itertools.pairwise(head.tolist()))
    rate = layer.A_log.exp()
    assert bool((rate == 1.0).all()) if gate == "sigmoid" else bool(((rate > 1.0) & (rate < 16.0)).all())
    assert layer.q_conv1d.weight[..., -1].mean().item() == pytest.approx(1.0, abs=0.05)


def test_unknown_gates_are_refused():
    with pytest.raises(ValueError, match="gate is 'tanh'; it must be one of softplus, sigmoid"):
        KimiDeltaAttention(HIDDEN, HEADS, WIDTH, TAPS, 1e-5, gate="tanh")
    with pytest.raises(ValueError, match="negative"):
        KimiDeltaAttention(HIDDEN, HEADS, WIDTH, TAPS, 1e-5, gate="sigmoid", lower_bound=1.0)
