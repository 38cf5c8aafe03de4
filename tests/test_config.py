"""config.json in every published spelling, and the refusals that name what is wrong."""

import copy
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import memory_config

from perilune.config import ModelConfig, QuantConfig, RopeConfig
from perilune.errors import ConfigError
from perilune.presets import PRESETS

SHARED = os.environ.get("PERILUNE_SHARED")
YARN = {"type": "yarn", "factor": 64.0, "original_max_position_embeddings": 4096, "mscale_all_dim": 1.0}


def published(name="k2-0711"):
    return copy.deepcopy(ModelConfig.preset(name).to_dict())


def flat(**changes):
    return published() | changes


def refused(raw, *words):
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict(raw)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_a_round_trip_through_json(name):
    config = ModelConfig.preset(name)
    assert ModelConfig.from_dict(json.loads(config.to_json())) == config


@pytest.mark.skipif(not SHARED, reason="PERILUNE_SHARED is not set")
def test_the_published_file_is_the_preset():
    config = ModelConfig.load(Path(SHARED or "") / "reference" / "k26")
    preset = ModelConfig.preset("k2.6")
    assert config == preset
    assert config.to_dict()["text_config"] == preset.to_dict()["text_config"]
    assert config.softmax_scale == pytest.approx(0.144680, abs=1e-6)
    assert config.tensor_prefix == "language_model."
    assert [config.is_moe_layer(i) for i in (0, 1, 60)] == [False, True, True]


def test_rope_parameters_and_rope_scaling_mean_the_same():
    old = flat(rope_theta=50000.0, rope_scaling=YARN)
    new = flat(rope_parameters=YARN | {"rope_type": "yarn", "rope_theta": 50000.0})
    del new["rope_scaling"], new["rope_theta"]
    both = old | {"rope_parameters": new["rope_parameters"]}
    nested = new | {"rope_parameters": {"full_attention": new["rope_parameters"], "linear_attention": None}}
    rope = ModelConfig.from_dict(old).rope
    assert rope == RopeConfig(50000.0, 64.0, 4096, mscale_all_dim=1.0)
    for raw in (new, both, nested):
        assert ModelConfig.from_dict(raw).rope == rope


@pytest.mark.parametrize("place", ["text", "top", "both"])
def test_quantization_may_lie_inside_or_beside_text_config(place):
    raw = published("k2.6")
    quant = raw["text_config"]["quantization_config"]
    if place == "top":
        del raw["text_config"]["quantization_config"]
    if place != "text":
        raw["quantization_config"] = copy.deepcopy(quant)
    assert ModelConfig.from_dict(raw).quantization == QuantConfig()


def test_two_different_quantizations_are_refused():
    raw = published("k2.6")
    raw["quantization_config"] = raw["text_config"]["quantization_config"] | {"ignore": []}
    refused(raw, "quantization_config", "text_config")


def test_a_flat_kimi_k25_is_read():
    raw = published("k2.6")
    text = raw.pop("text_config")
    config = ModelConfig.from_dict(text | raw)
    assert config == ModelConfig.preset("k2.6")


def test_kimi_linear_layers_count_from_one():
    config = ModelConfig.preset("kimi-linear")
    assert [config.is_kda_layer(i) for i in (0, 2, 3, 25, 26)] == [True, True, False, True, False]


def test_kimi_linear_as_transformers_writes_it():
    raw = published("kimi-linear")
    linear = raw.pop("linear_attn_config")
    kda = set(linear["kda_layers"])
    raw["layer_types"] = ["linear_attention" if i + 1 in kda else "full_attention" for i in range(27)]
    raw |= {"linear_num_heads": 32, "linear_head_dim": 128, "linear_conv_kernel_dim": 4}
    raw["mlp_layer_types"] = ["dense"] + ["sparse"] * 26
    for gone in ("first_k_dense_replace", "mla_use_nope", "rope_theta", "rope_scaling", "moe_layer_freq"):
        raw.pop(gone, None)
    assert ModelConfig.from_dict(raw) == ModelConfig.preset("kimi-linear")


