"""What a model is made of: frozen settings under their published names, checked once when they are made."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perilune.config_audio import AudioConfig
from perilune.config_vision import VisionConfig
from perilune.errors import ConfigError
from perilune.fields import read_json_object

MODEL_TYPES = ("kimi_k25", "kimi_k2", "deepseek_v3", "kimi_linear", "perilune")
DTYPES = ("bfloat16", "float32", "float16")
MAX_CONFIG_BYTES = 4 << 20
# A table of expected tensors is built from these two, so their product is bounded.
MAX_EXPERTS_IN_ALL = 1 << 17
INT4_GROUP = 32
GATES = ("softplus", "sigmoid")
MEMORY_SIZES = [
    "num_read_layers",
    "chunk_size",
    "top_k",
    "window",
    "segment",
    "latent_rank",
    "index_groups",
    "index_dim",
    "query_rank",
    "taps",
    "copy_dim",
    "look_width",
    "look_heads",
    "renew",
]

PUBLISHED_IGNORE = (
    "lm_head",
    "re:.*self_attn.*",
    "re:.*shared_experts.*",
    r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
)


def _require(good: bool, message: str) -> None:
    if not good:
        raise ConfigError(message)


@dataclass(frozen=True)
class RopeConfig:
    """Rotary positions; YaRN when original_max_position_embeddings is set."""

    theta: float = 10000.0
    factor: float = 1.0
    original_max_position_embeddings: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 1.0
    mscale_all_dim: float = 0.0

    def __post_init__(self) -> None:
        _require(self.theta > 1, f"rope_theta = {self.theta} must be above 1")
        _require(
            self.beta_fast >= self.beta_slow,
            f"beta_fast = {self.beta_fast} must not be below beta_slow = {self.beta_slow}",
        )

    @property
    def is_yarn(self) -> bool:
        return self.original_max_position_embeddings > 0

    def mscale_for(self, mscale: float) -> float:
        """YaRN's length-dependent magnitude, 1 where there is no stretch."""
        stretched = self.is_yarn and self.factor > 1
        return 0.1 * mscale * math.log(self.factor) + 1.0 if stretched else 1.0

    @property
    def attention_factor(self) -> float:
        """The multiplier of cos and sin (1.0 for the published models)."""
        if self.mscale and self.mscale_all_dim:
            return self.mscale_for(self.mscale) / self.mscale_for(self.mscale_all_dim)
        return self.mscale_for(1.0)


@dataclass(frozen=True)
class QuantConfig:
    """The published INT4 grid: symmetric, groups along the input dimension, routed experts only."""

    num_bits: int = 4
    group_size: int = INT4_GROUP
    ignore: tuple[str, ...] = PUBLISHED_IGNORE
    format: str = "pack-quantized"


@dataclass(frozen=True)
class LinearAttentionConfig:
    """Which layers use Kimi Delta Attention (numbered from 1, as published) and its sizes."""

    kda_layers: tuple[int, ...]
    full_attn_layers: tuple[int, ...]
    num_heads: int
    head_dim: int
    short_conv_kernel_size: int = 4
    gate: str = "softplus"

    def is_kda(self, layer: int) -> bool:
        """layer counts from 0, as everywhere in the code."""
        return layer + 1 in self.kda_layers


# Of the second look (model/second_look.py), the same in every model: windows around a place, the tokens its two layers
# see (so many back, after it where negative), and up to which length runs of equal tokens are told apart.
LOOK_WINDOWS = 7
LOOK_NEAR, LOOK_FAR = (1, 0, -1, -2), (2, 1, 0, -1, -2)
LOOK_HEAD_DIM = 32
LONGEST_RUN = 6
TOLD_AFTER = (1, 2, 3)  # runs of such lengths tell: chance repeats single tokens, and a value may be no longer than one


