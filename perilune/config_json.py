"""The published config.json ↔ ModelConfig, in every spelling that is in use."""

from __future__ import annotations

from typing import Any

from perilune.config import (
    DTYPES,
    MAX_EXPERTS_IN_ALL,
    MODEL_TYPES,
    ModelConfig,
)
from perilune.config_audio import audio_dict, read_audio_config
from perilune.config_parts import (
    linear_attention_dict,
    memory_dict,
    quant_dict,
    read_linear_attention,
    read_memory,
    read_quantization,
    read_rope,
    rope_dict,
)
from perilune.config_vision import read_vision_config, vision_dict
from perilune.errors import ConfigError
from perilune.fields import Fields, show_value

MAX_WIDTH = 1 << 20
MAX_LAYERS = 4096
MAX_VOCAB = 1 << 24
MAX_CONTEXT = 1 << 31
WITH_SENSES = ("kimi_k25", "perilune")
TEXT_TYPES = ("kimi_k2", "deepseek_v3")
TEXT_STEMS = ("deepseekv3", "kimik2")

ARCHITECTURES = {
    "kimi_k25": "KimiK25ForConditionalGeneration",
    "kimi_k2": "DeepseekV3ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "kimi_linear": "KimiLinearForCausalLM",
    "perilune": "PeriluneForCausalLM",
}
# How a fitting class name begins, whatever its head is called (and with or without underscores).
ARCHITECTURE_STEMS: dict[str, tuple[str, ...]] = {
    "kimi_k25": ("kimik25",),
    "kimi_k2": TEXT_STEMS,
    "deepseek_v3": TEXT_STEMS,
    "kimi_linear": ("kimilinear",),
    "perilune": ("perilune",),
}


def read_config(raw: dict[str, Any]) -> ModelConfig:
    """A checked ModelConfig from the content of config.json; ConfigError names what is wrong."""
    if not isinstance(raw, dict):
        raise ConfigError(f"a config must be a JSON object, not {type(raw).__name__}")
    model_type = _read_model_type(raw)
    fields = Fields(*_places(raw, model_type))
    _refuse_unsupported(fields)
    rope = read_rope(fields)
    layers = fields.integer("num_hidden_layers", low=1, high=MAX_LAYERS)
    has_linear = model_type == "kimi_linear" or (model_type == "perilune" and fields.present("linear_attn_config"))
    linear = read_linear_attention(fields, layers) if has_linear else None
    if linear is None and fields.present("linear_attn_config"):
        raise ConfigError(f"linear_attn_config belongs to kimi_linear, but model_type is {model_type!r}")
    attention = _read_attention(fields, model_type)
    return ModelConfig(
        model_type=model_type,
        num_hidden_layers=layers,
        rope=rope,
        linear_attention=linear,
        memory=read_memory(fields) if model_type == "perilune" else None,
        quantization=read_quantization(fields),
        **attention,
        **_read_experts(fields, layers),
        **_read_tokens(raw, fields, model_type),
        vision=read_vision_config(fields, attention["hidden_size"]) if model_type in WITH_SENSES else None,
        audio=read_audio_config(fields) if model_type in WITH_SENSES else None,
    )


def _read_model_type(raw: dict[str, Any]) -> str:
    name = raw.get("model_type")
    if name not in MODEL_TYPES or not isinstance(name, str):
        raise ConfigError(f"model_type = {show_value(name)} is not known; it must be one of {', '.join(MODEL_TYPES)}")
    _check_architectures(raw, name, "")
    return name


def _check_architectures(raw: dict[str, Any], model_type: str, where: str) -> None:
    """A class name that says another model than the model_type beside it is refused."""
    architectures = raw.get("architectures")
    if architectures is None:
        return
    if not isinstance(architectures, list) or not all(isinstance(a, str) for a in architectures):
        raise ConfigError(f"{where}architectures = {show_value(architectures)} must be a list of names")
    plain = [a.lower().replace("_", "") for a in architectures]
    if plain and not any(a.startswith(ARCHITECTURE_STEMS[model_type]) for a in plain):
        raise ConfigError(
            f"{where}architectures = {show_value(architectures)} does not fit model_type {model_type!r}; "
            f"expected {ARCHITECTURES[model_type]}"
        )


def _places(raw: dict[str, Any], model_type: str) -> list[tuple[str, dict[str, Any]]]:
    """The text settings first, then the top level, which may repeat them."""
    text = raw.get("text_config")
    if text is None:
        return [("", raw)]
    if not isinstance(text, dict):
        raise ConfigError(f"text_config must be a JSON object, not {type(text).__name__}")
    allowed = TEXT_TYPES if model_type == "kimi_k25" else (model_type,)
    inner = text.get("model_type")
    if inner is not None and inner not in allowed:
        raise ConfigError(
            f"text_config.model_type = {show_value(inner)} does not fit model_type {model_type!r}; "
            f"it must be one of {', '.join(allowed)}"
        )
    _check_architectures(text, inner or allowed[0], "text_config.")
    return [("text_config.", text), ("", raw)]


