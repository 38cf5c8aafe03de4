"""The vision tower and its projector: patches of pictures and clips in, tokens of the decoder's width out.

Every item keeps its own resolution; items are packed end to end and none sees another. A clip of t frames is one item:
its patches see each other across time, then the frames are averaged. Published as MoonViT-3D with Kimi K2.5.

Legend: P patches of all items, N of them in one item (t · h · w), S side of a patch, D tower width, H heads, K head
width, F feed-forward width, M merged patches of a token, T tokens of one item, C width of the decoder.
Sources: ViT (arXiv 2010.11929), NaViT's packing (arXiv 2307.06304), rotary positions in two dimensions (2104.09864).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config_vision import VisionConfig
from perilune.errors import MediaError
from perilune.model.layers import BiasedLinear, LayerNorm

WAVES = 10_000.0
EPS = 1e-5
Grid = tuple[int, int, int]  # frames, rows and columns of an item's patches


def times(frames: int, width: int) -> Tensor:
    """The fixed embedding of each frame: sines of falling frequency, then their cosines. [frames, D]"""
    inverse = WAVES ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(frames)[:, None] * inverse
    return torch.cat((angle.sin(), angle.cos()), 1)


def turns(grid: Grid, head_dim: int) -> Tensor:
    """How far each pair of a head is turned at each patch, as complex numbers: pairs follow the column and the row by
    turns, and every frame is turned alike. [N, K / 2]"""
    frames, rows, columns = grid
    inverse = WAVES ** (-torch.arange(0, head_dim, 4) / head_dim)
    place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).flip(-1)  # column first
    angle = (place[:, None, :] * inverse[:, None]).flatten(1).repeat(frames, 1)
    return torch.polar(torch.ones_like(angle), angle)


class PatchPositions(nn.Module):
    """A learned table, resampled to the rows and columns of each item, and the time of each frame of a clip."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.frames = config.init_pos_emb_time
        sizes = config.init_pos_emb_height, config.init_pos_emb_width, config.vt_hidden_size
        self.weight = nn.Parameter(torch.empty(sizes))

    def forward(self, grid: Grid) -> Tensor:
        """[N, D]"""
        frames, rows, columns = grid
        table_DHW = self.weight.float().permute(2, 0, 1)
        if (rows, columns) != table_DHW.shape[1:]:
            table_DHW = F.interpolate(table_DHW[None], (rows, columns), mode="bicubic", align_corners=False)[0]
        place_1ND = table_DHW.flatten(1).mT.unsqueeze(0)
        if frames == 1:
            return place_1ND[0]
        if frames > self.frames:
            raise MediaError(f"a clip of {frames} frames at once; this tower takes at most {self.frames}")
        return (place_1ND + times(frames, place_1ND.shape[-1]).unsqueeze(1)).flatten(0, 1)