def test_unknown_keys_and_nulls_do_no_harm():
    config = ModelConfig.from_dict(flat(some_new_key={"a": [1]}, ep_size=1, topk_group=None, n_group=None))
    assert config == ModelConfig.preset("k2-0711")


def test_a_dense_config_needs_no_expert_fields():
    raw = {key: value for key, value in flat(n_routed_experts=None).items() if "exp" not in key and "moe" not in key}
    raw.pop("quantization_config")
    config = ModelConfig.from_dict(raw)
    assert config.n_routed_experts == 0 and not config.is_moe_layer(5)


REFUSALS = {
    "top-k over experts": ({"num_experts_per_tok": 500}, "num_experts_per_tok", "384"),
    "groups do not divide": ({"n_group": 5, "topk_group": 1}, "n_group", "5"),
    "topk_group over n_group": ({"n_group": 4, "topk_group": 5}, "topk_group"),
    "top-k over chosen groups": ({"n_group": 96, "topk_group": 1}, "num_experts_per_tok", "topk_group"),
    "odd rope": ({"qk_rope_head_dim": 63}, "qk_rope_head_dim", "63", "even"),
    "hidden off the grid": ({"hidden_size": 7170}, "hidden_size", "7170", "32"),
    "expert width off the grid": ({"moe_intermediate_size": 2050}, "moe_intermediate_size", "32"),
    "negative": ({"num_hidden_layers": -1}, "num_hidden_layers", "-1"),
    "absurd": ({"hidden_size": 1 << 60}, "hidden_size"),
    "string for number": ({"vocab_size": "163840"}, "vocab_size", "'163840'"),
    "float for integer": ({"num_attention_heads": 64.0}, "num_attention_heads"),
    "true for integer": ({"n_shared_experts": True}, "n_shared_experts"),
    "missing": ({"kv_lora_rank": None}, "kv_lora_rank", "missing"),
    "not finite": ({"rms_norm_eps": float("inf")}, "rms_norm_eps"),
    "kv heads": ({"num_key_value_heads": 8}, "num_key_value_heads", "64"),
    "architecture": ({"architectures": ["LlamaForCausalLM"]}, "Llama"),
    "architecture of another type": ({"architectures": ["KimiLinearForCausalLM"]}, "KimiLinear", "kimi_k2"),
    "too many experts to list": ({"n_routed_experts": 1 << 15}, "n_routed_experts", "experts"),
    "number too long to show": ({"vocab_size": 10**5000}, "vocab_size", "too large"),
    "model type": ({"model_type": "llama"}, "llama", "kimi_k25"),
    "no model type": ({"model_type": None}, "model_type"),
    "scoring": ({"scoring_func": "softmax"}, "scoring_func", "softmax", "sigmoid"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act", "gelu"),
    "bias": ({"attention_bias": True}, "attention_bias"),
    "fp8": ({"quantization_config": {"quant_method": "fp8"}}, "fp8", "compressed-tensors"),
    "rope type": ({"rope_scaling": YARN | {"type": "linear"}}, "linear", "yarn"),
    "rope types differ": ({"rope_scaling": YARN | {"rope_type": "default"}}, "rope_type", "type"),
    "two ropes": ({"rope_parameters": YARN | {"factor": 2.0}}, "rope_parameters", "rope_scaling"),
    "theta differs": ({"rope_parameters": YARN | {"rope_theta": 1e6}}, "rope_theta"),
    "yarn without length": (
        {"rope_scaling": {"type": "yarn", "factor": 4.0}},
        "original_max_position_embeddings",
    ),
    "betas": ({"rope_scaling": YARN | {"beta_fast": 1.0, "beta_slow": 2.0}}, "beta_fast"),
    "two names for one": ({"num_local_experts": 8}, "n_routed_experts", "num_local_experts"),
    "dense beyond the end": ({"first_k_dense_replace": 62}, "first_k_dense_replace"),
    "head dims": ({"qk_head_dim": 128}, "qk_head_dim", "192"),
    "eos": ({"eos_token_id": "2"}, "eos_token_id"),
    "dtype": ({"dtype": "int8"}, "dtype", "int8"),
    "kda elsewhere": ({"linear_attn_config": {"kda_layers": [1]}}, "linear_attn_config"),
}


@pytest.mark.parametrize("changes, words", [(c, w) for c, *w in REFUSALS.values()], ids=REFUSALS)
def test_contradictions_are_named(changes, words):
    refused(flat(**changes), *words)


def test_quantization_other_than_the_published_grid_is_refused():
    for key, value in [("num_bits", 8), ("group_size", 128), ("symmetric", False), ("strategy", "channel")]:
        raw = published()
        raw["quantization_config"]["config_groups"]["group_0"]["weights"][key] = value
        refused(raw, key)


def test_text_and_top_level_must_agree():
    refused(published("k2.6") | {"hidden_size": 64}, "text_config.hidden_size", "7168", "64")
    refused(published("k2.6") | {"tie_word_embeddings": True}, "tie_word_embeddings")
    refused(published("k2.6") | {"text_config": {"model_type": "llama"}}, "text_config.model_type")


def test_an_architecture_fits_the_model_type_beside_it():
    raw = published("k2.6")
    native = raw | {"architectures": ["Kimi_K25ForConditionalGeneration"]}
    assert ModelConfig.from_dict(native) == ModelConfig.preset("k2.6")
    refused(raw | {"architectures": ["DeepseekV3ForCausalLM"]}, "architectures", "kimi_k25")
    raw["text_config"]["architectures"] = ["LlamaForCausalLM"]
    refused(raw, "text_config.architectures", "Llama")


@pytest.mark.parametrize("layers", [[1, 2], [0], list(range(1, 28)), [1, 1], "all", [1.0]])
def test_kimi_linear_layer_lists_must_cover_all_layers_once(layers):
    raw = published("kimi-linear")
    raw["linear_attn_config"]["kda_layers"] = layers
    refused(raw, "kda_layers")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"a": NaN}',
        '{"model_type": "kimi_k2", "model_type": "perilune"}',
        "[" * 100_000,
    ],
    ids=["empty", "cut", "list", "null", "nan", "twice", "deep"],
)
def test_a_file_that_is_not_a_config(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError):
        ModelConfig.load(tmp_path)