def _refuse_unsupported(fields: Fields) -> None:
    """Settings that would change the arithmetic and have one supported value."""
    fields.word("hidden_act", choices=("silu",), default="silu")
    fields.word("scoring_func", "moe_router_activation_func", choices=("sigmoid",), default="sigmoid")
    fields.word("topk_method", choices=("noaux_tc",), default="noaux_tc")
    for name in ("attention_bias", "mlp_bias"):
        if fields.flag(name, default=False):
            raise ConfigError(f"{name} = true is not supported; the published models have no biases there")


def _read_attention(fields: Fields, model_type: str) -> dict[str, Any]:
    heads = fields.integer("num_attention_heads", low=1, high=1 << 16)
    kv_heads = fields.integer("num_key_value_heads", low=1, high=1 << 16, default=heads)
    if kv_heads != heads:
        raise ConfigError(
            f"num_key_value_heads = {kv_heads} must equal num_attention_heads = {heads}: latent attention "
            "has one key and value per head"
        )
    sizes = {
        name: fields.integer(name, low=1, high=MAX_WIDTH)
        for name in ("hidden_size", "intermediate_size", "kv_lora_rank")
    } | {
        name: fields.integer(name, low=1, high=1 << 14)
        for name in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    }
    whole = sizes["qk_nope_head_dim"] + sizes["qk_rope_head_dim"]
    if fields.integer("qk_head_dim", low=1, high=1 << 15, default=whole) != whole:
        raise ConfigError(f"qk_head_dim must be qk_nope_head_dim + qk_rope_head_dim = {whole}")
    return sizes | {
        "num_attention_heads": heads,
        "q_lora_rank": fields.optional_integer("q_lora_rank", low=1, high=MAX_WIDTH),
        "rms_norm_eps": fields.number("rms_norm_eps", low=1e-30, high=1.0, default=1e-6),
        "max_position_embeddings": fields.integer(
            "max_position_embeddings", "model_max_length", low=1, high=MAX_CONTEXT
        ),
        "rope_interleave": fields.flag("rope_interleave", default=True),
        "mla_use_nope": fields.flag("mla_use_nope", default=model_type == "kimi_linear"),
        "tie_word_embeddings": fields.flag("tie_word_embeddings", default=False),
        "initializer_range": fields.number("initializer_range", low=0.0, high=100.0, default=0.02),
    }


def _read_experts(fields: Fields, layers: int) -> dict[str, Any]:
    names = ("n_routed_experts", "num_experts", "num_local_experts")
    experts = fields.integer(*names, low=0, high=MAX_EXPERTS_IN_ALL, default=0)
    if experts == 0:
        return {}
    found = {
        "n_routed_experts": experts,
        "n_shared_experts": fields.integer("n_shared_experts", "num_shared_experts", low=0, high=1024, default=0),
        "num_experts_per_tok": fields.integer("num_experts_per_tok", "num_experts_per_token", low=1, high=1 << 16),
        "moe_intermediate_size": fields.integer("moe_intermediate_size", low=1, high=MAX_WIDTH),
        "n_group": fields.integer("n_group", "num_expert_group", low=1, high=1 << 16, default=1),
        "moe_layer_freq": fields.integer("moe_layer_freq", low=1, high=MAX_LAYERS, default=1),
        "norm_topk_prob": fields.flag("norm_topk_prob", "moe_renormalize", default=True),
        "routed_scaling_factor": fields.number("routed_scaling_factor", low=1e-6, high=1e6, default=1.0),
    }
    default_groups = 1 if found["n_group"] == 1 else None
    found["topk_group"] = fields.integer("topk_group", low=1, high=1 << 16, default=default_groups)
    found["first_k_dense_replace"] = _read_first_dense(fields, layers, found["moe_layer_freq"])
    return found


def _read_first_dense(fields: Fields, layers: int, frequency: int) -> int:
    """A count, or a list of layer kinds as transformers 5 writes it for kimi_linear."""
    name, kinds = fields.find("mlp_layer_types")
    if kinds is None:
        return fields.integer("first_k_dense_replace", low=0, high=MAX_LAYERS)
    if not isinstance(kinds, list) or len(kinds) != layers:
        fields.refuse(name, kinds, f"a list with one of dense, sparse for each of the {layers} layers")
    first = next((i for i, kind in enumerate(kinds) if kind != "dense"), layers)
    first = fields.integer("first_k_dense_replace", low=0, high=MAX_LAYERS, default=first)
    wanted = ["sparse" if i >= first and i % frequency == 0 else "dense" for i in range(layers)]
    if kinds != wanted:
        fields.refuse(name, kinds, f"{first} times dense, then sparse (as first_k_dense_replace and moe_layer_freq)")
    return first


