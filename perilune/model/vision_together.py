"""Many pictures through the vision tower at once, filled up to the longest: what training takes.

vision.py is the definition: each item alone, with bits that no neighbour changes. Here the products are few and large,
and a mask keeps items from what fills them up.

Legend: B items, N patches of the longest one, D width of the tower, H heads, K head width, T tokens of all items,
M patches of a token, C width of the decoder, S side of a patch, P patches of all items.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from perilune.model.layers import attend
from perilune.model.vision import Grid, Vision, VisionBlock, turns


def seen_together(vision: Vision, pixels_P3SS: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
    """As `Vision.forward`, but for the last digits: float32 [T, C] of each item."""
    tower, sizes = vision.vision_tower, [prod(grid) for grid in grids]
    grids = [tuple(grid) for grid in grids]
    patches_PD = tower.patch_embed.proj(pixels_P3SS)
    place_of = {grid: tower.patch_embed.pos_emb(grid) for grid in dict.fromkeys(grids)}
    places_PD = torch.cat([place_of[grid] for grid in grids])
    x_BND = pad_sequence((patches_PD + places_PD).split(sizes), batch_first=True)
    turned = [_turns(grid, tower.encoder.head_dim) for grid in grids]
    turns_BNK = pad_sequence(turned, batch_first=True).to(x_BND.device)
    place_N = torch.arange(x_BND.shape[1], device=x_BND.device)
    there_B11N = (place_N < torch.tensor(sizes, device=x_BND.device).unsqueeze(1))[:, None, None]
    for block in tower.encoder.blocks:
        assert isinstance(block, VisionBlock)
        x_BND = x_BND + block.wo(_attend(block, x_BND, turns_BNK, there_B11N))
        x_BND = x_BND + block.mlp(block.norm1(x_BND))
    x_BND = tower.encoder.final_layernorm(x_BND)
    cells = [tower.tokens(x_ND[:size], grid) for x_ND, size, grid in zip(x_BND, sizes, grids, strict=True)]
    return list(vision.mm_projector(torch.cat(cells)).split([len(cell) for cell in cells]))


def _attend(block: VisionBlock, x_BND: Tensor, turns_BNK: Tensor, there_B11N: Tensor) -> Tensor:
    qkv_BN3HK = block.wqkv(block.norm0(x_BND)).unflatten(2, (3, -1, block.head_dim))
    pairs = torch.view_as_complex(qkv_BN3HK[:, :, :2].unflatten(-1, (-1, 2)))
    turned_BN2HK = torch.view_as_real(pairs * turns_BNK[:, :, None, None]).flatten(-2)
    q_BNHK, k_BNHK = turned_BN2HK.unbind(2)
    q_BHNK, k_BHNK, v_BHNK = (x.transpose(1, 2) for x in (q_BNHK, k_BNHK, qkv_BN3HK[:, :, 2]))
    return attend(q_BHNK, k_BHNK, v_BHNK, there_B11N).transpose(1, 2).flatten(2)


@lru_cache(maxsize=512)
@torch.inference_mode(False)
def _turns(grid: Grid, head_dim: int) -> Tensor:
    return turns(grid, head_dim)