@dataclass(frozen=True)
class MemoryConfig:
    """The chunk memory of a perilune model: layers below `num_read_layers` read, those above ask the memory.

    `window` is what a layer above sees of the live tokens; `segment` how many tokens are read before every recurrent
    state starts afresh, `overlap` how many tokens before a segment are read again to warm it up. Live tokens read the
    memory from `answer_token_id` on up to an end of turn (all of them where it is None), and choose anew there and
    every `renew` tokens.
    """

    num_read_layers: int
    chunk_size: int = 64
    top_k: int = 16
    window: int = 512
    segment: int = 2048
    overlap: int = 64
    latent_rank: int = 128
    index_groups: int = 2
    index_dim: int = 64
    query_rank: int = 32
    taps: int = 3
    copy_dim: int = 64
    look_width: int = 192
    look_heads: int = 4
    renew: int = 64
    answer_token_id: int | None = None

    @property
    def look_fits(self) -> int:
        """In how many ways the second look measures a place: windows for each kind of match (one for each index group,
        and literal runs), and whether it stands in the head of its segment."""
        return LOOK_WINDOWS * (self.index_groups + 1) + 1

    def __post_init__(self) -> None:
        for name in MEMORY_SIZES:
            _require(getattr(self, name) > 0, f"memory_config.{name} = {getattr(self, name)} must be at least 1")
        _require(
            self.chunk_size % 16 == 0 and self.index_dim % 4 == 0,
            f"memory_config.chunk_size = {self.chunk_size} must be a multiple of 16, index_dim = {self.index_dim} of 4",
        )
        _require(self.taps > 1, f"memory_config.taps = {self.taps} must be at least 2: a token and the one before it")
        for name in ("segment", "overlap", "window"):
            size = getattr(self, name)
            _require(
                size > 0 and size % self.chunk_size == 0,
                f"memory_config.{name} = {size} must be a multiple of chunk_size = {self.chunk_size}",
            )


