"""A GPU's memory: which device is meant, how it is split, what is refused, and a model that is opened with one."""

from dataclasses import replace

import pytest
import torch
from devices import DEVICES, on_gpu
from typer.testing import CliRunner

from perilune import load
from perilune.api import budget
from perilune.api import gpu as gpu_file
from perilune.api.budget import split_memory
from perilune.api.gpu import find_device, gpu_budget, split_gpu
from perilune.bench.stream import bench_stream
from perilune.cli.app import app
from perilune.config import ModelConfig
from perilune.errors import ConfigError, ContextError, RequestError, WeightsError
from perilune.presets import preset
from perilune.synth import synthesize
from perilune.weights.device_slots import device_slot_bytes
from perilune.weights.files import open_checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "WORK_BYTES", 0)
    monkeypatch.setattr(budget, "STREAMED_CHUNK", 64)
    monkeypatch.setattr(gpu_file, "STREAMED_CHUNK", 64)
    monkeypatch.setattr(gpu_file, "CONTEXTS", (512, 256))
    synthesize(replace(preset("tiny"), moe_intermediate_size=1024), tmp_path / "m")
    return tmp_path / "m"


def split(directory, size=1 << 40, context=None):
    return split_gpu(open_checkpoint(directory), ModelConfig.load(directory), CPU, size, context)


def fixed(directory):
    whole = split(directory)
    return whole.backbone + whole.work + whole.context


def test_a_device_is_named_as_torch_names_it():
    assert find_device("cpu") == find_device(CPU) == CPU
    for name in ("tpu", "", "mps", "cuda:x", 7):
        with pytest.raises(RequestError, match='"cuda" or "cuda:0"'):
            find_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_error_says_why(directory):
    with pytest.raises(RequestError, match=r"no GPU is visible to torch: .*leave --gpu out"):
        load(directory, device="cuda")
    told = CliRunner().invoke(app, ["generate", "--ids", "1,2", "--model", str(directory), "--gpu"])
    assert told.exit_code == 2 and "no GPU is visible to torch" in told.output


def test_gpu_ram_without_a_gpu_is_refused(directory):
    told = CliRunner().invoke(app, ["generate", "--ids", "1", "--model", str(directory), "--gpu-ram", "1GB"])
    assert told.exit_code == 2 and "--gpu-ram goes with --gpu" in told.output


def test_what_is_left_holds_experts(directory):
    config = ModelConfig.load(directory)
    slot = device_slot_bytes(config)
    for count in (0, 3):
        made = split(directory, fixed(directory) + count * slot + slot - 1)
        assert made.slots == count and made.cache == count * slot
    whole = split(directory)
    assert whole.slots == whole.moe_layers * config.n_routed_experts
    assert "experts (8.0 of 8 a layer)" in str(whole) and "processor as a GPU" in str(whole)
    assert split(directory, context=16).context < whole.context


def test_too_little_says_what_is_needed_and_that_is_enough(directory):
    smallest = split(directory, context=256)
    least = smallest.backbone + smallest.work + smallest.context
    with pytest.raises(WeightsError, match=r"gpu_ram = .* too little.*every token uses take.*give at least"):
        load(directory, gpu_ram=least - 1)
    small = load(directory, gpu_ram=least)
    assert small.gpu.slots == 0 and small.context_length == 256
    with pytest.raises(WeightsError, match="fewer tokens of context"):
        load(directory, gpu_ram=least, context=300)
    with pytest.raises(RequestError, match="16GiB"):
        load(directory, gpu_ram="lots")


def test_memory_beside_a_gpu_holds_experts_and_a_little_else(directory):
    checkpoint, config = open_checkpoint(directory), ModelConfig.load(directory)
    alone = split_memory(checkpoint, config, 1 << 40)
    beside = split_memory(checkpoint, config, 1 << 40, beside_gpu=True)
    assert beside.context == 0 and beside.experts == alone.experts and "context" not in str(beside)
    assert alone.backbone - beside.backbone == split(directory).backbone
    with pytest.raises(WeightsError) as told:
        split_memory(checkpoint, config, 1000, beside_gpu=True)
    assert "with backbone" not in str(told.value)


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_with_a_gpu_says_what_it_says_without(directory, device):
    config = ModelConfig.load(directory)
    beside = split_memory(open_checkpoint(directory), config, 1 << 40, beside_gpu=True)
    ram = beside.backbone + beside.work + beside.experts * 3 // 4
    size = fixed(directory) + 4 * device_slot_bytes(config)
    model = load(directory, device=device, gpu_ram=size, ram=ram)
    assert model.gpu.slots == 4 and model.memory.streamed and model.experts is not None
    wanted = load(directory).generate(range(40), max_tokens=12, temperature=0)
    for _ in range(2):
        assert model.generate(range(40), max_tokens=12, temperature=0).ids == wanted.ids
    assert model.gpu_experts.stats.moves > 0 and model.gpu_experts.stats.hits > 0
    logits_TV = load(directory).logits(range(9))
    assert (model.logits(range(9)) - logits_TV).abs().max() <= 2e-5 * logits_TV.abs().max()
    several = [c.ids for c in model.generate_batch([range(9), range(40)], max_tokens=6, temperature=0)]
    assert several == [load(directory).generate(range(n), max_tokens=6, temperature=0).ids for n in (9, 40)]


def test_the_stream_bench_tells_what_the_gpu_served(directory, monkeypatch):
    monkeypatch.setattr("perilune.weights.disk_rate.PROBE_BYTES", 48 << 20)
    monkeypatch.setattr("perilune.weights.disk_rate.READ_BYTES", 1 << 20)
    config = ModelConfig.load(directory)
    beside = split_memory(open_checkpoint(directory), config, 1 << 40, beside_gpu=True)
    size = fixed(directory) + 4 * device_slot_bytes(config)
    model = load(directory, gpu_ram=size, ram=beside.backbone + beside.work + beside.experts * 3 // 4)
    told = bench_stream(model, prompt=20, tokens=4)
    assert 0 < told.gpu_share < 1 and told.gpu == str(model.gpu) and "of the uses" in told.to_text()


def test_the_context_is_what_the_gpu_has_room_for(directory):
    model = load(directory, gpu_ram=1 << 30, context=30)
    assert model.context_length == 30 and model.memory is None
    with pytest.raises(ContextError, match="context holds 30 tokens"):
        model.generate(range(28), max_tokens=3)


def test_what_a_gpu_does_not_run_is_refused(directory):
    with pytest.raises(ConfigError, match="latent attention alone"):
        load("nano", gpu_ram="4GiB")
    with pytest.raises(ConfigError, match="backbone int4"):
        load(directory, gpu_ram="4GiB", backbone="int4")


@on_gpu
def test_a_gpu_gives_what_it_has_free(directory):
    device = find_device("cuda")
    free = gpu_budget(device, None)
    assert 0 < free < torch.cuda.mem_get_info(device)[0] and gpu_budget(device, "1MB") == 10**6
    with pytest.raises(RequestError, match="more than"):
        gpu_budget(device, "900TB")
    with pytest.raises(RequestError, match="is not there"):
        find_device("cuda:99")
    model = load(directory, device="cuda")
    assert str(model.gpu).startswith(torch.cuda.get_device_name(device)) and model.gpu.slots > 0
    held = torch.cuda.memory_allocated(device)
    assert held <= model.gpu.backbone + model.gpu.cache + (64 << 20)
