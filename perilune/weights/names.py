"""Published tensor names: which a config asks for, with shape and dtype, and what ours are called.

Ours = the published name without the multimodal prefix and without "model."; Kimi-Linear's expert names are
the only ones spelled differently (the table below).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from perilune.config import LONGEST_RUN, LOOK_FAR, LOOK_HEAD_DIM, LOOK_NEAR, TOLD_AFTER, MemoryConfig, ModelConfig
from perilune.errors import WeightsError
from perilune.fields import show_value
from perilune.weights.audio_names import AUDIO_PREFIXES
from perilune.weights.files import Checkpoint
from perilune.weights.header import Kind, collector_off
from perilune.weights.vision_names import VISION_PREFIXES

FLOATS = frozenset(("BF16", "F16", "F32"))
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
KIMI_LINEAR_PROJECTIONS = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
KIMI_LINEAR_MOE = "block_sparse_moe"
SHOWN = 4


class Expected(NamedTuple):
    shape: tuple[int, ...]
    dtypes: frozenset[str] = FLOATS
    optional: bool = False


PACKED = frozenset(("I32",))
SCALES = frozenset(("BF16",))
SHAPES = frozenset(("I32", "I64"))


def model_prefix(config: ModelConfig) -> str:
    return config.tensor_prefix + "model."


def _layer_prefix(config: ModelConfig, layer: int) -> str:
    return f"{model_prefix(config)}layers.{layer}."


def _moe_name(config: ModelConfig) -> str:
    return KIMI_LINEAR_MOE if config.model_type == "kimi_linear" else "mlp"


def expert_prefix(config: ModelConfig, layer: int, expert: int, projection: str) -> str:
    """The published name of one expert's gate_proj, up_proj or down_proj, up to and with the last dot."""
    if config.model_type == "kimi_linear":
        projection = KIMI_LINEAR_PROJECTIONS[projection]
    return f"{_layer_prefix(config, layer)}{_moe_name(config)}.experts.{expert}.{projection}."


def our_name(published: str, config: ModelConfig) -> str:
    """The name inside the model: "language_model.model.norm.weight" → "norm.weight"."""
    name = published.removeprefix(config.tensor_prefix).removeprefix("model.")
    if config.model_type == "kimi_linear" and f".{KIMI_LINEAR_MOE}." in name:
        name = name.replace(f".{KIMI_LINEAR_MOE}.", ".mlp.")
        for ours, theirs in KIMI_LINEAR_PROJECTIONS.items():
            name = name.replace(f".{theirs}.", f".{ours}.") if ".experts." in name else name
    return name


def published_name(ours: str, config: ModelConfig) -> str:
    """The inverse of our_name."""
    if ours == "lm_head.weight":
        return config.tensor_prefix + ours
    parts = ours.split(".")
    if config.model_type == "kimi_linear" and parts[0] == "layers" and config.is_moe_layer(int(parts[1])):
        parts[2] = KIMI_LINEAR_MOE if parts[2] == "mlp" else parts[2]
        if len(parts) > 5 and parts[3] == "experts":
            parts[5] = KIMI_LINEAR_PROJECTIONS[parts[5]]
    return model_prefix(config) + ".".join(parts)


def _mla(c: ModelConfig) -> Iterator[tuple[str, Expected]]:
    heads, qk = c.num_attention_heads, c.qk_head_dim
    if c.q_lora_rank is None:
        yield "q_proj.weight", Expected((heads * qk, c.hidden_size))
    else:
        yield "q_a_proj.weight", Expected((c.q_lora_rank, c.hidden_size))
        yield "q_a_layernorm.weight", Expected((c.q_lora_rank,))
        yield "q_b_proj.weight", Expected((heads * qk, c.q_lora_rank))
    yield "kv_a_proj_with_mqa.weight", Expected((c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size))
    yield "kv_a_layernorm.weight", Expected((c.kv_lora_rank,))
    yield "kv_b_proj.weight", Expected((heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank))
    yield "o_proj.weight", Expected((c.hidden_size, heads * c.v_head_dim))


