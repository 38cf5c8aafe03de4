"""The summary of a directory: numbers that can be checked by hand, from headers alone."""

import json
import struct

import pytest
from rich.console import Console

from perilune.config import ModelConfig
from perilune.errors import PeriluneError
from perilune.plan.needs import needs_of
from perilune.show import _facts as facts
from perilune.show import as_table, human, kind_of, summarize
from perilune.synth import declare, first_layers, synthesize


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny")
    synthesize("tiny", out)
    return out


def write_hollow(directory, config):
    """A checkpoint of headers whose data is a hole in the file: full size costs nothing."""
    table, at = {}, 0
    for name, tensor in declare(config).items():
        table[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    raw = json.dumps(table).encode()
    with (directory / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + at)
    (directory / "config.json").write_text(config.to_json())


def test_counts_of_a_small_model(tiny):
    summary = summarize(tiny)
    expert = 3 * 64 * 32
    kinds = {part.name: part for part in summary.kinds}
    assert kinds["routed experts"].parameters == 2 * 8 * expert
    assert kinds["shared experts"].parameters == 2 * expert
    assert kinds["dense feed-forward"].parameters == 3 * 64 * 128
    assert kinds["embeddings"].parameters == kinds["head"].parameters == 512 * 64
    assert kinds["routers"].parameters == 2 * (8 * 64 + 8)
    assert summary.parameters == sum(part.parameters for part in summary.kinds)
    assert summary.parameters - summary.active_parameters == 2 * (8 - 2) * expert
    assert summary.kv_bytes_per_token == 3 * (32 + 32) * 2
    assert summary.bytes == sum(part.bytes for part in summary.dtypes) == sum(part.bytes for part in summary.kinds)
    assert summary.bytes < sum(file.bytes for file in summary.files)


def test_published_figures_of_k26(tmp_path):
    write_hollow(tmp_path, first_layers(ModelConfig.preset("k2.6"), 2))
    summary = summarize(tmp_path)
    kinds = {part.name: part for part in summary.kinds}
    assert kinds["routed experts"].parameters * 60 == 1_014_686_023_680
    assert kinds["vision"].parameters == pytest.approx(471.2e6, rel=1e-3)
    assert summary.kv_bytes_per_token == 2 * 1152 and summary.context == 262144
    active = {name: part.parameters for name, part in kinds.items() if name != "vision"}
    active["routed experts"] = active["routed experts"] * 8 // 384
    assert summary.active_parameters == sum(active.values())
    room = needs_of(ModelConfig.preset("k2.6")).senses
    assert summary.sense_bytes == room.total and ("senses", "3.34 GB of memory, towers included") in facts(summary)


def test_json_and_table_say_the_same(tiny):
    summary = summarize(tiny)
    assert json.loads(summary.to_json())["parameters"] == summary.parameters
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(as_table(summary))
    console.file.close()
    text = console.export_text()
    assert "routed experts" in text and human(summary.parameters) in text


def test_extra_prediction_layers_and_vision_are_kept_apart():
    from dataclasses import replace

    config = replace(ModelConfig.preset("k2.6"), num_nextn_predict_layers=1)
    assert kind_of("language_model.model.layers.61.mlp.experts.0.up_proj.weight", config) == "extra prediction layers"
    assert kind_of("vision_tower.encoder.blocks.0.norm0.weight", config) == "vision"
    assert kind_of("language_model.model.layers.x.rotary_emb.inv_freq", config) == "norms"
    assert kind_of("language_model.model.layers.1.mlp.gate.weight", config) == "routers"


@pytest.mark.parametrize(
    "number, text",
    [
        (1_026_408_232_448, "1.03 T"),
        (999, "999"),
        (31_000_000_000, "31 B"),
        (999_950, "1 M"),
        (999_400, "999 K"),
        (1234 * 10**12, "1234 T"),
    ],
)
def test_human_numbers(number, text):
    assert human(number) == text


def test_a_directory_that_is_no_model_is_one_error(tmp_path):
    with pytest.raises(PeriluneError):
        summarize(tmp_path)
