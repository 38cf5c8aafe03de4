"""How a model sees: the settings of its vision tower and projector, under their published names (vision_config)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from perilune.errors import ConfigError
from perilune.fields import Fields

MAX_WIDTH = 1 << 14
MAX_LAYERS = 256
MAX_PATCH_SIZE = 64
MAX_MERGE = 8
MAX_TABLE_SIDE = 512
MAX_FRAMES = 64
# What the published towers are: another word would give the same tensors another meaning.
KINDS = {
    "merge_type": "sd2_tpool",
    "mm_projector_type": "patchmerger",
    "pos_emb_type": "divided_fixed",
    "projector_hidden_act": "gelu",
    "video_attn_type": "spatial_temporal",
}
ACTIVATION = "gelu_pytorch_tanh"  # of the blocks; the published table leaves it out, transformers writes it


def _require(good: bool, message: str) -> None:
    if not good:
        raise ConfigError(f"vision_config.{message}")


@dataclass(frozen=True)
class VisionConfig:
    """MoonViT-3D and its patch merger. The defaults are the published ones, which K2.5 and K2.6 share.

    Pictures are cut into patches of patch_size² pixels; merge_kernel_size (rows, columns) of them become one token of
    the decoder. Of a clip at most init_pos_emb_time frames are seen together, and they share their tokens.
    """

    vt_hidden_size: int = 1152
    vt_intermediate_size: int = 4304
    vt_num_attention_heads: int = 16
    vt_num_hidden_layers: int = 27
    patch_size: int = 14
    init_pos_emb_height: int = 64
    init_pos_emb_width: int = 64
    init_pos_emb_time: int = 4
    merge_kernel_size: tuple[int, int] = (2, 2)
    projector_ln_eps: float = 1e-5

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _require(name == "merge_kernel_size" or value > 0, f"{name} = {value} must be above 0")
        width, heads = self.vt_hidden_size, self.vt_num_attention_heads
        _require(
            width % (4 * heads) == 0,
            f"vt_hidden_size = {width} must be a multiple of 4 x vt_num_attention_heads = {4 * heads}: pairs of a head "
            "turn with the column and the row in turn",
        )
        _require(
            len(self.merge_kernel_size) == 2 and all(1 <= side <= MAX_MERGE for side in self.merge_kernel_size),
            f"merge_kernel_size = {list(self.merge_kernel_size)} must be two integers from 1 to {MAX_MERGE}",
        )

    @property
    def head_dim(self) -> int:
        return self.vt_hidden_size // self.vt_num_attention_heads

    @property
    def merged(self) -> int:
        """Patches of a frame that become one token."""
        return self.merge_kernel_size[0] * self.merge_kernel_size[1]


def read_vision_config(fields: Fields, hidden_size: int) -> VisionConfig | None:
    """The vision tower of a model that sees, or none; keys that are not known do no harm, as everywhere."""
    name, raw = fields.table("vision_config")
    if not raw:
        return None
    part, plain = Fields((name + ".", raw)), VisionConfig()
    for key, kind in KINDS.items():
        part.word(key, choices=(kind,), default=kind)
    part.word("hidden_act", choices=(ACTIVATION,), default=ACTIVATION)
    limits = {
        "vt_hidden_size": MAX_WIDTH,
        "vt_intermediate_size": MAX_WIDTH,
        "vt_num_attention_heads": MAX_WIDTH,
        "vt_num_hidden_layers": MAX_LAYERS,
        "patch_size": MAX_PATCH_SIZE,
        "init_pos_emb_height": MAX_TABLE_SIDE,
        "init_pos_emb_width": MAX_TABLE_SIDE,
        "init_pos_emb_time": MAX_FRAMES,
    }
    sizes = {
        key: part.integer(key, *_native(key), low=1, high=high, default=getattr(plain, key))
        for key, high in limits.items()
    }
    for key, width in (("mm_hidden_size", sizes["vt_hidden_size"]), ("text_hidden_size", hidden_size)):
        part.integer(key, low=width, high=width, default=width)
    return VisionConfig(
        **sizes,
        merge_kernel_size=_read_merge(part, plain.merge_kernel_size),
        projector_ln_eps=part.number("projector_ln_eps", low=1e-30, high=1.0, default=plain.projector_ln_eps),
    )


def _native(key: str) -> tuple[str, ...]:
    """What transformers calls it: the same without its first word."""
    return tuple(key.removeprefix(first) for first in ("vt_", "init_") if key.startswith(first))


def _read_merge(part: Fields, default: tuple[int, int]) -> tuple[int, int]:
    name, merge = part.find("merge_kernel_size")
    if merge is None:
        return default
    if not isinstance(merge, list) or len(merge) != 2 or not all(type(m) is int and 1 <= m <= MAX_MERGE for m in merge):
        part.refuse(name, merge, f"two integers from 1 to {MAX_MERGE}")
    return merge[0], merge[1]


def vision_dict(vision: VisionConfig, hidden_size: int) -> dict[str, Any]:
    """The published table; read_vision_config gives the same config back."""
    widths = {"mm_hidden_size": vision.vt_hidden_size, "text_hidden_size": hidden_size}
    merge = {"merge_kernel_size": list(vision.merge_kernel_size)}
    return dict(sorted((asdict(vision) | merge | KINDS | widths).items()))