def _kda(c: ModelConfig) -> Iterator[tuple[str, Expected]]:
    linear = c.linear_attention
    assert linear is not None
    wide = linear.num_heads * linear.head_dim
    for name in "qkv":
        yield f"{name}_proj.weight", Expected((wide, c.hidden_size))
        yield f"{name}_conv1d.weight", Expected((wide, 1, linear.short_conv_kernel_size))
    for name in "fg":
        yield f"{name}_a_proj.weight", Expected((linear.head_dim, c.hidden_size))
        yield f"{name}_b_proj.weight", Expected((wide, linear.head_dim))
    yield "dt_bias", Expected((wide,))
    yield "A_log", Expected((1, 1, linear.num_heads, 1))
    yield "b_proj.weight", Expected((linear.num_heads, c.hidden_size))
    yield "o_norm.weight", Expected((linear.head_dim,))
    yield "o_proj.weight", Expected((c.hidden_size, wide))


def _reader(c: ModelConfig) -> Iterator[tuple[str, Expected]]:
    """What a layer above the chunk memory has besides its latent attention."""
    memory, heads = c.memory, c.num_attention_heads
    assert memory is not None
    yield "memory_q_proj.weight", Expected((heads * c.qk_nope_head_dim, c.hidden_size))
    yield "memory_kv_b_proj.weight", Expected((heads * (c.qk_nope_head_dim + c.v_head_dim), memory.latent_rank))
    yield "chunk_scale", Expected((heads,))
    yield "fit_scale", Expected((heads,))
    yield "sink", Expected((memory.latent_rank,))


def _memory(c: ModelConfig) -> Iterator[tuple[str, Expected]]:
    """The chunk memory and the copy head of a perilune model."""
    memory = c.memory
    assert memory is not None
    index, taps = memory.index_groups * memory.index_dim, memory.taps * c.hidden_size
    yield "memory.norm.weight", Expected((c.hidden_size,))
    yield "memory.latent_proj.weight", Expected((memory.latent_rank, taps))
    yield "memory.latent_norm.weight", Expected((memory.latent_rank,))
    yield "memory.index_proj.weight", Expected((index, taps))
    yield "memory.query_down.weight", Expected((memory.query_rank, c.hidden_size))
    yield "memory.query_up.weight", Expected((index, memory.query_rank))
    yield "memory.weight_proj.weight", Expected((memory.index_groups, c.hidden_size))
    yield "memory.weight_bias", Expected((memory.index_groups,))
    yield "memory.keep_proj.weight", Expected((1, c.hidden_size))
    yield "memory.keep_bias", Expected((1,))
    width = memory.look_width
    near = len(LOOK_NEAR) * (memory.latent_rank + memory.look_fits)
    yield "second_look.in_proj.weight", Expected((width, near))
    yield "second_look.mix_proj.weight", Expected((width, len(LOOK_FAR) * width))
    yield from _look_layer(memory)
    yield "second_look.out_proj.weight", Expected((memory.latent_rank, width))
    yield "second_look.point_proj.weight", Expected((1, width))
    yield "second_look.begin_proj.weight", Expected((1, width))
    yield "second_look.end_proj.weight", Expected((1, width))
    yield "second_look.fit_weight", Expected((memory.look_fits,))
    yield "copy_head.key_proj.weight", Expected((memory.copy_dim, memory.latent_rank))
    yield "copy_head.query_proj.weight", Expected((memory.copy_dim, c.hidden_size))
    yield "copy_head.latent_query_proj.weight", Expected((memory.copy_dim, memory.latent_rank))
    yield "copy_head.gate_proj.weight", Expected((1, c.hidden_size))
    yield "copy_head.gate_latent_proj.weight", Expected((1, memory.latent_rank))
    yield "copy_head.gate_bias", Expected((1,))
    yield "copy_head.left_proj.weight", Expected((c.hidden_size, 2 * len(TOLD_AFTER)))
    yield "copy_head.span_proj.weight", Expected((c.hidden_size, 2))
    yield "copy_head.follow_proj.weight", Expected((2, c.hidden_size))
    yield "copy_head.follow_bias", Expected((2,))
    for name in ("gate_run", "run_bias", "told_bias"):
        yield f"copy_head.{name}", Expected((LONGEST_RUN + 1,))
    yield "copy_head.chunk_scale", Expected((1,))
    yield "copy_head.fit_scale", Expected((1,))


