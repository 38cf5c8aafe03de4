"""How memory is split: what is refused, what is streamed, and that the answer never depends on it."""

import re
from dataclasses import replace

import pytest
from tiny_models import tiny_transformer, write_model
from tiny_senses import picture, sensing_model

from perilune import load
from perilune.api import budget
from perilune.api.budget import split_memory
from perilune.api.free_memory import available_memory
from perilune.bench.stream import bench_stream
from perilune.config import ModelConfig
from perilune.errors import ContextError, MessageError, RequestError, WeightsError
from perilune.presets import preset
from perilune.synth import synthesize
from perilune.weights.expert_layout import slot_bytes
from perilune.weights.files import open_checkpoint


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A model whose experts do not fit where the work around it is counted as 4 MiB."""
    monkeypatch.setattr(budget, "WORK_BYTES", 0)
    monkeypatch.setattr(budget, "STREAMED_CHUNK", 64)
    synthesize(replace(preset("tiny"), moe_intermediate_size=1024), tmp_path / "m")
    return tmp_path / "m"


def fixed(directory):
    split = split_memory(open_checkpoint(directory), ModelConfig.load(directory), 1 << 40)
    return split.backbone + split.context + split.work


def test_everything_is_in_memory_where_it_fits(directory):
    split = load(directory, ram=fixed(directory) + (1 << 30)).memory
    assert not split.streamed and "all of them" in str(split)
    assert load(directory).memory is None


def test_experts_stream_where_they_do_not_fit_and_say_the_same(directory):
    checkpoint = open_checkpoint(directory)
    experts = sum(i.end - i.begin for n, i in checkpoint.tensors.items() if ".mlp.experts." in n)
    model = load(directory, ram=fixed(directory) + experts * 3 // 4)
    assert model.memory.streamed and len(model.experts.slots) == model.memory.slots < model.experts.experts
    assert "expert cache" in str(model.memory)
    wanted = load(directory).generate(range(40), max_tokens=6, temperature=0)
    assert model.generate(range(40), max_tokens=6, temperature=0).ids == wanted.ids
    assert model.experts.stats.bytes_read > 0


def test_too_little_says_what_is_needed_and_that_is_enough(directory):
    with pytest.raises(WeightsError, match=r"too little.*always uses take.*the fewest experts.*give at least"):
        load(directory, ram="1kB")
    config = ModelConfig.load(directory)
    least = fixed(directory) + config.num_experts_per_tok * slot_bytes(open_checkpoint(directory), config)
    with pytest.raises(WeightsError, match="give at least"):
        load(directory, ram=least - 1)
    assert load(directory, ram=least).memory.slots == config.num_experts_per_tok


def test_what_a_model_sees_and_hears_with_is_set_aside(tmp_path, monkeypatch):
    sensing_model(tmp_path)
    checkpoint, config = open_checkpoint(tmp_path), ModelConfig.load(tmp_path)
    whole = split_memory(checkpoint, config, 1 << 40)
    least = whole.backbone + whole.context + whole.work + whole.senses.total + whole.experts
    with pytest.raises(WeightsError, match=r"needs to see and hear 0\.\d+ GiB.*less with text_only"):
        load(tmp_path, ram=least - 1)
    model = load(tmp_path, ram=least)
    assert re.search(r"· 0\.\d+ GiB to see and hear \(0\.00 GiB weights\)", str(model.memory))
    seen = [{"role": "user", "content": [{"type": "image", "image": picture(3)}]}]
    wanted = load(tmp_path).chat(seen, max_tokens=6, temperature=0).content
    assert model.chat(seen, max_tokens=6, temperature=0).content == wanted
    towers = {name: sum(w.nbytes for w in sense.parameters()) for name, sense in model.transformer.senses.items()}
    assert towers == {"vision": model.memory.senses.weights["vision"]}
    text = load(tmp_path, ram=least - whole.senses.total, text_only=True)
    assert "to see" not in str(text.memory) and not text.senses.has
    with pytest.raises(MessageError, match="no eyes"):
        text.chat(seen)


def test_float_experts_are_not_streamed(tmp_path):
    write_model(tmp_path, tiny_transformer(), tokenizer=False)
    assert not load(tmp_path, ram="2GiB").memory.streamed
    with pytest.raises(WeightsError, match="too little"):
        load(tmp_path, ram="100MiB")


def test_auto_takes_most_of_what_is_there(directory, monkeypatch):
    assert 0 < available_memory() < 1 << 50
    split = load(directory, ram="auto").memory
    assert split.budget < available_memory() * 1.2


def test_bad_sizes_are_refused(directory):
    with pytest.raises(RequestError, match="16GiB"):
        load(directory, ram="lots")


def test_the_stream_bench_counts_what_was_read(directory, monkeypatch):
    monkeypatch.setattr("perilune.weights.disk_rate.PROBE_BYTES", 48 << 20)
    monkeypatch.setattr("perilune.weights.disk_rate.READ_BYTES", 1 << 20)
    checkpoint = open_checkpoint(directory)
    experts = sum(i.end - i.begin for n, i in checkpoint.tensors.items() if ".mlp.experts." in n)
    model = load(directory, ram=fixed(directory) + experts * 3 // 4)
    before = model.experts.stats.copy()
    told = bench_stream(model, prompt=20, tokens=4)
    assert told.disk_rate > 0 and 0 <= told.hit_rate <= 1 and told.peak_memory > 1 << 20
    assert told.prefill_bytes + 4 * told.bytes_a_token <= model.experts.stats.since(before).bytes_read
    assert told.gpu is None and "GPU" not in told.to_text()
    assert "of the disk's bound" in told.to_text() and told.to_dict()["slots"] == model.memory.slots
    with pytest.raises(RequestError, match="nothing is streamed"):
        bench_stream(load(directory), prompt=20, tokens=4)


def test_the_context_is_what_there_is_memory_for(directory):
    tight = fixed(directory) + (1 << 30)
    model = load(directory, ram=tight, context=30)
    assert model.context_length == 30 and model.memory.context < load(directory, ram=tight).memory.context
    with pytest.raises(ContextError, match="context holds 30 tokens"):
        model.generate(range(28), max_tokens=3)
    assert len(model.generate(range(28), max_tokens=2, ignore_eos=True).ids) == 2
    together = [c.ids for c in model.generate_batch([range(9), range(8), range(7)], max_tokens=6, temperature=0)]
    alone = [load(directory).generate(range(n), max_tokens=6, temperature=0).ids for n in (9, 8, 7)]
    assert together == alone
    with pytest.raises(RequestError, match="context must be"):
        load(directory, ram=tight, context=0)


def test_running_sequences_share_the_context(directory):
    model = load(directory, ram=fixed(directory) + (1 << 30), context=30)
    streams = [model.generate_stream(range(9), max_tokens=6, ignore_eos=True) for _ in range(3)]
    model.engine.step()
    assert len(model.engine.scheduler.running) == 2  # of 15 tokens each at most
    for stream in streams:
        stream.close()
