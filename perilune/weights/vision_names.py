"""The published tensors of the vision tower and its projector: names and shapes from the vision config.

`vision_tower.*` and `mm_projector.*` are K2.5's and K2.6's names; Kimi-VL calls its projector
`multi_modal_projector.{pre_norm, linear_1, linear_2}`. Ours are the former.
"""

from __future__ import annotations

from collections.abc import Iterator

from perilune.config_vision import VisionConfig

TOWER, PROJECTOR, KIMI_VL_PROJECTOR = "vision_tower.", "mm_projector.", "multi_modal_projector."
VISION_PREFIXES = (TOWER, PROJECTOR, KIMI_VL_PROJECTOR)
KIMI_VL_PARTS = {"linear_1.": "proj.0.", "linear_2.": "proj.2."}


def our_vision_name(published: str) -> str:
    """The name inside the model, which is the one of K2.5."""
    if not published.startswith(KIMI_VL_PROJECTOR):
        return published
    name = published.removeprefix(KIMI_VL_PROJECTOR)
    for theirs, ours in KIMI_VL_PARTS.items():
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
    return PROJECTOR + name


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


def vision_tensors(vision: VisionConfig, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Name → shape for a vision config (335 tensors for K2.6)."""
    width, patch = vision.vt_hidden_size, vision.patch_size
    merged = width * vision.merged
    table: dict[str, tuple[int, ...]] = {
        f"{TOWER}patch_embed.proj.weight": (width, 3, patch, patch),
        f"{TOWER}patch_embed.proj.bias": (width,),
        f"{TOWER}patch_embed.pos_emb.weight": (vision.init_pos_emb_height, vision.init_pos_emb_width, width),
    }
    for layer in range(vision.vt_num_hidden_layers):
        block = _block(width, vision.vt_intermediate_size)
        table |= {f"{TOWER}encoder.blocks.{layer}.{part}": shape for part, shape in block}
    table |= dict(_norm(f"{TOWER}encoder.final_layernorm", width))
    table |= dict(_norm(f"{PROJECTOR}pre_norm", width))
    table |= dict(_linear(f"{PROJECTOR}proj.0", merged, merged))
    return table | dict(_linear(f"{PROJECTOR}proj.2", hidden_size, merged))
