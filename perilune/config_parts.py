"""The settings that are tables of their own: rotary positions, quantisation, linear attention, chunk memory."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from perilune.config import (
    GATES,
    INT4_GROUP,
    MEMORY_SIZES,
    LinearAttentionConfig,
    MemoryConfig,
    QuantConfig,
    RopeConfig,
)
from perilune.errors import ConfigError
from perilune.fields import Fields, show_value

MAX_POSITIONS = 1 << 31
MAX_MEMORY_SIZE = 1 << 16
QUANT_PLACES = ("quantization_config", "compression_config")


def read_rope(fields: Fields) -> RopeConfig:
    """rope_theta + rope_scaling, or rope_parameters; where both are written they must agree."""
    found: dict[str, RopeConfig] = {}
    for spelling in ("rope_parameters", "rope_scaling"):
        name, raw = fields.table(spelling)
        if raw:
            found[name] = _read_scaling(fields, name, _one_kind(name, raw))
    if len(found) == 2:
        (one, first), (other, second) = found.items()
        if first != second:
            raise ConfigError(f"{one} and {other} disagree: {first} against {second}; keep one of them")
    plain = RopeConfig(theta=fields.number("rope_theta", low=1.0, high=1e15, default=10000.0))
    return next(iter(found.values()), plain)


def _one_kind(name: str, raw: dict[str, Any]) -> dict[str, Any]:
    """Newer configs may nest the settings by layer type; the attention here is "full_attention"."""
    kinds = {kind: value for kind, value in raw.items() if isinstance(value, dict)}
    if not kinds:
        return raw
    chosen = kinds.get("full_attention")
    if chosen is None and len(kinds) == 1:
        chosen = next(iter(kinds.values()))
    if chosen is None:
        raise ConfigError(f"{name} has the layer types {show_value(sorted(kinds))}; one must be full_attention")
    return chosen


def _read_scaling(fields: Fields, name: str, raw: dict[str, Any]) -> RopeConfig:
    part = Fields((name + ".", raw))
    theta = Fields(*part.places, *fields.places).number("rope_theta", low=1.0, high=1e15, default=10000.0)
    if name.endswith("rope_scaling") and not part.present("type", "rope_type"):
        raise ConfigError(f"{name} has no type; it must be yarn (or leave rope_scaling out)")
    kind = part.word("rope_type", "type", choices=("yarn", "default"), default="default")
    if part.number("partial_rotary_factor", low=0.0, high=1.0, default=1.0) != 1.0:
        raise ConfigError(f"{name}.partial_rotary_factor must be 1: qk_rope_head_dim says what is rotated")
    if not part.flag("truncate", default=True):
        raise ConfigError(f"{name}.truncate = false is not supported; the published models round the ramp's ends")
    factor = part.number("factor", low=1.0, high=1e6, default=1.0 if kind == "default" else None)
    if kind == "default":
        if factor != 1.0:
            raise ConfigError(f"{name}.factor = {factor:g} needs type yarn, but the type is default")
        return RopeConfig(theta=theta)
    positions = "original_max_position_embeddings"
    rope = RopeConfig(
        theta=theta,
        factor=factor,
        original_max_position_embeddings=part.integer(positions, low=1, high=MAX_POSITIONS),
        beta_fast=part.number("beta_fast", low=1e-6, high=1e6, default=32.0),
        beta_slow=part.number("beta_slow", low=1e-6, high=1e6, default=1.0),
        mscale=part.number("mscale", low=0.0, high=100.0, default=1.0),
        mscale_all_dim=part.number("mscale_all_dim", low=0.0, high=100.0, default=0.0),
    )
    given = part.number("attention_factor", low=0.0, high=1e3, default=rope.attention_factor)
    if abs(given - rope.attention_factor) > 1e-6:
        raise ConfigError(f"{name}.attention_factor = {given:g} disagrees with mscale: {rope.attention_factor:g}")
    return rope


def rope_dict(rope: RopeConfig) -> dict[str, Any]:
    if not rope.is_yarn:
        return {"rope_theta": rope.theta, "rope_scaling": None}
    names = "beta_fast beta_slow factor mscale mscale_all_dim original_max_position_embeddings"
    scaling = {name: getattr(rope, name) for name in names.split()} | {"type": "yarn"}
    return {"rope_theta": rope.theta, "rope_scaling": scaling}


def read_quantization(fields: Fields) -> QuantConfig | None:
    """The published INT4 grid or none; other methods are refused by name."""
    name, raw = fields.table(*QUANT_PLACES)
    if not raw:
        return None
    part = Fields((name + ".", raw))
    method = part.find("quant_method")[1]
    if method != "compressed-tensors":
        raise ConfigError(
            f"{name}.quant_method = {show_value(method)} is not supported; perilune reads "
            "compressed-tensors (INT4 pack-quantized) or unquantised checkpoints"
        )
    part.word("format", choices=("pack-quantized",), default="pack-quantized")
    part.word("quantization_status", choices=("compressed", "frozen"), default="compressed")
    if part.present("kv_cache_scheme"):
        raise ConfigError(f"{name}.kv_cache_scheme must be null: the cache is not quantised")
    _check_weight_scheme(part)
    ignore = part.find("ignore")[1]
    ignore = [] if ignore is None else ignore
    if not isinstance(ignore, list) or not all(isinstance(item, str) for item in ignore):
        part.refuse(name + ".ignore", ignore, "a list of module names")
    return QuantConfig(num_bits=4, group_size=INT4_GROUP, ignore=tuple(ignore))


def _check_weight_scheme(part: Fields) -> None:
    name, groups = part.table("config_groups")
    if not groups or len(groups) != 1:
        part.refuse(name, groups, "an object with one group")
    label, group = next(iter(groups.items()))
    scheme = Fields((f"{name}.{label}.", group if isinstance(group, dict) else {}))
    for side in ("input_activations", "output_activations"):
        if scheme.present(side):
            raise ConfigError(f"{name}.{label}.{side} must be null: only weights are quantised")
    weights_name, weights = scheme.table("weights")
    if weights is None:
        scheme.refuse(weights_name, weights, "an object with num_bits, group_size, …")
    grid = Fields((weights_name + ".", weights))
    grid.integer("num_bits", low=4, high=4)
    grid.integer("group_size", low=INT4_GROUP, high=INT4_GROUP)
    grid.word("type", choices=("int",), default="int")
    grid.word("strategy", choices=("group",), default="group")
    for field, only in (("symmetric", True), ("dynamic", False)):
        if grid.flag(field, default=only) is not only:
            raise ConfigError(f"{weights_name}.{field} must be {str(only).lower()}")
    for field in ("actorder", "block_structure"):
        value = grid.find(field)[1]
        if value is not None and value is not False:
            raise ConfigError(f"{weights_name}.{field} = {show_value(value)} is not supported; it must be null")


def quant_dict(quant: QuantConfig) -> dict[str, Any]:
    weights = {
        "actorder": None,
        "block_structure": None,
        "dynamic": False,
        "group_size": quant.group_size,
        "num_bits": quant.num_bits,
        "observer": "minmax",
        "observer_kwargs": {},
        "strategy": "group",
        "symmetric": True,
        "type": "int",
    }
    group = {"input_activations": None, "output_activations": None, "targets": ["Linear"], "weights": weights}
    return {
        "config_groups": {"group_0": group},
        "format": quant.format,
        "ignore": list(quant.ignore),
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
    }


def read_linear_attention(fields: Fields, layers: int) -> LinearAttentionConfig:
    """Published: linear_attn_config, layers numbered from 1; transformers 5 writes layer_types instead."""
    name, raw = fields.table("linear_attn_config")
    kinds_name, kinds = fields.find("layer_types")
    part = Fields((name + ".", raw or {}), *([] if raw else fields.places))
    lists: dict[str, tuple[int, ...]] = {}
    if kinds is not None:
        lists = _lists_from_kinds(fields, kinds_name, kinds, layers)
    for key in ("kda_layers", "full_attn_layers"):
        listed = (raw or {}).get(key)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(type(i) is int and 1 <= i <= layers for i in listed):
            fields.refuse(f"{name}.{key}", listed, f"a list of layer numbers from 1 to {layers}")
        if sorted(listed) != list(lists.get(key, sorted(listed))):
            raise ConfigError(f"{name}.{key} = {show_value(listed)} disagrees with {kinds_name}")
        lists[key] = tuple(sorted(listed))
    if len(lists) != 2:
        raise ConfigError(f"{name} must list kda_layers and full_attn_layers, numbered from 1")
    return LinearAttentionConfig(
        kda_layers=lists["kda_layers"],
        full_attn_layers=lists["full_attn_layers"],
        num_heads=part.integer("num_heads", "linear_num_heads", low=1, high=1 << 16),
        head_dim=part.integer("head_dim" if raw else "linear_head_dim", low=1, high=1 << 14),
        short_conv_kernel_size=part.integer(
            "short_conv_kernel_size", "linear_conv_kernel_dim", low=1, high=64, default=4
        ),
        gate=part.word("gate", choices=GATES, default=GATES[0]),
    )


def linear_attention_dict(linear: LinearAttentionConfig) -> dict[str, Any]:
    gate = {} if linear.gate == GATES[0] else {"gate": linear.gate}
    return {
        "kda_layers": list(linear.kda_layers),
        "full_attn_layers": list(linear.full_attn_layers),
        "num_heads": linear.num_heads,
        "head_dim": linear.head_dim,
        "short_conv_kernel_size": linear.short_conv_kernel_size,
    } | gate


def read_memory(fields: Fields) -> MemoryConfig | None:
    """The chunk memory of a perilune model, or none."""
    name, raw = fields.table("memory_config")
    if not raw:
        return None
    part = Fields((name + ".", raw))
    plain = MemoryConfig(num_read_layers=1)
    sizes = {
        size: part.integer(size, low=1, high=MAX_MEMORY_SIZE, default=getattr(plain, size))
        for size in MEMORY_SIZES
        if size != "num_read_layers"
    }
    return MemoryConfig(
        num_read_layers=part.integer("num_read_layers", low=1, high=MAX_MEMORY_SIZE),
        overlap=part.integer("overlap", low=0, high=MAX_MEMORY_SIZE, default=plain.overlap),
        answer_token_id=part.optional_integer("answer_token_id", low=0, high=MAX_POSITIONS),
        **sizes,
    )


def memory_dict(memory: MemoryConfig) -> dict[str, Any]:
    return asdict(memory)


def _lists_from_kinds(fields: Fields, name: str, kinds: object, layers: int) -> dict[str, tuple[int, ...]]:
    allowed = ("linear_attention", "full_attention")
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in allowed for kind in kinds):
        fields.refuse(name, kinds, f"a list with linear_attention or full_attention for each of the {layers} layers")
    return {
        key: tuple(i + 1 for i, kind in enumerate(kinds) if kind == wanted)
        for key, wanted in (("kda_layers", allowed[0]), ("full_attn_layers", allowed[1]))
    }
