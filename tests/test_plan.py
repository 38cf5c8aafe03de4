"""The planning workshop: needs counted from a config, predictions by hand, and the command."""

import json
import re
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from perilune.api.budget import STREAMED_CHUNK, split_memory
from perilune.api.gpu import split_gpu
from perilune.cli.app import app
from perilune.config import ModelConfig
from perilune.errors import RequestError
from perilune.model.quantised import BACKBONES
from perilune.plan.expect import expectation
from perilune.plan.machine import Machine, common_machines, gpu_rate, measure_machine
from perilune.plan.needs import needs_of
from perilune.plan.predict import advice, best, hit_rate, predict
from perilune.presets import NANO_AUDIO, NANO_VISION, preset
from perilune.synth import synthesize
from perilune.weights.disk_rate import measure_disk
from perilune.weights.files import open_checkpoint

MACHINE = Machine("m", 64 << 30, 50e9, 50e9, 1e12, 1e12, 5e9)


def test_needs_of_the_published_shape_are_the_published_figures():
    needs = needs_of(preset("k2.6"))
    assert needs.expert == 24_772_608 and needs.expert_sums == 44_040_192
    assert needs.experts_a_token == pytest.approx(11.89e9, rel=1e-3)
    assert needs.all_experts == pytest.approx(570.8e9, rel=1e-3)
    assert needs.backbone == pytest.approx(21.1e9, rel=5e-3) and needs.total == pytest.approx(594.2e9, rel=1e-3)
    assert needs.distinct(64) == pytest.approx(284, abs=1)


def test_needs_are_what_a_checkpoint_holds(tmp_path):
    synthesize("tiny", tmp_path / "m")
    tensors = open_checkpoint(tmp_path / "m").tensors
    stored = sum(i.end - i.begin for name, i in tensors.items() if not name.endswith(("weight_shape", "_bias")))
    assert needs_of(ModelConfig.load(tmp_path / "m")).total == pytest.approx(stored, rel=0.01)


def test_a_token_takes_what_its_bytes_take():
    needs = needs_of(preset("k2.6"))
    found = predict(needs, MACHINE)
    assert found.runs and found.bound == "disk"
    assert found.bytes_read == pytest.approx(needs.experts_a_token * (1 - found.hit_rate))
    wanted = found.bytes_read / 5e9 + needs.backbone / 50e9 + needs.experts_a_token / 50e9 / 3
    assert found.decode_rate == pytest.approx(1 / wanted)
    everything = predict(needs, replace(MACHINE, ram=1 << 40))
    assert everything.bytes_read == 0 and everything.cache_share == 1.0 and everything.bound == "memory"
    assert predict(needs, MACHINE, even=True).hit_rate == pytest.approx(found.cache_share)
    assert found.prefill_rate <= STREAMED_CHUNK / (needs.all_experts * (1 - found.cache_share) / 5e9) * 1.01


def test_more_of_anything_is_never_slower():
    needs = needs_of(preset("k2.6"))
    now = predict(needs, MACHINE).decode_rate
    for change in ({"ram": 128 << 30}, {"disks": 2}, {"memory_rate": 1e11}, {"gpu_ram": 24 << 30, "gpu_rate": 1e12}):
        assert predict(needs, replace(MACHINE, **change)).decode_rate > now
    assert [hit_rate(x / 100) for x in range(101)] == sorted(hit_rate(x / 100) for x in range(101))
    what, gain = advice(needs, MACHINE)
    assert what and gain > 1


def test_a_gpu_is_planned_with_as_it_is_used(tmp_path):
    """It holds the whole backbone as published or nothing, then conversations, then experts."""
    needs, gpu = needs_of(preset("k2.6")), {"gpu_rate": 1e12}
    small, large = (predict(needs, replace(MACHINE, gpu_ram=size << 30, **gpu)) for size in (16, 80))
    assert not small.on_gpu and small == predict(needs, MACHINE)
    assert large.on_gpu and large.backbone_seconds == pytest.approx(needs.backbone / 1e12)
    assert large.cache_share > small.cache_share + 0.05 and large.expert_seconds < small.expert_seconds
    assert not predict(needs_of(preset("k2.6"), "int8"), replace(MACHINE, gpu_ram=80 << 30, **gpu)).on_gpu
    synthesize("tiny", tmp_path / "m")
    config, checkpoint = ModelConfig.load(tmp_path / "m"), open_checkpoint(tmp_path / "m")
    split = split_gpu(checkpoint, config, torch.device("cpu"), 8 << 30)
    wanted = split.backbone + split.work + split.context
    planned = needs_of(config)
    assert planned.backbone + planned.gpu_beside[0] == pytest.approx(wanted, rel=1e-3)
    assert gpu_rate(torch.device("cpu")) > 1e8


def test_what_cannot_run_says_what_is_missing():
    small = predict(needs_of(preset("k2.6")), replace(MACHINE, ram=16 << 30))
    assert not small.runs and 5e9 < small.short < 15e9 and small.decode_rate == 0.0
    assert "cannot run" in advice(needs_of(preset("k2.6")), replace(MACHINE, ram=16 << 30))[0]
    assert all(machine.reading > 1e9 for machine in common_machines())


