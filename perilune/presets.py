"""Named shapes: the published ones at full size, a benchmark shape and a tiny one for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from perilune.config import LinearAttentionConfig, ModelConfig, QuantConfig, RopeConfig
from perilune.config_audio import AudioConfig
from perilune.config_vision import VisionConfig
from perilune.errors import ConfigError

# For a model of nano's size: 3.6 M weights with the projector to 256; a picture of 448 x 448 pixels is 256 tokens.
NANO_VISION = VisionConfig(
    vt_hidden_size=192,
    vt_intermediate_size=768,
    vt_num_attention_heads=4,
    vt_num_hidden_layers=6,
    init_pos_emb_height=16,
    init_pos_emb_width=16,
)
# For a model of nano's size: 2.2 M weights with the projector to 256; a frame sees its 0.64 s and 5.12 s before them.
NANO_AUDIO = AudioConfig(
    d_model=192,
    encoder_layers=4,
    encoder_attention_heads=4,
    encoder_ffn_dim=768,
    max_source_positions=1536,
    chunk_seconds=0.64,
    left_chunks=8,
    mel_floor=-7.0,  # eight below the loudest of clips as people record them, by their median
)


def _k2_0711() -> ModelConfig:
    return ModelConfig(
        model_type="kimi_k2",
        vocab_size=163840,
        hidden_size=7168,
        num_hidden_layers=61,
        num_attention_heads=64,
        intermediate_size=18432,
        moe_intermediate_size=2048,
        q_lora_rank=1536,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        n_routed_experts=384,
        n_shared_experts=1,
        num_experts_per_tok=8,
        first_k_dense_replace=1,
        routed_scaling_factor=2.827,
        rms_norm_eps=1e-6,
        max_position_embeddings=131072,
        rope=RopeConfig(50000.0, 32.0, 4096, 1.0, 1.0, 1.0, 1.0),
        quantization=QuantConfig(),
        bos_token_id=163584,
        eos_token_ids=(163585,),
        pad_token_id=163839,
    )


def _k26() -> ModelConfig:
    return replace(
        _k2_0711(),
        model_type="kimi_k25",
        rms_norm_eps=1e-5,
        max_position_embeddings=262144,
        rope=RopeConfig(50000.0, 64.0, 4096, 32.0, 1.0, 1.0, 1.0),
        eos_token_ids=(163586,),
        vision=VisionConfig(),
        media_placeholder_token_id=163605,
    )


def _kimi_linear() -> ModelConfig:
    full = (4, 8, 12, 16, 20, 24, 27)
    return ModelConfig(
        model_type="kimi_linear",
        vocab_size=163840,
        hidden_size=2304,
        num_hidden_layers=27,
        num_attention_heads=32,
        intermediate_size=9216,
        moe_intermediate_size=1024,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        n_routed_experts=256,
        n_shared_experts=1,
        num_experts_per_tok=8,
        first_k_dense_replace=1,
        routed_scaling_factor=2.446,
        rms_norm_eps=1e-5,
        max_position_embeddings=1048576,
        mla_use_nope=True,
        bos_token_id=163584,
        eos_token_ids=(163586,),
        pad_token_id=163839,
        linear_attention=LinearAttentionConfig(
            kda_layers=tuple(i for i in range(1, 28) if i not in full),
            full_attn_layers=full,
            num_heads=32,
            head_dim=128,
        ),
    )


def _with_tokens(config: ModelConfig) -> ModelConfig:
    """The published special-token layout, shifted to the end of a smaller vocabulary."""
    base = config.vocab_size - 256
    return replace(config, bos_token_id=base, eos_token_ids=(base + 2,), pad_token_id=base + 255)


def _k2_bench() -> ModelConfig:
    return ModelConfig(
        model_type="kimi_k2",
        vocab_size=32768,
        hidden_size=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        intermediate_size=1024,
        moe_intermediate_size=256,
        q_lora_rank=256,
        kv_lora_rank=128,
        qk_nope_head_dim=64,
        qk_rope_head_dim=32,
        v_head_dim=64,
        n_routed_experts=64,
        n_shared_experts=1,
        num_experts_per_tok=8,
        first_k_dense_replace=1,
        routed_scaling_factor=2.827,
        max_position_embeddings=8192,
        rope=RopeConfig(50000.0),
        quantization=QuantConfig(),
    )


def _tiny() -> ModelConfig:
    return ModelConfig(
        model_type="perilune",
        vocab_size=512,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=128,
        moe_intermediate_size=32,
        q_lora_rank=32,
        kv_lora_rank=32,
        qk_nope_head_dim=32,
        qk_rope_head_dim=32,
        v_head_dim=32,
        n_routed_experts=8,
        n_shared_experts=1,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        routed_scaling_factor=2.0,
        max_position_embeddings=1024,
        quantization=QuantConfig(),
    )


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "k2.6": _k26,
    "k2-0711": _k2_0711,
    "kimi-linear": _kimi_linear,
    "k2-bench": lambda: _with_tokens(_k2_bench()),
    "tiny": lambda: _with_tokens(_tiny()),
}


def preset(name: str) -> ModelConfig:
    """The shape of that name; ConfigError lists the names there are."""
    if name not in PRESETS:
        raise ConfigError(f"no shape is called {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]()