def _read_tokens(raw: dict[str, Any], fields: Fields, model_type: str) -> dict[str, Any]:
    """Token ids: the top level is what generation follows, so it wins over text_config."""
    top = Fields(*reversed(fields.places))
    name, eos = top.find("eos_token_id", strict=False)
    ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
    if len(ids) > 64 or not all(type(i) is int and 0 <= i < MAX_VOCAB for i in ids):
        top.refuse(name, eos, "a token id or a list of up to 64 token ids")
    return {
        "vocab_size": fields.integer("vocab_size", low=1, high=MAX_VOCAB),
        "bos_token_id": _token_id(top, "bos_token_id"),
        "eos_token_ids": tuple(ids),
        "pad_token_id": _token_id(top, "pad_token_id"),
        "media_placeholder_token_id": _token_id(top, "media_placeholder_token_id", "image_token_id"),
        "dtype": top.word("dtype", "torch_dtype", choices=DTYPES, default="bfloat16", strict=False),
        "num_nextn_predict_layers": fields.integer(
            "num_nextn_predict_layers", "num_mtp_layers", low=0, high=64, default=0
        ),
    }


def _token_id(top: Fields, *names: str) -> int | None:
    """Some configs write -1 for "none"."""
    name, value = top.find(*names, strict=False)
    if value is None or (value == -1 and type(value) is int):
        return None
    if type(value) is not int or not 0 <= value < MAX_VOCAB:
        top.refuse(name, value, f"a token id from 0 to {MAX_VOCAB - 1}")
    return value


def write_config(c: ModelConfig) -> dict[str, Any]:
    """The published spelling: nested for kimi_k25, flat for the others."""
    tokens = {
        "bos_token_id": c.bos_token_id,
        "eos_token_id": c.eos_token_ids[0] if len(c.eos_token_ids) == 1 else list(c.eos_token_ids) or None,
        "pad_token_id": c.pad_token_id,
        "dtype": c.dtype,
        "tie_word_embeddings": c.tie_word_embeddings,
    }
    text = (_kimi_linear_dict(c) if c.model_type == "kimi_linear" else _text_dict(c)) | tokens
    head = {"architectures": [ARCHITECTURES[c.model_type]], "model_type": c.model_type}
    if c.quantization:
        text["quantization_config"] = quant_dict(c.quantization)
    senses = {"vision_config": vision_dict(c.vision, c.hidden_size)} if c.vision else {}
    senses |= {"audio_config": audio_dict(c.audio)} if c.audio else {}
    if c.model_type != "kimi_k25":
        media = {} if c.media_placeholder_token_id is None else _media(c)
        return head | text | senses | media
    text = {"architectures": [ARCHITECTURES["kimi_k2"]], "model_type": "kimi_k2"} | text
    return head | tokens | _media(c) | {"text_config": text} | senses


def _media(c: ModelConfig) -> dict[str, Any]:
    return {"media_placeholder_token_id": c.media_placeholder_token_id}


def _shared_dict(c: ModelConfig) -> dict[str, Any]:
    same = (
        "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size q_lora_rank "
        "kv_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim moe_intermediate_size topk_group "
        "first_k_dense_replace moe_layer_freq routed_scaling_factor rms_norm_eps initializer_range"
    )
    fixed = {"hidden_act": "silu", "num_key_value_heads": c.num_attention_heads}
    return {name: getattr(c, name) for name in same.split()} | fixed | rope_dict(c.rope)


def _text_dict(c: ModelConfig) -> dict[str, Any]:
    same = (
        "max_position_embeddings n_routed_experts n_shared_experts num_experts_per_tok n_group "
        "norm_topk_prob num_nextn_predict_layers"
    )
    fixed = {"attention_bias": False, "scoring_func": "sigmoid", "topk_method": "noaux_tc"}
    odd = {} if c.rope_interleave else {"rope_interleave": False}
    odd |= {"mla_use_nope": True} if c.mla_use_nope else {}
    odd |= {"linear_attn_config": linear_attention_dict(c.linear_attention)} if c.linear_attention else {}
    odd |= {"memory_config": memory_dict(c.memory)} if c.memory else {}
    return _shared_dict(c) | {name: getattr(c, name) for name in same.split()} | fixed | odd


def _kimi_linear_dict(c: ModelConfig) -> dict[str, Any]:
    linear = c.linear_attention
    assert linear is not None
    return _shared_dict(c) | {
        "model_max_length": c.max_position_embeddings,
        "num_experts": c.n_routed_experts,
        "num_shared_experts": c.n_shared_experts,
        "num_experts_per_token": c.num_experts_per_tok,
        "num_expert_group": c.n_group,
        "moe_renormalize": c.norm_topk_prob,
        "moe_router_activation_func": "sigmoid",
        "num_nextn_predict_layers": c.num_nextn_predict_layers,
        "mla_use_nope": c.mla_use_nope,
        "rope_interleave": c.rope_interleave,
        "linear_attn_config": linear_attention_dict(linear),
    }
