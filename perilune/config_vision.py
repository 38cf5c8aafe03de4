"""How a model sees: the settings of its vision tower and projector, under their published names (vision_config)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perilune.errors import ConfigError
from perilune.fields import Fields

MAX_SIDE = 64  # of a merge kernel
# What the published towers are; a tower of another kind has the same tensors and means something else by them.
KINDS = {
    "pos_emb_type": "divided_fixed",
    "merge_type": "sd2_tpool",
    "video_attn_type": "spatial_temporal",
    "mm_projector_type": "patchmerger",
    "projector_hidden_act": "gelu",
}


@dataclass(frozen=True)
class VisionConfig:
    """A tower of native resolution: patches of `patch_size` squared, `merge_kernel_size` of them merged into a token."""

    vt_hidden_size: int
    vt_intermediate_size: int
    vt_num_attention_heads: int
    vt_num_hidden_layers: int
    patch_size: int = 14
    init_pos_emb_height: int = 64
    init_pos_emb_width: int = 64
    init_pos_emb_time: int = 4
    merge_kernel_size: tuple[int, int] = (2, 2)
    projector_ln_eps: float = 1e-5

    def __post_init__(self) -> None:
        width, heads = self.vt_hidden_size, self.vt_num_attention_heads
        if width % heads or (width // heads) % 4:
            raise ConfigError(
                f"vision_config.vt_hidden_size = {width} must be vt_num_attention_heads = {heads} times a multiple of 4"
            )

    @property
    def head_dim(self) -> int:
        return self.vt_hidden_size // self.vt_num_attention_heads

    @property
    def merged(self) -> int:
        """Patches that become one token."""
        return self.merge_kernel_size[0] * self.merge_kernel_size[1]


def read_vision_config(raw: dict[str, Any]) -> VisionConfig:
    """From the published table; what it says beside these settings is not needed."""
    part = Fields(("vision_config.", raw))
    for name, kind in KINDS.items():
        part.word(name, choices=(kind,), default=kind)
    name, merge = part.find("merge_kernel_size")
    if not isinstance(merge, list | tuple) or len(merge) != 2 or not all(m in range(1, MAX_SIDE + 1) for m in merge):
        raise ConfigError(f"{name} must be a list of two small integers")
    return VisionConfig(
        vt_hidden_size=part.integer("vt_hidden_size", low=1, high=1 << 16),
        vt_intermediate_size=part.integer("vt_intermediate_size", low=1, high=1 << 18),
        vt_num_attention_heads=part.integer("vt_num_attention_heads", low=1, high=1 << 12),
        vt_num_hidden_layers=part.integer("vt_num_hidden_layers", low=1, high=1024),
        patch_size=part.integer("patch_size", low=1, high=1024),
        init_pos_emb_height=part.integer("init_pos_emb_height", low=1, high=1 << 14),
        init_pos_emb_width=part.integer("init_pos_emb_width", low=1, high=1 << 14),
        init_pos_emb_time=part.integer("init_pos_emb_time", low=1, high=1 << 10, default=4),
        merge_kernel_size=(int(merge[0]), int(merge[1])),
        projector_ln_eps=part.number("projector_ln_eps", low=0.0, high=1.0, default=1e-5),
    )