def _look_layer(memory: MemoryConfig) -> Iterator[tuple[str, Expected]]:
    width, inner, name = memory.look_width, memory.look_heads * LOOK_HEAD_DIM, "second_look.layer"
    yield f"{name}.neighbours.norm.weight", Expected((width,))
    yield f"{name}.neighbours.qkv_proj.weight", Expected((3 * inner, width))
    yield f"{name}.neighbours.o_proj.weight", Expected((width, inner))
    yield f"{name}.neighbours.distance_bias", Expected((memory.look_heads, 2 * memory.chunk_size + 1))
    yield f"{name}.question.norm.weight", Expected((width,))
    yield f"{name}.question.q_proj.weight", Expected((inner, width))
    for part in ("k", "v"):
        yield f"{name}.question.{part}_proj.weight", Expected((inner, memory.latent_rank))
    yield f"{name}.question.o_proj.weight", Expected((width, inner))
    yield f"{name}.norm.weight", Expected((width,))
    yield f"{name}.up_proj.weight", Expected((2 * width, width))
    yield f"{name}.down_proj.weight", Expected((width, 2 * width))


def _ffn(hidden: int, width: int) -> Iterator[tuple[str, Expected]]:
    yield "gate_proj.weight", Expected((width, hidden))
    yield "up_proj.weight", Expected((width, hidden))
    yield "down_proj.weight", Expected((hidden, width))


