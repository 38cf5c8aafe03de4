"""A backbone in few bits: kernels against their definition, the same bits in every company, and what it costs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from perilune import load
from perilune.api.budget import split_memory
from perilune.config import ModelConfig
from perilune.errors import ConfigError, RequestError, WeightsError
from perilune.kernels import int4_linear_cpu, linear_cpu
from perilune.kernels.threads import get_threads, set_threads
from perilune.model.checkpoint import load_transformer
from perilune.model.quantised import QuantisedLinear, is_quantised, quantised_bytes
from perilune.presets import preset
from perilune.synth import synthesize
from perilune.weights.files import open_checkpoint

KINDS = (("int8", 8), ("int4", 4))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("backbone") / "model"
    synthesize(replace(preset("tiny"), moe_intermediate_size=1024), out, seed=4)
    return out


def made(rows=77, width=96, bits=8):
    torch.manual_seed(rows)
    weight_ND = torch.randn(rows, width) * torch.rand(rows, 1)
    return weight_ND, QuantisedLinear(weight_ND, bits)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 32, 70])
def test_a_product_is_that_of_the_definition(bits, count):
    _, linear = made(bits=bits)
    x_TD = torch.randn(count, 96)
    wanted = linear.plain(x_TD.double().float())
    assert (linear(x_TD) - wanted).abs().max() <= 2e-6 * wanted.abs().max()
    assert linear(x_TD.view(1, count, 96)).shape == (1, count, 77)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_plain_forms_agree(bits):
    _, linear = made(bits=bits)
    x_TD = np.random.default_rng(0).standard_normal((4, 96)).astype(np.float32)
    if bits == 8:
        got = linear_cpu.linear_plain(x_TD, linear.words.numpy())
    else:
        from perilune.weights.int4 import unpack

        got = int4_linear_cpu.linear_int4_plain(x_TD, unpack(linear.words).numpy(), linear.scale.float().numpy(), 77)
    assert np.allclose(got, linear.plain(torch.from_numpy(x_TD)).numpy(), atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_row_has_the_same_bits_alone_and_in_company_on_any_number_of_threads(bits):
    _, linear = made(rows=200, bits=bits)
    x_TD = torch.randn(41, 96)
    together, before = linear(x_TD), get_threads()
    try:
        for threads in (1, 2):
            set_threads(threads)
            assert torch.cat([linear(x_TD[i : i + 1]) for i in range(41)]).equal(together)
    finally:
        set_threads(before)


def test_the_error_of_a_weight_is_half_a_step_at_most():
    weight_ND, linear = made()
    step_N1 = weight_ND.abs().amax(-1, keepdim=True) / 127
    assert bool(((linear.weight - weight_ND).abs() <= 0.5001 * step_N1).all())
    weight_ND, linear = made(bits=4)
    groups = (linear.weight - weight_ND).unflatten(-1, (-1, 32)).abs().amax(-1)
    assert bool((groups <= 0.51 * weight_ND.unflatten(-1, (-1, 32)).abs().amax(-1) / 7 * 1.01).all())


def test_rows_of_zeros_stay_zeros_and_what_is_not_finite_is_refused():
    for bits in (8, 4):
        assert not QuantisedLinear(torch.zeros(3, 64), bits)(torch.ones(2, 64)).any()
        with pytest.raises(WeightsError, match="not finite"):
            QuantisedLinear(torch.full((3, 64), torch.nan), bits)


@pytest.mark.parametrize(("backbone", "bits"), KINDS)
def test_a_model_is_that_whose_weights_were_rounded(directory, backbone, bits):
    model = load_transformer(directory, backbone=backbone)
    rounded = load_transformer(directory)
    small = {name: m for name, m in model.named_modules() if isinstance(m, QuantisedLinear)}
    assert (model.fused is None) == (bits == 4) and len(small) > 5 and "lm_head" in small
    for name, module in small.items():
        assert is_quantised(f"{name}.weight", tuple(rounded.get_submodule(name).weight.shape))
        rounded.get_submodule(name).weight = torch.nn.Parameter(module.weight, requires_grad=False)
    rounded.fused = None
    ids = torch.arange(3, 40)[None]
    wanted = rounded(ids)
    assert (model(ids) - wanted).abs().max() <= 2e-4 * wanted.abs().max()


@pytest.mark.parametrize(("backbone", "most"), [("int8", 0.05), ("int4", 0.4)])
def test_logits_stay_near(directory, backbone, most):
    ids = torch.arange(3, 60)[None]
    exact, near = load_transformer(directory)(ids), load_transformer(directory, backbone=backbone)(ids)
    error = float((near - exact).norm() / exact.norm())
    assert 0 < error < most


@pytest.mark.parametrize(("backbone", "bits"), KINDS)
def test_the_split_counts_what_is_really_held(directory, backbone, bits):
    model = load_transformer(directory, backbone=backbone)
    held = sum(b.nbytes for m in model.modules() if isinstance(m, QuantisedLinear) for b in m.buffers())
    config, checkpoint = ModelConfig.load(directory), open_checkpoint(directory)
    shapes = {f"{n}.weight": (m.rows, m.width) for n, m in model.named_modules() if isinstance(m, QuantisedLinear)}
    assert held == sum(quantised_bytes(shape, backbone) for shape in shapes.values())
    before, after = (split_memory(checkpoint, config, 8 << 30, backbone=b).backbone for b in ("bf16", backbone))
    assert before - after == sum(2 * r * w for r, w in shapes.values()) - held


@pytest.mark.parametrize(("backbone", "bits"), KINDS)
def test_streamed_and_whole_say_the_same(directory, backbone, bits):
    whole = load(directory, backbone=backbone)
    split = whole.memory
    assert split is None
    checkpoint, config = open_checkpoint(directory), ModelConfig.load(directory)
    given = split_memory(checkpoint, config, 8 << 30, backbone=backbone)
    ram = given.backbone + given.work + given.context + given.experts * 3 // 4
    streamed = load(directory, ram=ram, backbone=backbone)
    assert streamed.memory.streamed
    wanted = whole.generate(range(30), max_tokens=8, temperature=0)
    assert streamed.generate(range(30), max_tokens=8, temperature=0).ids == wanted.ids


def test_too_little_memory_names_the_smaller_backbones(directory):
    with pytest.raises(WeightsError, match=r"give at least .* GiB, or .* with backbone int8, or .* with backbone int4"):
        load(directory, ram="1MB")
    with pytest.raises(WeightsError) as told:
        load(directory, ram="1MB", backbone="int4")
    assert "with backbone" not in str(told.value)


def test_other_kinds_are_refused(directory):
    with pytest.raises(RequestError, match="bf16, int8, int4"):
        load(directory, backbone="int2")
    with pytest.raises(ConfigError, match="backbone"):
        load_transformer(directory, backbone="fp8")
    words, scales = np.zeros((32, 8), np.int32), np.zeros((32, 2), np.uint16)
    with pytest.raises(ValueError, match="does not fit"):
        int4_linear_cpu.linear_int4(np.zeros((1, 32), np.float32), words, scales, 4)
    with pytest.raises(ValueError, match="bf16 scales"):
        int4_linear_cpu.linear_int4(np.zeros((1, 64), np.float32), words, scales.astype(np.int16), 4)


def test_the_fused_step_of_an_int8_backbone_is_near_the_plain_one(directory):
    """The plain form puts the scale of a weight to the weight, the fused one to what it is multiplied with."""
    model = load_transformer(directory, backbone="int8")
    states = [model.new_state(), model.new_state()]
    for state, length in zip(states, (9, 30), strict=True):
        model.extend(torch.arange(3, 3 + length), state)
        state.advance(length)
    ids = torch.tensor([4, 5])
    fused, step = model.decode(ids, states), model.fused
    model.fused = None
    plain = model.decode(ids, states)
    assert step is not None and (fused - plain).abs().max() <= 1e-5 * plain.abs().max()