@dataclass(frozen=True)
class ModelConfig:
    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None = None
    moe_intermediate_size: int = 0
    n_routed_experts: int = 0
    n_shared_experts: int = 0
    num_experts_per_tok: int = 0
    n_group: int = 1
    topk_group: int = 1
    first_k_dense_replace: int = 0
    moe_layer_freq: int = 1
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.0
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 4096
    rope: RopeConfig = RopeConfig()
    rope_interleave: bool = True
    mla_use_nope: bool = False
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    pad_token_id: int | None = None
    dtype: str = "bfloat16"
    quantization: QuantConfig | None = None
    num_nextn_predict_layers: int = 0
    linear_attention: LinearAttentionConfig | None = None
    memory: MemoryConfig | None = None
    vision: VisionConfig | None = None
    audio: AudioConfig | None = None
    media_placeholder_token_id: int | None = None

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_experts(self)
        _check_linear_attention(self)
        _check_memory(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ModelConfig:
        """From the content of a published config.json."""
        from perilune.config_json import read_config

        return read_config(raw)

    @classmethod
    def load(cls, directory: str | Path) -> ModelConfig:
        return cls.from_dict(read_json_object(Path(directory) / "config.json", MAX_CONFIG_BYTES))

    @classmethod
    def preset(cls, name: str) -> ModelConfig:
        """A named shape: see perilune/presets.py for the list."""
        from perilune.presets import preset

        return preset(name)

    def to_dict(self) -> dict[str, Any]:
        """The published spelling; from_dict gives the same config back."""
        from perilune.config_json import write_config

        return write_config(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def with_full_attention(self) -> ModelConfig:
        """The same sizes with latent attention over everything in every layer: what the hybrid is measured against."""
        return replace(self, memory=None, linear_attention=None)

    @property
    def qk_head_dim(self) -> int:
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def cache_width(self) -> int:
        """Numbers of one latent cache row."""
        return self.kv_lora_rank + self.qk_rope_head_dim

    @property
    def softmax_scale(self) -> float:
        """Includes YaRN's mscale squared: without it long contexts degrade silently."""
        return self.qk_head_dim**-0.5 * self.rope.mscale_for(self.rope.mscale_all_dim) ** 2

    @property
    def tensor_prefix(self) -> str:
        return "language_model." if self.model_type == "kimi_k25" else ""

    def is_moe_layer(self, layer: int) -> bool:
        after_dense = layer >= self.first_k_dense_replace and layer % self.moe_layer_freq == 0
        return self.n_routed_experts > 0 and after_dense

    def is_reader(self, layer: int) -> bool:
        """Whether a layer sees a window and asks the chunk memory."""
        return self.memory is not None and layer >= self.memory.num_read_layers

    @property
    def senses(self) -> dict[str, VisionConfig | AudioConfig]:
        """What the model sees and hears with, by the names of Transformer.senses."""
        told = {"vision": self.vision, "hearing": self.audio}
        return {name: config for name, config in told.items() if config is not None}

    def is_kda_layer(self, layer: int) -> bool:
        return self.linear_attention is not None and self.linear_attention.is_kda(layer)


def _check_sizes(c: ModelConfig) -> None:
    _require(c.model_type in MODEL_TYPES, f"model_type {c.model_type!r} must be one of {', '.join(MODEL_TYPES)}")
    _require(c.dtype in DTYPES, f"dtype {c.dtype!r} must be one of {', '.join(DTYPES)}")
    for name in (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
    ):
        _require(getattr(c, name) > 0, f"{name} = {getattr(c, name)} must be at least 1")
    for name in ("kv_lora_rank", "qk_nope_head_dim", "v_head_dim", "qk_rope_head_dim"):
        _require(getattr(c, name) > 0, f"{name} = {getattr(c, name)} must be at least 1")
    _require(
        c.qk_rope_head_dim % 2 == 0,
        f"qk_rope_head_dim = {c.qk_rope_head_dim} must be even: positions rotate pairs",
    )
    _require(
        c.first_k_dense_replace <= c.num_hidden_layers,
        f"first_k_dense_replace = {c.first_k_dense_replace} exceeds num_hidden_layers {c.num_hidden_layers}",
    )


def _check_experts(c: ModelConfig) -> None:
    if c.n_routed_experts == 0:
        _require(c.quantization is None, "quantization covers routed experts, but n_routed_experts = 0")
        return
    experts, top_k, groups = c.n_routed_experts, c.num_experts_per_tok, c.n_group
    _require(c.moe_intermediate_size > 0, "moe_intermediate_size must be at least 1 when there are experts")
    _require(
        1 <= top_k <= experts,
        f"num_experts_per_tok = {top_k} must be from 1 to n_routed_experts = {experts}",
    )
    _require(
        experts * c.num_hidden_layers <= MAX_EXPERTS_IN_ALL,
        f"n_routed_experts = {experts} times num_hidden_layers = {c.num_hidden_layers} "
        f"is more than {MAX_EXPERTS_IN_ALL} experts",
    )
    _require(
        groups >= 1 and experts % groups == 0,
        f"n_group = {groups} must divide n_routed_experts = {experts}",
    )
    _require(
        groups == 1 or experts // groups >= 2,
        f"n_group = {groups} leaves {experts // groups} expert a group; a group is ranked by its best two",
    )
    _require(
        1 <= c.topk_group <= groups,
        f"topk_group = {c.topk_group} must be from 1 to n_group = {groups}",
    )
    _require(
        top_k <= c.topk_group * (experts // groups),
        f"num_experts_per_tok = {top_k} does not fit in topk_group = {c.topk_group} groups "
        f"of {experts // groups} experts",
    )
    if c.quantization:
        for name in ("hidden_size", "moe_intermediate_size"):
            _require(
                getattr(c, name) % c.quantization.group_size == 0,
                f"{name} = {getattr(c, name)} must be a multiple of the quantisation "
                f"group_size = {c.quantization.group_size}",
            )


def _check_linear_attention(c: ModelConfig) -> None:
    if c.linear_attention is None:
        return
    kda, full = c.linear_attention.kda_layers, c.linear_attention.full_attn_layers
    _require(
        sorted(kda + full) == list(range(1, c.num_hidden_layers + 1)),
        "kda_layers and full_attn_layers must together name every layer from 1 to "
        f"num_hidden_layers = {c.num_hidden_layers} once",
    )


def _check_memory(c: ModelConfig) -> None:
    if c.memory is None:
        return
    below = c.memory.num_read_layers
    _require(c.model_type == "perilune", f"memory_config belongs to perilune, but model_type is {c.model_type!r}")
    _require(
        below < c.num_hidden_layers,
        f"memory_config.num_read_layers = {below} must be below num_hidden_layers = {c.num_hidden_layers}",
    )
    _require(
        all(c.is_kda_layer(layer) == (layer < below) for layer in range(c.num_hidden_layers)),
        f"with a memory, kda_layers must be the first num_read_layers = {below} layers: what is read needs a state "
        "that does not grow",
    )
