"""Streamed experts: the bits of experts in memory whatever the cache holds, and faults that end one request only."""

import os
import shutil
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from perilune.engine.cache import PrefixCache
from perilune.engine.engine import Engine
from perilune.engine.runner import Runner
from perilune.engine.types import Request, SamplingParams
from perilune.errors import WeightsError
from perilune.model import streamed
from perilune.model.checkpoint import expert_store, load_transformer
from perilune.model.moe import Routing
from perilune.synth import synthesize
from perilune.weights.files import open_checkpoint


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("streamed") / "model"
    synthesize("tiny", out, seed=3)
    return out


def slots(directory, count):
    """A cache budget of so many experts."""
    one = expert_store(load_transformer(directory, expert_cache=1 << 30))
    return (one.config.num_experts_per_tok + count) * one.slot_bytes


def outputs(model, prefill_chunk=512):
    runner = Runner(model, prefill_chunk)
    states, made = [runner.new_state() for _ in range(2)], []
    for seed, state in enumerate(states):
        ids = np.random.default_rng(seed).integers(0, model.config.vocab_size, 70 + seed).tolist()
        made.append(runner.extend(ids, state, last_only=False))
    made += [torch.from_numpy(runner.decode([step, step + 7], states)) for step in range(5)]
    return torch.cat(made)


@pytest.mark.parametrize("int4", ["float", "int8"])
@pytest.mark.parametrize("count", [0, 3, 10_000])
@pytest.mark.parametrize("kept", [0, 1 << 30], ids=["in order", "as they come"])
def test_every_cache_gives_the_bits_of_experts_in_memory(directory, monkeypatch, count, int4, kept):
    monkeypatch.setattr(streamed, "KEPT_BYTES", kept)
    whole = outputs(load_transformer(directory, int4_mode=int4))
    model = load_transformer(directory, int4_mode=int4, expert_cache=slots(directory, count))
    assert outputs(model).equal(whole)
    store = expert_store(model)
    assert len(store.slots) == min(count + model.config.num_experts_per_tok, store.experts) and store.stats.misses > 0
    assert all(slot.users == 0 for slot in store.slots)


@pytest.fixture
def own(directory, tmp_path):
    """A copy that a test may break."""
    return shutil.copytree(directory, tmp_path / "own")


def ask(model):
    return Runner(model).extend([1, 2, 3, 4], Runner(model).new_state())


@pytest.mark.parametrize("kept", [0, 1 << 30], ids=["in order", "as they come"])
def test_a_shard_that_changes_ends_the_request_and_nothing_else(own, monkeypatch, kept):
    monkeypatch.setattr(streamed, "KEPT_BYTES", kept)
    model = load_transformer(own, expert_cache=slots(own, 0))
    whole = ask(model)
    shards = sorted(own.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    times = [path.stat() for path in shards]
    for path in shards:
        path.touch()
    with pytest.raises(WeightsError, match="changed while it was in use; open the model again"):
        for step in range(9):
            Runner(model).extend([7 * step + i for i in range(40)], Runner(model).new_state())
    store = expert_store(model)
    assert all(slot.users == 0 for slot in store.slots)
    for path, stat in zip(shards, times, strict=True):
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ask(model).equal(whole)


def test_a_read_that_fails_is_named_and_can_be_tried_again(own, monkeypatch):
    model = load_transformer(own, expert_cache=slots(own, 0))
    whole = ask(model)
    cuts = [OSError(5, "Input/output error"), 0]

    def broken(descriptor, buffers, offset):
        if isinstance(cuts[0], OSError):
            raise cuts[0]
        return 0

    for says in ("Input/output error", "it was longer when it was opened"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "preadv", broken)
            with pytest.raises(WeightsError, match=says):
                for step in range(9):
                    Runner(model).extend([7 * step + i for i in range(40)], Runner(model).new_state())
        cuts.pop(0)
    assert ask(model).equal(whole)


def test_reading_ahead_changes_what_is_read_and_not_what_is_said(directory):
    whole = outputs(load_transformer(directory))
    model = load_transformer(directory, expert_cache=slots(directory, 10))
    assert model.fused.guesses and outputs(model).equal(whole)
    assert expert_store(model).stats.ahead > 0
    model.fused.guesses.clear()
    assert outputs(model).equal(whole)


def test_files_that_refuse_direct_reads_are_read_all_the_same(directory, monkeypatch):
    real = os.open

    def refusing(path, flags, *rest):
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return real(path, flags, *rest)

    whole = outputs(load_transformer(directory))
    monkeypatch.setattr(os, "open", refusing)
    assert outputs(load_transformer(directory, expert_cache=slots(directory, 2))).equal(whole)


def test_a_cache_that_cannot_hold_one_token_is_refused(directory):
    with pytest.raises(WeightsError, match=r"must hold the [0-9]+ experts that a token uses"):
        load_transformer(directory, expert_cache=1000)


def test_layers_first_is_chunk_by_chunk(directory, monkeypatch):
    model = load_transformer(directory)
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, 150).tolist()
    state = Runner(model).new_state()
    parts = torch.cat([Runner(model).extend(ids[a : a + 64], state, last_only=False) for a in (0, 64, 128)])
    monkeypatch.setattr("perilune.model.model.PIECE", 64)
    assert Runner(model).extend(ids, Runner(model).new_state(), last_only=False).equal(parts)


def test_a_closed_store_has_no_threads_left(directory):
    before = threading.active_count()
    model = load_transformer(directory, expert_cache=slots(directory, 2))
    ask(model)
    opened = threading.active_count()
    expert_store(model).close()
    assert threading.active_count() < opened and threading.active_count() <= before + 6


