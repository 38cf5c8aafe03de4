"""Small random towers that see, and patches for them."""

from __future__ import annotations

import torch
from torch import Tensor

from perilune.config_vision import VisionConfig
from perilune.model.tower_init import init_vision
from perilune.model.vision import Grid, Vision

TOWER = VisionConfig(
    vt_hidden_size=96,
    vt_intermediate_size=112,
    vt_num_attention_heads=4,
    vt_num_hidden_layers=3,
    init_pos_emb_height=8,
    init_pos_emb_width=8,
)
# Still pictures below, at and above the size of the table of positions, and odd shapes; then clips.
PICTURES: list[Grid] = [(1, 2, 2), (1, 6, 10), (1, 8, 8), (1, 14, 4), (1, 2, 26), (1, 18, 12)]
CLIPS: list[Grid] = [(2, 4, 6), (3, 8, 8), (4, 10, 2)]


def random_vision(config: VisionConfig = TOWER, hidden: int = 64, seed: int = 3) -> Vision:
    """Fresh weights with lively biases, norms and positions: nothing hides behind a zero."""
    vision = Vision(config, hidden)
    init_vision(vision, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in vision.named_parameters():
        if name.endswith(("bias", "pos_emb.weight")) or "norm" in name:
            weight.data += torch.randn(weight.shape, generator=generator) * 0.3
    return vision.eval()


def random_pixels(grids: list[Grid], side: int = 14, seed: int = 5) -> Tensor:
    count = sum(frames * rows * columns for frames, rows, columns in grids)
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)
