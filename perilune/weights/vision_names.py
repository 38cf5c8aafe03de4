"""The published tensors of the vision tower and its projector: names and shapes from the vision config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perilune.errors import ConfigError
from perilune.fields import Fields

VISION_PREFIXES = ("vision_tower.", "mm_projector.")


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _block(width: int, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _norm("norm0", width)
    yield from _norm("norm1", width)
    yield from _linear("wqkv", 3 * width, width)
    yield from _linear("wo", width, width)
    yield from _linear("mlp.fc0", inner, width)
    yield from _linear("mlp.fc1", width, inner)


def vision_tensors(vision: dict[str, Any], hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Name → shape for a published vision_config (335 tensors for K2.6)."""
    fields = Fields(("vision_config.", vision))
    width = fields.integer("vt_hidden_size", low=1, high=1 << 16)
    inner = fields.integer("vt_intermediate_size", low=1, high=1 << 18)
    layers = fields.integer("vt_num_hidden_layers", low=1, high=1024)
    patch = fields.integer("patch_size", low=1, high=1024)
    height = fields.integer("init_pos_emb_height", low=1, high=1 << 14)
    across = fields.integer("init_pos_emb_width", low=1, high=1 << 14)
    name, merge = fields.find("merge_kernel_size")
    if not isinstance(merge, list) or len(merge) != 2 or not all(m in range(1, 65) for m in merge):
        raise ConfigError(f"{name} must be a list of two small integers")
    merged = width * merge[0] * merge[1]
    tower = "vision_tower."
    table: dict[str, tuple[int, ...]] = {
        f"{tower}patch_embed.proj.weight": (width, 3, patch, patch),
        f"{tower}patch_embed.proj.bias": (width,),
        f"{tower}patch_embed.pos_emb.weight": (height, across, width),
    }
    for layer in range(layers):
        table |= {f"{tower}encoder.blocks.{layer}.{part}": shape for part, shape in _block(width, inner)}
    table |= dict(_norm(f"{tower}encoder.final_layernorm", width))
    table |= dict(_norm("mm_projector.pre_norm", width))
    table |= dict(_linear("mm_projector.proj.0", merged, merged))
    return table | dict(_linear("mm_projector.proj.2", hidden_size, merged))
