"""The published tensors of the vision tower and its projector: names and shapes from the vision config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perilune.config_vision import read_vision_config

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
    c = read_vision_config(vision)
    width, inner, merged = c.vt_hidden_size, c.vt_intermediate_size, c.vt_hidden_size * c.merged
    tower = "vision_tower."
    table: dict[str, tuple[int, ...]] = {
        f"{tower}patch_embed.proj.weight": (width, 3, c.patch_size, c.patch_size),
        f"{tower}patch_embed.proj.bias": (width,),
        f"{tower}patch_embed.pos_emb.weight": (c.init_pos_emb_height, c.init_pos_emb_width, width),
    }
    for layer in range(c.vt_num_hidden_layers):
        table |= {f"{tower}encoder.blocks.{layer}.{part}": shape for part, shape in _block(width, inner)}
    table |= dict(_norm(f"{tower}encoder.final_layernorm", width))
    table |= dict(_norm("mm_projector.pre_norm", width))
    table |= dict(_linear("mm_projector.proj.0", merged, merged))
    return table | dict(_linear("mm_projector.proj.2", hidden_size, merged))