class PatchEmbed(nn.Module):
    """Each patch as one product with all its pixels, plus its position."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.proj = BiasedLinear(3 * config.patch_size**2, config.vt_hidden_size)
        side = config.patch_size
        self.proj.weight = nn.Parameter(torch.empty(config.vt_hidden_size, 3, side, side))
        self.pos_emb = PatchPositions(config)

    def forward(self, patches_P3SS: Tensor, grids: Sequence[Grid]) -> Tensor:
        x_PD = F.linear(patches_P3SS.flatten(1), self.proj.weight.flatten(1).float(), self.proj.bias.float())
        return x_PD + torch.cat([self.pos_emb(grid) for grid in grids])


class VisionMLP(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc0 = BiasedLinear(width, inner)
        self.fc1 = BiasedLinear(inner, width)

    def forward(self, x_PD: Tensor) -> Tensor:
        return self.fc1(F.gelu(self.fc0(x_PD), approximate="tanh"))


class VisionBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); attention stays within each item."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        width = config.vt_hidden_size
        self.head_dim = config.head_dim
        self.norm0 = LayerNorm(width, EPS)
        self.norm1 = LayerNorm(width, EPS)
        self.wqkv = BiasedLinear(width, 3 * width)
        self.wo = BiasedLinear(width, width)
        self.mlp = VisionMLP(width, config.vt_intermediate_size)

    def forward(self, x_PD: Tensor, turns: Sequence[Tensor]) -> Tensor:
        lengths = [len(turns_NK) for turns_NK in turns]
        parts = self.wqkv(self.norm0(x_PD)).split(lengths)
        y_PD = torch.cat([self._attend(qkv_ND, turns_NK) for qkv_ND, turns_NK in zip(parts, turns, strict=True)])
        x_PD = x_PD + self.wo(y_PD)
        return x_PD + self.mlp(self.norm1(x_PD))

    def _attend(self, qkv_ND: Tensor, turns_NK: Tensor) -> Tensor:
        q_NHK, k_NHK, v_NHK = qkv_ND.unflatten(1, (3, -1, self.head_dim)).unbind(1)
        q_HNK, k_HNK = (_turn(x_NHK, turns_NK).transpose(0, 1) for x_NHK in (q_NHK, k_NHK))
        y_1HNK = F.scaled_dot_product_attention(q_HNK[None], k_HNK[None], v_NHK.transpose(0, 1)[None])
        return y_1HNK[0].transpose(0, 1).flatten(1)


def _turn(x_NHK: Tensor, turns_NK: Tensor) -> Tensor:
    """Neighbouring numbers are a pair that is turned in its plane."""
    pairs_NHK = torch.view_as_complex(x_NHK.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs_NHK * turns_NK.unsqueeze(1)).flatten(-2)


class VisionEncoder(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.vt_num_hidden_layers))
        self.final_layernorm = LayerNorm(config.vt_hidden_size, EPS)

    def forward(self, x_PD: Tensor, turns: Sequence[Tensor]) -> Tensor:
        for block in self.blocks:
            x_PD = block(x_PD, turns)
        return self.final_layernorm(x_PD)


class VisionTower(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.encoder = VisionEncoder(config)

    def forward(self, patches_P3SS: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Patches in the order frame, row, column of each item → its patches averaged over time and grouped into
        tokens: [T, M, D] of each item."""
        across = [turns(grid, self.config.head_dim) for grid in grids]
        x_PD = self.encoder(self.patch_embed(patches_P3SS, grids), across)
        parts = x_PD.split([frames * rows * columns for frames, rows, columns in grids])
        return [self._merge(x_ND, grid) for x_ND, grid in zip(parts, grids, strict=True)]

    def _merge(self, x_ND: Tensor, grid: Grid) -> Tensor:
        frames, rows, columns = grid
        down, across = self.config.merge_kernel_size
        mean_hwD = x_ND.view(frames, rows, columns, -1).mean(0)
        cells = mean_hwD.unflatten(1, (columns // across, across)).unflatten(0, (rows // down, down))
        return cells.transpose(1, 2).flatten(2, 3).flatten(0, 1)


class VisionProjector(nn.Module):
    """Norms each patch, joins those of a token, and two layers with GELU between them."""

    def __init__(self, config: VisionConfig, hidden_size: int):
        super().__init__()
        joined = config.merged * config.vt_hidden_size
        self.pre_norm = LayerNorm(config.vt_hidden_size, config.projector_ln_eps)
        self.proj = nn.Sequential(BiasedLinear(joined, joined), nn.GELU(), BiasedLinear(joined, hidden_size))

    def forward(self, x_TMD: Tensor) -> Tensor:
        """[T, C]"""
        return self.proj(self.pre_norm(x_TMD).flatten(1))


class Vision(nn.Module):
    """Tower and projector, under the names they have in a model directory."""

    def __init__(self, config: VisionConfig, hidden_size: int):
        super().__init__()
        self.config, self.hidden_size = config, hidden_size
        self.vision_tower = VisionTower(config)
        self.mm_projector = VisionProjector(config, hidden_size)

    def forward(self, patches_P3SS: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """float32 patches [P, 3, S, S] and the grid of each item, whose rows and columns are multiples of the merge
        kernel → [T, C] of each item."""
        down, across = self.config.merge_kernel_size
        for frames, rows, columns in grids:
            if frames < 1 or rows < 1 or columns < 1 or rows % down or columns % across:
                raise ValueError(f"a grid of {frames} x {rows} x {columns} patches cannot be merged {down} x {across}")
        tokens = self.vision_tower(patches_P3SS, grids)
        whole_TC = self.mm_projector(torch.cat(tokens))
        return list(whole_TC.split([len(x_TMD) for x_TMD in tokens]))

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fresh weights: normal, scaled by the inputs of each product, and by depth where a block adds to the rest."""
        generator = torch.Generator().manual_seed(seed)
        depth = (2 * self.config.vt_num_hidden_layers) ** -0.5
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
            elif "norm" in name:
                weight.fill_(1.0)
            elif name.endswith("pos_emb.weight"):
                weight.normal_(0.0, 0.02, generator=generator)
            else:
                scale = depth if ".wo." in name or ".fc1." in name else 1.0
                weight.normal_(0.0, scale * weight[0].numel() ** -0.5, generator=generator)