def test_a_file_that_is_missing_too_large_or_a_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json"):
        ModelConfig.load(tmp_path)
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ConfigError, match="at most"):
        ModelConfig.load(tmp_path)
    (tmp_path / "sub" / "config.json").mkdir(parents=True)
    with pytest.raises(ConfigError):
        ModelConfig.load(tmp_path / "sub")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(name=st.sampled_from(["k2.6", "k2-0711", "kimi-linear"]), data=st.data())
def test_any_value_anywhere_gives_a_config_or_a_config_error(name, data):
    raw = published(name)
    place = raw
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JUNK)
        break
    try:
        config = ModelConfig.from_dict(raw)
    except ConfigError:
        return
    assert ModelConfig.from_dict(config.to_dict()) == config


def memory_dict(**changes):
    raw = memory_config().to_dict()
    raw["memory_config"] = raw["memory_config"] | changes
    return raw


def test_a_chunk_memory_is_written_and_read_back():
    config = memory_config()
    assert ModelConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_size": 24}, "chunk_size = 24 must be a multiple of 16"),
        ({"segment": 70}, "segment = 70 must be a multiple of chunk_size"),
        ({"top_k": 0}, "memory_config.top_k"),
        ({"num_read_layers": 4}, "num_read_layers = 4 must be below"),
        ({"num_read_layers": 1}, "kda_layers must be the first num_read_layers"),
        ({"renew": "often"}, "memory_config.renew"),
    ],
)
def test_a_chunk_memory_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict(memory_dict(**changes))


def test_a_chunk_memory_belongs_to_perilune():
    with pytest.raises(ConfigError, match="memory_config belongs to perilune"):
        replace(memory_config(), model_type="deepseek_v3")
