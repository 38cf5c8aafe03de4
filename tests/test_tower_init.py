"""Fresh vision towers: every head begins by looking at a neighbour of the patch that asks."""

import torch
from tiny_vision import random_pixels

from perilune.config_vision import VisionConfig
from perilune.model.tower_init import NEIGHBOURS, init_vision
from perilune.model.vision import Vision, turns
from perilune.presets import NANO_VISION

SIDE = 8


def looked_at(vision: Vision, index: int) -> torch.Tensor:
    """The weights that a patch in the middle gives to all others in a block, for patches at random: [H, SIDE, SIDE]"""
    block = vision.vision_tower.encoder.blocks[index]
    x_ND = torch.randn(SIDE * SIDE, vision.config.vt_hidden_size, generator=torch.Generator().manual_seed(3))
    qk_N2HK = block.wqkv(block.norm0(x_ND)).unflatten(1, (3, -1, block.head_dim))[:, :2]
    pairs_N2HK = torch.view_as_complex(qk_N2HK.unflatten(-1, (-1, 2)).contiguous())
    turned_N2HK = torch.view_as_real(pairs_N2HK * turns((1, SIDE, SIDE), block.head_dim)[:, None, None]).flatten(-2)
    q_NHK, k_NHK = turned_N2HK.unbind(1)
    middle = SIDE // 2 * (SIDE + 1)
    score_HN = torch.einsum("hk,nhk->hn", q_NHK[middle], k_NHK) / block.head_dim**0.5
    return score_HN.softmax(-1).unflatten(1, (SIDE, SIDE))


@torch.no_grad()
def test_each_head_of_a_fresh_tower_looks_at_a_neighbour():
    vision = Vision(NANO_VISION, 32)
    init_vision(vision, 1)
    middle = SIDE // 2
    for index in range(4):
        for head, weights_RQ in enumerate(looked_at(vision, index)):
            down, on = NEIGHBOURS[(4 * index + head) % len(NEIGHBOURS)]
            row, column = middle + down, middle + on
            near = weights_RQ[row - 1 : row + 2, column - 1 : column + 2]
            assert weights_RQ[row, column] > weights_RQ.mean() * 10 and near.sum() > 0.8


@torch.no_grad()
def test_heads_of_any_width_can_begin_so():
    tiny = VisionConfig(vt_hidden_size=8, vt_intermediate_size=16, vt_num_attention_heads=2, vt_num_hidden_layers=1)
    vision = Vision(tiny, 4)
    init_vision(vision, 1)
    (tokens_TC,) = vision(random_pixels([(1, 4, 4)]), [(1, 4, 4)])
    assert tokens_TC.shape == (4, 4) and tokens_TC.isfinite().all()
