"""A model with a GPU, and on the processor that stands in for one: the same network, wherever its experts lie."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from devices import DEVICES, on_gpu
from tiny_models import memory_transformer, tiny_transformer, write_model
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError, FakeTensorMode

from perilune.engine.cache import PrefixCache
from perilune.engine.engine import Engine
from perilune.engine.runner import Runner
from perilune.engine.types import Request, SamplingParams
from perilune.errors import ConfigError
from perilune.kernels.int4_cpu import expert_ffn_plain
from perilune.model.checkpoint import device_slots, expert_store, load_transformer
from perilune.model.layers import bf16_parts, linear
from perilune.model.model import Transformer
from perilune.model.moe import Router, Routing
from perilune.model.placed import PlacedExperts, Placement, rounded
from perilune.presets import preset
from perilune.synth import synthesize

EVERY = 10_000


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("placed") / "model"
    synthesize("tiny", out, seed=3)
    return out


def placed(directory, device, slots, **options):
    return load_transformer(directory, placement=Placement(device, slots), **options)


def cache_of(directory, more):
    """Bytes of an expert cache for what a token uses of a layer, and `more`."""
    store = expert_store(load_transformer(directory, expert_cache=1 << 30))
    return (store.config.num_experts_per_tok + more) * store.slot_bytes


def outputs(model, steps=12):
    """Logits of two prompts and of tokens after them, long enough for experts to move."""
    runner = Runner(model)
    states, made = [runner.new_state() for _ in range(2)], []
    for seed, state in enumerate(states):
        ids = np.random.default_rng(seed).integers(0, model.config.vocab_size, 70 + seed).tolist()
        made.append(runner.extend(ids, state, last_only=False))
    made += [torch.from_numpy(runner.decode([step, step + 7], states)) for step in range(steps)]
    return torch.cat(made)


def replies(model):
    engine = Engine(model, prefix_cache=PrefixCache(0, 0))
    ids = np.random.default_rng(5).integers(0, model.config.vocab_size, 40).tolist()
    params = SamplingParams(max_tokens=12, temperature=0)
    return [token.id for token in engine.stream(Request(tuple(ids), params, frozenset()))]


@pytest.mark.parametrize("int4", ["float", "int8"])
@pytest.mark.parametrize("slots", [0, 3, EVERY])
@pytest.mark.parametrize("cache", [None, 0, 4], ids=["mapped", "least", "some"])
def test_logits_hardly_depend_on_where_an_expert_lies(directory, device, int4, slots, cache):
    budget = None if cache is None else cache_of(directory, cache)
    plain = load_transformer(directory, int4_mode=int4)
    plain.fused = None
    wanted = outputs(plain)
    model = placed(directory, device, slots, int4_mode=int4, expert_cache=budget)
    got = outputs(model)
    least = 2e-6 if device.type == "cpu" else 2e-5
    assert (got - wanted).abs().max() <= (least if int4 == "float" else 2e-2) * wanted.abs().max()
    where = device_slots(model)
    if slots == 0:
        assert where is None and (device.type != "cpu" or got.equal(wanted))
    else:
        assert where.stats.hits > 0 and where.stats.moves > 0
    assert replies(model) == replies(plain)
    if cache is not None:
        pinned = 0 if where is None else sum(len(moves) for moves in where._moving.values())
        assert sum(slot.users for slot in expert_store(model).slots) == pinned


def test_the_same_requests_find_the_same_places(directory, device):
    one, other = (placed(directory, device, 5, expert_cache=cache_of(directory, 3)) for _ in range(2))
    assert outputs(one).equal(outputs(other)) and replies(one) == replies(other)
    assert device_slots(one)._where == device_slots(other)._where


def test_where_nothing_moves_any_more_a_request_gives_the_same_bits_again(directory, device):
    model = placed(directory, device, 5)
    outputs(model)
    device_slots(model).frozen = True
    for _ in range(2):
        again = outputs(model)
    moves = device_slots(model).stats.moves
    assert outputs(model).equal(again) and device_slots(model).stats.moves == moves


def test_an_expert_that_moved_leaves_the_cache_in_memory(directory, device):
    model = placed(directory, device, EVERY, expert_cache=cache_of(directory, EVERY))
    for _ in range(4):
        outputs(model)
    store, slots = expert_store(model), device_slots(model)
    on_device = {(layer, expert) for layer, held in slots._where.items() for expert in held}
    assert len(on_device) > store.experts // 2 and not on_device & set(store._held)
    before = store.stats.bytes_read
    outputs(model)
    assert store.stats.bytes_read == before


def test_experts_on_the_device_are_those_of_the_definition(directory, device):
    model = placed(directory, device, EVERY)
    for _ in range(4):
        outputs(model)
    floats = load_transformer(directory, int4_mode="unpacked")
    layer, block = next((i, b) for i, b in enumerate(model.blocks) if hasattr(b.mlp, "experts"))
    held = device_slots(model).here(layer)
    expert, slot = next(iter(held.items()))
    triple = floats.blocks[layer].mlp.experts.weights[expert]
    assert all(device_slots(model).matrix(slot, i).cpu().equal(weight) for i, weight in enumerate(triple))
    x_TD, ids_TK, ones_TK = torch.randn(3, model.config.hidden_size), torch.full((3, 1), expert), torch.ones(3, 1)
    wanted = expert_ffn_plain(
        x_TD.double().numpy(), ids_TK.numpy(), ones_TK.numpy(), {expert: [w.double().numpy() for w in triple]}
    )
    got = block.mlp.experts(x_TD.to(device), Routing(ids_TK.to(device), ones_TK.to(device), ones_TK.to(device)))
    assert np.abs(got.cpu().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_float_experts_stay_in_memory(tmp_path, device):
    write_model(tmp_path, tiny_transformer(), tokenizer=False)
    model = placed(tmp_path, device, 4)
    assert all(isinstance(b.mlp.experts, PlacedExperts) for b in model.blocks if hasattr(b.mlp, "experts"))
    assert (
        outputs(model).allclose(outputs(load_transformer(tmp_path)), rtol=0, atol=1e-3) and device_slots(model) is None
    )


def test_what_a_gpu_does_not_take_is_refused(tmp_path, directory, device):
    write_model(tmp_path, memory_transformer(), tokenizer=False)
    with pytest.raises(ConfigError, match="latent attention alone"):
        placed(tmp_path, device, 0)
    with pytest.raises(ConfigError, match="backbone int8 is for the memory of a CPU"):
        placed(directory, device, 0, backbone="int8")


def test_three_bfloat16_numbers_are_one_float32():
    x_TD = torch.randn(9, 64) * 10.0 ** torch.randint(-20, 20, (9, 64))
    parts_3TD = bf16_parts(x_TD)
    assert parts_3TD.dtype == torch.bfloat16 and parts_3TD.float().flip(0).sum(0).equal(x_TD)
    weight_ND = torch.randn(5, 64).bfloat16()
    wanted = (x_TD.double() @ weight_ND.double().T).float()
    torch.testing.assert_close((parts_3TD.float() @ weight_ND.float().T).sum(0), wanted, rtol=1e-4, atol=0)


@on_gpu
@pytest.mark.parametrize("rows", [1, 5, 600])
@torch.inference_mode()
def test_a_gpu_multiplies_bfloat16_weights_as_exactly_as_the_kernel(rows):
    x_TD, weight_ND = torch.randn(rows, 512) * torch.rand(rows, 1), torch.randn(384, 512).bfloat16()
    wanted = x_TD.double() @ weight_ND.double().T
    for got in (linear(x_TD, weight_ND), linear(x_TD.cuda(), weight_ND.cuda()).cpu()):
        assert (got - wanted).abs().max() <= 4e-6 * wanted.abs().max()


def test_activations_are_rounded_to_int8_by_groups():
    x_RD = torch.randn(4, 96) * torch.rand(4, 1)
    x_RD[0, :32] = 0
    steps = x_RD.unflatten(-1, (-1, 32)).abs().amax(-1) / 127
    assert bool(((rounded(x_RD) - x_RD).unflatten(-1, (-1, 32)).abs().amax(-1) <= 0.5001 * steps).all())
    assert rounded(rounded(x_RD)).allclose(rounded(x_RD), atol=1e-6)


def fake_backbone(config):
    """A model of fake tensors: they know their device without having one, and refuse an operation on two."""
    with torch.device("meta"):
        model = Transformer(config)
    for weight in model.parameters():
        weight.data = weight.data.bfloat16()
    model.embed_tokens.weight = torch.nn.Parameter(torch.empty(config.vocab_size, config.hidden_size))
    model.rotary.device = torch.device("meta")
    return model


def test_every_operation_runs_where_its_weights_are():
    config = replace(preset("tiny"), first_k_dense_replace=3, n_routed_experts=0, quantization=None)
    extend, decode = (f.__wrapped__ for f in (Transformer.extend_together, Transformer.decode))
    with FakeTensorMode(), torch.no_grad():
        with pytest.raises(FakeTensorDeviceMismatchError):
            linear(torch.ones(2, 3), torch.ones(4, 3, device="meta"))
        model = fake_backbone(config)
        state, other = model.new_state(), model.new_state()
        for _ in range(2):  # the second time with rows before it, and so with a mask
            (x_TD,) = extend(model, [(torch.arange(600), state)])
            state.advance(600)
        logits_TV = model.logits(x_TD)
        extend(model, [(torch.arange(5), other)])
        other.advance(5)
        logits_BV = decode(model, torch.tensor([3, 4]), [state, other.fork()])
    for logits in (logits_TV, logits_BV):
        assert logits.device.type == "meta" and logits.dtype == torch.float32


def test_the_router_chooses_where_its_weights_are():
    config = replace(preset("tiny"), n_group=2, topk_group=1)
    with FakeTensorMode(), torch.no_grad(), torch.device("meta"):
        routing = Router(config)(torch.ones(4, config.hidden_size))
    assert {t.device.type for t in (routing.ids_TK, routing.weights_TK, routing.scores_TE)} == {"meta"}