def requests():
    rng = np.random.default_rng(4)
    params = SamplingParams(temperature=0.0, max_tokens=5)
    return [Request(tuple(rng.integers(0, 512, length).tolist()), params) for length in (40, 9, 70, 3)]


def replies(model, **options):
    engine = Engine(model, prefix_cache=PrefixCache(0, 0), **options)
    sequences = [engine.submit(request) for request in requests()]
    while engine.has_work:
        engine.step()
    return [(s.ids, s.error and str(s.error)) for s in sequences]


@pytest.mark.parametrize("piece", [16, 512])
def test_prompts_read_together_read_each_expert_once_and_say_the_same(directory, monkeypatch, piece):
    monkeypatch.setattr("perilune.model.model.PIECE", piece)
    wanted = [replies_alone(load_transformer(directory), request) for request in requests()]
    model = load_transformer(directory, expert_cache=slots(directory, 3))
    assert [ids for ids, _ in replies(model, prefill_chunk=4096)] == wanted
    store, layers = expert_store(model), sum(model.config.is_moe_layer(i) for i in range(len(model.blocks)))
    before = store.stats.copy()
    chunks = [(request.prompt_ids, Runner(model).new_state()) for request in requests()]
    Runner(model).prefill_together(chunks)
    assert store.stats.since(before).misses <= layers * model.config.n_routed_experts


def replies_alone(model, request):
    engine = Engine(model, prefix_cache=PrefixCache(0, 0), prefill_chunk=4096)
    sequence = engine.submit(request)
    list(engine.follow(sequence))
    return sequence.ids


def test_a_fault_while_reading_together_is_of_those_it_concerns(directory, monkeypatch):
    model = load_transformer(directory, expert_cache=slots(directory, 3))
    wanted = replies(model, prefill_chunk=4096)
    monkeypatch.setattr(Runner, "prefill_together", lambda *_: 1 / 0)
    assert replies(model, prefill_chunk=4096) == wanted


def test_a_long_chunk_tells_how_far_it_is(directory):
    model = load_transformer(directory, expert_cache=slots(directory, 3))
    engine, told = Engine(model, prefill_chunk=4096), []
    list(engine.stream(requests()[2], lambda *done: told.append(done)))
    assert [done for done, _ in told] == sorted({70 * layer // 3 for layer in (1, 2)} | {70})
    assert all(total == 70 for _, total in told)


def mirrored(directory, tmp_path):
    """A streaming model and the folder with copies of its shards."""
    mirror = shutil.copytree(directory, tmp_path / "mirror")
    checkpoint = open_checkpoint(directory)
    checkpoint.mirror(mirror)
    return load_transformer(directory, expert_cache=slots(directory, 2), checkpoint=checkpoint), mirror


def test_mirrors_share_the_reading_and_change_no_bit(directory, tmp_path):
    whole = outputs(load_transformer(directory))
    model, mirror = mirrored(directory, tmp_path)
    assert outputs(model).equal(whole)
    store = expert_store(model)
    assert {path.parent for path in (file.path for file in store._files.values())} == {directory, mirror}


def test_a_mirror_that_fails_costs_nothing(directory, tmp_path):
    whole = outputs(load_transformer(directory))
    model, mirror = mirrored(directory, tmp_path)
    for shard in mirror.glob("*.safetensors"):
        os.truncate(shard, shard.stat().st_size // 2)
    assert outputs(model).equal(whole)


def test_what_is_no_copy_is_refused(directory, tmp_path):
    checkpoint = open_checkpoint(directory)
    with pytest.raises(WeightsError, match="holds none of the shards"):
        checkpoint.mirror(tmp_path)
    shard = next(iter(checkpoint.headers))
    save_file({"other": torch.zeros(4)}, tmp_path / shard)
    with pytest.raises(WeightsError, match="not a copy"):
        checkpoint.mirror(tmp_path)


@pytest.mark.parametrize("kept", [0, 1 << 30], ids=["in order", "as they come"])
def test_a_pair_that_is_computed_elsewhere_adds_nothing_and_is_not_read(directory, monkeypatch, kept):
    monkeypatch.setattr(streamed, "KEPT_BYTES", kept)
    whole, model = load_transformer(directory), load_transformer(directory, expert_cache=slots(directory, 0))
    ids_TK = torch.stack([torch.randperm(6)[: model.config.num_experts_per_tok] for _ in range(30)])
    routing = Routing(ids_TK.masked_fill(ids_TK == 2, -1), torch.rand(ids_TK.shape), torch.empty(0))
    x_TD, store = torch.randn(30, model.config.hidden_size), expert_store(model)
    made, wanted = (m.blocks[-1].mlp.experts(x_TD, routing) for m in (model, whole))
    assert made.equal(wanted) and wanted.any() and (len(model.blocks) - 1, 2) not in store._held
    nowhere = Routing(torch.full_like(ids_TK, -1), routing.weights_TK, routing.scores_TE)
    before = store.stats.copy()
    assert not model.blocks[-1].mlp.experts(x_TD, nowhere).any() and store.stats == before


def test_a_pinned_expert_stays_and_leaves_once_it_was_copied(directory):
    model = load_transformer(directory, expert_cache=slots(directory, 3))
    store, layer = expert_store(model), len(model.blocks) - 1
    ask(model)
    held = [key for key in store._held if key[0] == layer]
    addresses = store.pin(held[0])
    assert addresses == store.address(held[0]) and store.pin((layer, 99)) is None
    outputs(model)
    assert store.address(held[0]) == addresses
    while any(store.pin(key) for key in list(store._held)):
        pass
    assert 2 * store._pinned < len(store.slots), "half of all slots at most"
    ask(model)
    store.unpin(held[0])
    assert sum(slot.users for slot in store.slots) == store._pinned