def _expert_parts(c: ModelConfig) -> list[tuple[str, Expected]]:
    """The tensors of one routed expert, "gate_proj.weight" or the three packed ones for each projection."""
    hidden, width = c.hidden_size, c.moe_intermediate_size
    sizes = {"gate_proj": (width, hidden), "up_proj": (width, hidden), "down_proj": (hidden, width)}
    if c.quantization is None:
        return [(f"{name}.weight", Expected(size)) for name, size in sizes.items()]
    return [
        part
        for name, (rows, columns) in sizes.items()
        for part in (
            (f"{name}.weight_packed", Expected((rows, columns // 8), PACKED)),
            (f"{name}.weight_scale", Expected((rows, columns // c.quantization.group_size), SCALES)),
            (f"{name}.weight_shape", Expected((2,), SHAPES)),
        )
    ]


def _published_expert_parts(c: ModelConfig) -> list[tuple[str, Expected]]:
    table = KIMI_LINEAR_PROJECTIONS if c.model_type == "kimi_linear" else {}
    split = ((name.split("."), expected) for name, expected in _expert_parts(c))
    return [(f"{table.get(projection, projection)}.{part}", e) for (projection, part), e in split]


def _layer(c: ModelConfig, layer: int) -> Iterator[tuple[str, Expected]]:
    prefix = _layer_prefix(c, layer)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield f"{prefix}{norm}.weight", Expected((c.hidden_size,))
    for name, expected in _kda(c) if c.is_kda_layer(layer) else _mla(c):
        yield f"{prefix}self_attn.{name}", expected
    for name, expected in _reader(c) if c.is_reader(layer) else ():
        yield f"{prefix}self_attn.{name}", expected
    if not c.is_moe_layer(layer):
        for name, expected in _ffn(c.hidden_size, c.intermediate_size):
            yield f"{prefix}mlp.{name}", expected
        return
    moe = prefix + _moe_name(c) + "."
    yield f"{moe}gate.weight", Expected((c.n_routed_experts, c.hidden_size))
    yield f"{moe}gate.e_score_correction_bias", Expected((c.n_routed_experts,))
    if c.n_shared_experts:
        for name, expected in _ffn(c.hidden_size, c.n_shared_experts * c.moe_intermediate_size):
            yield f"{moe}shared_experts.{name}", expected
    parts = _published_expert_parts(c)
    for expert in range(c.n_routed_experts):
        for name, expected in parts:
            yield f"{moe}experts.{expert}.{name}", expected


def expected_tensors(config: ModelConfig) -> dict[str, Expected]:
    """Every text tensor the config asks for, by published name, in the order of the forward pass."""
    table = {f"{model_prefix(config)}embed_tokens.weight": Expected((config.vocab_size, config.hidden_size))}
    for layer in range(config.num_hidden_layers):
        table.update(_layer(config, layer))
    if config.memory is not None:
        table.update((model_prefix(config) + name, expected) for name, expected in _memory(config))
    table[f"{model_prefix(config)}norm.weight"] = Expected((config.hidden_size,))
    head = Expected((config.vocab_size, config.hidden_size), optional=config.tie_word_embeddings)
    table[f"{config.tensor_prefix}lm_head.weight"] = head
    return table


def is_ignored(name: str, config: ModelConfig) -> bool:
    """Known tensors the text path does not use: rotary tables, towers that see and hear, extra prediction layers."""
    if name.endswith(".rotary_emb.inv_freq"):
        return True
    sees = config.vision is not None or config.model_type == "kimi_k25"
    if sees and name.startswith(VISION_PREFIXES):
        return True
    if config.audio is not None and name.startswith(AUDIO_PREFIXES):
        return True
    return is_extra_layer(name, config)


def is_extra_layer(name: str, config: ModelConfig) -> bool:
    """Whether a tensor belongs to the prediction layers that follow the last one."""
    layers = f"{model_prefix(config)}layers."
    number = name.removeprefix(layers).split(".", 1)[0]
    if not name.startswith(layers) or not number.isdecimal() or len(number) > 6:
        return False
    extra = int(number) - config.num_hidden_layers
    return 0 <= extra < config.num_nextn_predict_layers


def check_tensors(config: ModelConfig, checkpoint: Checkpoint) -> dict[str, Expected]:
    """Compare names, shapes and dtypes with the config; headers only. Returns the expected tensors."""
    with collector_off():
        wanted, kinds = expected_tensors(config), checkpoint.kinds()
        if wanted.keys() != kinds.keys():
            _check_names(config, wanted, kinds)
        # Equal kinds are one object and experts share their Expected: few pairs are left to compare.
        found = list(map(kinds.get, wanted))
        pairs = dict(zip(zip(map(id, found), map(id, wanted.values()), strict=True), wanted, strict=True))
    for name in pairs.values():
        kind, expected = kinds.get(name), wanted[name]
        if kind is not None and (kind[1] != expected.shape or kind[0] not in expected.dtypes):
            _refuse_kind(name, kind, expected)
    return wanted


def check_part(checkpoint: Checkpoint, prefix: str | tuple[str, ...], wanted: dict[str, Expected]) -> None:
    """Compare what a checkpoint holds under some prefixes, a tower for one, with what config.json asks for there."""
    kinds = {name: kind for name, kind in checkpoint.kinds().items() if name.startswith(prefix)}
    missing = [name for name in wanted.keys() - kinds.keys() if not wanted[name].optional]
    _refuse_names(missing, [*(kinds.keys() - wanted.keys())])
    for name, kind in kinds.items():
        if kind[1] != wanted[name].shape or kind[0] not in wanted[name].dtypes:
            _refuse_kind(name, kind, wanted[name])


def _check_names(config: ModelConfig, wanted: dict[str, Expected], kinds: dict[str, Kind]) -> None:
    unknown = [name for name in kinds.keys() - wanted.keys() if not is_ignored(name, config)]
    if any(name.endswith(".weight_scale_inv") for name in unknown):
        raise WeightsError("this is an FP8 checkpoint (weight_scale_inv); perilune reads BF16, F16, F32 and INT4")
    _refuse_names([name for name in wanted.keys() - kinds.keys() if not wanted[name].optional], unknown)


def _refuse_names(missing: list[str], unknown: list[str]) -> None:
    if missing or unknown:
        found = [_listed(missing, "missing"), _listed(unknown, "unknown")]
        raise WeightsError("tensor names do not fit config.json: " + "; ".join(filter(None, found)))


def _refuse_kind(name: str, kind: Kind, expected: Expected) -> NoReturn:
    (dtype, shape), what = kind, show_value(name, 200)
    if shape != expected.shape:
        wanted = f"config.json asks for {list(expected.shape)}"
        raise WeightsError(f"{what} has shape {list(shape)}; {wanted}")
    raise WeightsError(f"{what} has dtype {dtype}; it must be {' or '.join(sorted(expected.dtypes))}")


def _listed(names: list[str], what: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what}: {', '.join(show_value(n, 200) for n in sorted(names)[:SHOWN])}{more}"


def check_stored_shapes(config: ModelConfig, checkpoint: Checkpoint) -> None:
    """Read every weight_shape (a few bytes each) and compare: a lying one means a foreign packing."""
    if config.quantization is None:
        return
    rows, columns = config.moe_intermediate_size, config.hidden_size
    wanted = {
        expert_prefix(config, layer, expert, projection) + "weight_shape": (columns, rows)
        if projection == "down_proj"
        else (rows, columns)
        for layer in filter(config.is_moe_layer, range(config.num_hidden_layers))
        for expert in range(config.n_routed_experts)
        for projection in PROJECTIONS
    }
    for name, stored in checkpoint.small(list(wanted)):
        if tuple(stored.tolist()) != wanted[name]:
            raise WeightsError(f"{name} says {stored.tolist()}; config.json asks for {list(wanted[name])}")
