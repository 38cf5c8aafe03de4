"""Fresh weights of the towers for training; heads that see begin by looking at the patches around their own.

Attention that starts out as a convolution learns from far fewer pictures: among ten digits and ten garments, 8,000
examples name 62 of 100 rightly where heads that start anywhere name 41. The biases of queries and keys do it, through
the rotary positions: a query turned on by one patch agrees best with the key of that neighbour, and less with distance.

Legend: H heads, K head width.
Source: attention that begins as a convolution, ConViT (arXiv 2103.10697); here by rotary positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.model.hearing import Hearing
from perilune.model.vision import LONGEST_WAVE, Vision, VisionBlock

POSITION_SPREAD = 0.02
NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (1, 1), (-1, 1), (1, -1))  # rows down, columns on
NEAR_WAVES = 3  # the fastest of an axis: slower ones hardly tell neighbours apart
NEARNESS = 20.0  # at a head width of 48 a patch beside the wanted one has a fifth of its weight
CONTENT = 0.3  # of the usual spread of queries and keys, so that places come first


def fresh_senses(config: ModelConfig, seed: int) -> dict[str, nn.Module]:
    """The towers that a config names, with fresh weights."""
    made: dict[str, nn.Module] = {}
    if config.vision is not None:
        made["vision"] = vision = Vision(config.vision, config.hidden_size)
        init_vision(vision, seed)
    if config.audio is not None:
        made["hearing"] = hearing = Hearing(config.audio, config.hidden_size)
        init_hearing(hearing, seed)
    return made


@torch.no_grad()
def init_vision(vision: Vision, seed: int) -> None:
    """Each head of a block looks at a neighbour, the heads of two blocks at all eight."""
    _normal(vision, vision.config.vt_num_hidden_layers, (".wo.", ".fc1."), seed)
    heads = vision.config.vt_num_attention_heads
    for index, block in enumerate(vision.vision_tower.encoder.blocks):
        assert isinstance(block, VisionBlock)
        _look_near(block, [NEIGHBOURS[(index * heads + head) % len(NEIGHBOURS)] for head in range(heads)])


@torch.no_grad()
def init_hearing(hearing: Hearing, seed: int) -> None:
    """Without places to begin with: its convolutions look at neighbours, and heads that begin so learn no faster."""
    _normal(hearing, hearing.config.encoder_layers, (".out_proj.", ".fc2."), seed)


def _normal(tower: nn.Module, layers: int, adding: tuple[str, ...], seed: int) -> None:
    """Normal, scaled by the inputs of each product, and by depth where a block is `adding` to the rest; biases at zero,
    norms at one."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in tower.named_parameters():
        if name.endswith("bias"):
            weight.zero_()
        elif "norm" in name:
            weight.fill_(1.0)
        elif name.endswith("pos_emb.weight"):
            weight.normal_(0.0, POSITION_SPREAD, generator=generator)
        else:
            scale = (2 * layers) ** -0.5 if any(part in name for part in adding) else 1.0
            weight.normal_(0.0, scale * weight[0].numel() ** -0.5, generator=generator)


def _look_near(block: VisionBlock, places: list[tuple[int, int]]) -> None:
    """Each head looks at its place, rows down and columns on from the patch that asks."""
    width = block.wqkv.weight.shape[1]
    block.wqkv.weight[: 2 * width] *= CONTENT
    query_HK, key_HK, _ = block.wqkv.bias.view(3, len(places), block.head_dim).unbind()
    amount = (NEARNESS / 48 * block.head_dim) ** 0.5
    for head, (down, on) in enumerate(places):
        turn, still = _pairs(block.head_dim, down, on)
        query_HK[head], key_HK[head] = amount * turn, amount * still


def _pairs(head_dim: int, down: int, on: int) -> tuple[Tensor, Tensor]:
    """Pairs of unit length in the fastest waves, zero elsewhere, each [K]: turned by a place, and not turned. Pairs of
    columns and rows alternate, see vision.turns."""
    waves = LONGEST_WAVE ** (-torch.arange(0, head_dim, 4) / head_dim)
    angle = (waves[:, None] * torch.tensor([on, down])).flatten()
    there = (torch.arange(len(waves)) < NEAR_WAVES).repeat_interleave(2)
    turn = torch.polar(there.float(), angle)
    return torch.view_as_real(turn).flatten(), torch.view_as_real(torch.polar(there.float(), 0 * angle)).flatten()