def test_the_disk_is_measured_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("perilune.weights.disk_rate.PROBE_BYTES", 96 << 20)
    found = measure_disk(tmp_path, sizes=(1 << 20,), depths=(1, 2))
    assert len(found) == 2 and all(rate.rate > 1e6 for rate in found) and not list(tmp_path.iterdir())
    with pytest.raises(RequestError, match="not a directory"):
        measure_disk(tmp_path / "none")


def test_the_command_measures_and_predicts(tmp_path, monkeypatch):
    monkeypatch.setattr("perilune.plan.machine.REPEATS", 1)
    assert measure_machine(tmp_path, disk_rate=1e9).expert_sums > 1e8
    options = ["plan", "--model", "k2.6", "--ram", "32GiB", "--disk-speed", "7GB"]
    told = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert told["machine"]["disk_rate"] == 7e9 and told["prediction"]["tokens_per_second"] > 0
    assert len(told["other_machines"]) == len(common_machines())
    assert told["needs"]["senses"]["total"] > told["needs"]["senses"]["weights"]["vision"] > 9e8
    shown = CliRunner().invoke(app, options)
    assert shown.exit_code == 0 and "buy next" in shown.output and "512 GB server" in shown.output
    assert "to see: 3.3 GB of memory (0.9 GB weights)" in shown.output
    assert "to see" not in CliRunner().invoke(app, [*options, "--text-only"]).output
    assert CliRunner().invoke(app, ["plan", "--ram", "much"]).exit_code == 2


def test_a_streaming_model_is_told_what_to_expect(tmp_path, monkeypatch):
    monkeypatch.setattr("perilune.weights.disk_rate.PROBE_BYTES", 1 << 20)
    monkeypatch.setattr("perilune.weights.disk_rate.READ_BYTES", 1 << 16)
    monkeypatch.setattr("perilune.api.budget.WORK_BYTES", 0)
    monkeypatch.setattr("perilune.api.budget.STREAMED_CHUNK", 64)
    synthesize(replace(preset("tiny"), moe_intermediate_size=1024), tmp_path / "m")
    checkpoint, config = open_checkpoint(tmp_path / "m"), ModelConfig.load(tmp_path / "m")
    whole = split_memory(checkpoint, config, 1 << 30)
    assert expectation(config, tmp_path / "m", whole, "bf16") is None
    split = split_memory(checkpoint, config, whole.backbone + whole.work + whole.context + whole.experts * 3 // 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told = expectation(config, tmp_path / "m", split, "bf16")
    assert expectation(config, tmp_path / "m", split, "bf16") == told  # nothing is measured twice
    assert re.search(r"about [\d.,]+ tokens/s .*\(disk [\d.]+ GB/s, \d+% of the experts", told)
    monkeypatch.setattr("perilune.weights.disk_rate.PROBE_BYTES", 1 << 30)
    assert expectation(config, tmp_path / "m", split, "bf16") is None


def test_the_most_exact_backbone_that_fits_is_taken():
    kinds = [needs_of(preset("k2.6"), name, text_only=True) for name in BACKBONES]
    assert [k.backbone / kinds[0].backbone for k in kinds[1:]] == pytest.approx([0.518, 0.293], abs=0.002)
    assert len({k.backbone_sums for k in kinds}) == 1
    for ram, wanted in ((64, "bf16"), (20, "int8"), (12, "int4")):
        needs, found = best(kinds, replace(MACHINE, ram=ram << 30))
        assert found.runs and found.kept_as == needs.kept_as == wanted
    assert not best(kinds, replace(MACHINE, ram=6 << 30))[1].runs


def test_what_a_model_sees_with_takes_memory_from_its_experts():
    sees, text = needs_of(preset("k2.6")), needs_of(preset("k2.6"), text_only=True)
    assert 2.5e9 < sees.senses.total < 3.5e9 and not text.senses.total and sees.total == text.total
    whole = replace(MACHINE, ram=MACHINE.ram + sees.senses.total)
    assert predict(sees, whole) == predict(text, MACHINE)
    # Between the two the model runs on text alone.
    small = replace(MACHINE, ram=(12 << 30) - (100 << 20))
    assert not predict(needs_of(preset("k2.6"), "int4"), small).runs
    assert predict(needs_of(preset("k2.6"), "int4", text_only=True), small).runs


def test_the_memory_is_that_of_a_running_model(tmp_path):
    senses = {"vision": NANO_VISION, "audio": NANO_AUDIO, "media_placeholder_token_id": 300}
    synthesize(replace(preset("tiny"), **senses), tmp_path / "m")
    config, checkpoint = ModelConfig.load(tmp_path / "m"), open_checkpoint(tmp_path / "m")
    for name in BACKBONES:
        split, needs = split_memory(checkpoint, config, 8 << 30, backbone=name), needs_of(config, name)
        planned = needs.backbone + needs.embedding // 8 + needs.work + needs.context
        assert planned == pytest.approx(split.backbone + split.work + split.context, rel=1e-3)
        assert needs.senses == split.senses and split.senses.verb == "see and hear"
