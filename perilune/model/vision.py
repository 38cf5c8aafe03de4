"""The vision tower and its projector: patches of pictures and clips in, tokens of the decoder's width out.

MoonViT-3D as published with Kimi K2.5 and K2.6, tensors under their published names. Every item keeps its own
resolution and passes by itself: nothing else in a batch changes its bits. A clip of several frames is one item whose
patches see one another across time; behind the tower its frames are averaged.

Legend: P patches of all items, N of one item (frames · rows · columns), S side of a patch, D width of the tower,
H heads, K head width, R and Q rows and columns of patches, T tokens of an item, M patches of a token, C width of the
decoder.
Sources: ViT (arXiv 2010.11929), native resolution (arXiv 2307.06304), rotary positions (arXiv 2104.09864) along two
axes, Kimi K2.5's report for time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config_vision import VisionConfig
from perilune.errors import MediaError
from perilune.model.layers import (
    SERIAL_NUMBERS,
    LayerNorm,
    SteadyBiasedLinear,
    steady_erf_gelu,
    steady_gelu,
    steady_linear,
)

MAX_SIDE = 512  # patches along one side of an item, as published
MAX_PATCHES = 1 << 15  # of one item; the published limits let up to 21,312 through, for clips of an odd shape
LONGEST_WAVE = 10_000.0
NORM_EPS = 1e-5
Grid = tuple[int, int, int]  # frames, rows and columns of an item's patches


def frame_times(frames: int, width: int) -> Tensor:
    """The fixed embedding of each frame: sines of falling frequency, then their cosines. float32 [frames, D]"""
    waves = LONGEST_WAVE ** (-torch.arange(0, width, 2, device="cpu") / width)
    angle = torch.arange(frames, device="cpu")[:, None] * waves
    return torch.cat((angle.sin(), angle.cos()), 1)


def turns(grid: Grid, head_dim: int) -> Tensor:
    """How far each pair of a head is turned at each patch, as complex numbers: even pairs turn with the column, odd
    ones with the row, and every frame is turned alike. complex64 [N, K / 2]"""
    frames, rows, columns = grid
    waves = LONGEST_WAVE ** (-torch.arange(0, head_dim, 4, device="cpu") / head_dim)
    row, column = torch.arange(rows, device="cpu"), torch.arange(columns, device="cpu")
    row, column = row.repeat_interleave(columns), column.repeat(rows)
    angle = (torch.stack((column, row), 1)[:, None] * waves[:, None]).flatten(1).repeat(frames, 1)
    return torch.polar(torch.ones_like(angle), angle)


class PatchPositions(nn.Module):
    """A learned table, resampled to the rows and columns of an item, and the time of every frame of a clip."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(config.init_pos_emb_height, config.init_pos_emb_width, config.vt_hidden_size)
        )

    def forward(self, grid: Grid) -> Tensor:
        """float32 [N, D]"""
        frames, *size = grid
        table_DRQ = self.weight.float().permute(2, 0, 1)
        if size != [*table_DRQ.shape[1:]]:
            table_DRQ = F.interpolate(table_DRQ[None], size, mode="bicubic", align_corners=False)[0]
        place_ND = table_DRQ.flatten(1).mT
        if frames == 1:
            return place_ND
        times = frame_times(frames, place_ND.shape[1]).to(place_ND.device)
        return (place_ND + times[:, None]).flatten(0, 1)


class PatchProduct(nn.Module):
    """A convolution whose stride is its size: each patch as one product with all its pixels."""

    def __init__(self, side: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 3, side, side))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, pixels_N3SS: Tensor) -> Tensor:
        return steady_linear(pixels_N3SS.flatten(1), self.weight.flatten(1)) + self.bias


class PatchEmbed(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.proj = PatchProduct(config.patch_size, config.vt_hidden_size)
        self.pos_emb = PatchPositions(config)

    def forward(self, pixels_N3SS: Tensor, grid: Grid) -> Tensor:
        return self.proj(pixels_N3SS) + self.pos_emb(grid)


class VisionMLP(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc0 = SteadyBiasedLinear(width, inner)
        self.fc1 = SteadyBiasedLinear(inner, width)

    def forward(self, x_ND: Tensor) -> Tensor:
        return self.fc1(steady_gelu(self.fc0(x_ND)))


class VisionBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); every patch of an item sees all others of it."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        width = config.vt_hidden_size
        self.head_dim = config.head_dim
        self.norm0 = LayerNorm(width, NORM_EPS)
        self.norm1 = LayerNorm(width, NORM_EPS)
        self.wqkv = SteadyBiasedLinear(width, 3 * width)
        self.wo = SteadyBiasedLinear(width, width)
        self.mlp = VisionMLP(width, config.vt_intermediate_size)

    def forward(self, x_ND: Tensor, turns_NK: Tensor) -> Tensor:
        x_ND = x_ND + self.wo(self._attend(self.wqkv(self.norm0(x_ND)), turns_NK))
        return x_ND + self.mlp(self.norm1(x_ND))

    def _attend(self, qkv_ND: Tensor, turns_NK: Tensor) -> Tensor:
        qkv_N3HK = qkv_ND.unflatten(1, (3, -1, self.head_dim))
        pairs_N2HK = torch.view_as_complex(qkv_N3HK[:, :2].unflatten(-1, (-1, 2)))
        turned_N2HK = torch.view_as_real(_turned(pairs_N2HK, turns_NK)).flatten(-2)
        q_1HNK, k_1HNK, v_1HNK = (
            x_NHK.transpose(0, 1)[None] for x_NHK in (turned_N2HK[:, 0], turned_N2HK[:, 1], qkv_N3HK[:, 2])
        )
        return F.scaled_dot_product_attention(q_1HNK, k_1HNK, v_1HNK)[0].transpose(0, 1).flatten(1)


def _turned(pairs_N2HK: Tensor, turns_NK: Tensor) -> Tensor:
    """Complex numbers turned. A few patches at a time, which torch leaves to one thread: where it cuts a head in two,
    its last numbers get other bits."""
    if torch.is_grad_enabled():
        return pairs_N2HK * turns_NK[:, None, None]
    few = max(1, SERIAL_NUMBERS // pairs_N2HK[0].numel())
    parts = zip(pairs_N2HK.split(few), turns_NK.split(few), strict=True)
    return torch.cat([part * turn_NK[:, None, None] for part, turn_NK in parts])


class VisionEncoder(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.head_dim = config.head_dim
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.vt_num_hidden_layers))
        self.final_layernorm = LayerNorm(config.vt_hidden_size, NORM_EPS)

    def forward(self, x_ND: Tensor, grid: Grid) -> Tensor:
        turns_NK = turns(grid, self.head_dim).to(x_ND.device)
        for block in self.blocks:
            x_ND = block(x_ND, turns_NK)
        return self.final_layernorm(x_ND)


class VisionTower(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.merge = config.merge_kernel_size
        self.patch_embed = PatchEmbed(config)
        self.encoder = VisionEncoder(config)

    def forward(self, pixels_N3SS: Tensor, grid: Grid) -> Tensor:
        """The patches of one item, frame after frame and row after row → [T, M, D]."""
        return self.tokens(self.encoder(self.patch_embed(pixels_N3SS, grid), grid), grid)

    def tokens(self, x_ND: Tensor, grid: Grid) -> Tensor:
        """Encoded patches of one item, averaged over its frames and grouped into tokens, both row after row."""
        down, across = self.merge
        mean_RQD = x_ND.unflatten(0, grid).mean(0)
        cells = mean_RQD.unflatten(1, (-1, across)).unflatten(0, (-1, down))  # rows, down, columns, across, D
        return cells.transpose(1, 2).flatten(2, 3).flatten(0, 1)


class VisionProjector(nn.Module):
    """Norms each patch, joins those of a token, and two layers with GELU between them."""

    def __init__(self, config: VisionConfig, hidden_size: int):
        super().__init__()
        joined = config.merged * config.vt_hidden_size
        self.pre_norm = LayerNorm(config.vt_hidden_size, config.projector_ln_eps)
        self.proj = nn.Sequential(
            SteadyBiasedLinear(joined, joined), nn.GELU(), SteadyBiasedLinear(joined, hidden_size)
        )

    def forward(self, x_TMD: Tensor) -> Tensor:
        """[T, C]"""
        first, _, second = self.proj
        return second(steady_erf_gelu(first(self.pre_norm(x_TMD).flatten(1))))


class Vision(nn.Module):
    """Tower and projector, under the names they have in a model directory."""

    def __init__(self, config: VisionConfig, hidden_size: int):
        super().__init__()
        self.config, self.hidden_size = config, hidden_size
        self.vision_tower = VisionTower(config)
        self.mm_projector = VisionProjector(config, hidden_size)

    def forward(self, pixels_P3SS: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Normalised patches of all items end to end, float32 [P, 3, S, S], and the grid of each item → float32 [T, C]
        of each item. Raises MediaError for a grid that this tower cannot take."""
        sizes = [self._patches(grid) for grid in grids]
        side = self.config.patch_size
        if pixels_P3SS.shape != (sum(sizes), 3, side, side):
            wanted = [sum(sizes), 3, side, side]
            raise ValueError(f"patches {list(pixels_P3SS.shape)} do not fit the grids, which ask for {wanted}")
        items = zip(pixels_P3SS.split(sizes), grids, strict=True)
        return [self.mm_projector(self.vision_tower(pixels_N3SS, tuple(grid))) for pixels_N3SS, grid in items]

    def _patches(self, grid: Grid) -> int:
        """How many patches an item has, if it can be seen at all."""
        frames, rows, columns = grid
        down, across = self.config.merge_kernel_size
        most = self.config.init_pos_emb_time
        if not 1 <= frames <= most:
            raise MediaError(f"a clip of {frames} frames at once; this model takes from 1 to {most} of them")
        if min(rows, columns) < 1 or max(rows, columns) > MAX_SIDE or frames * rows * columns > MAX_PATCHES:
            raise MediaError(
                f"{frames} x {rows} x {columns} patches; a side has from 1 to {MAX_SIDE}, an item {MAX_PATCHES}"
            )
        if rows % down or columns % across:
            raise MediaError(f"{rows} x {columns} patches do not fall into tokens of {down} x {across}; fill them up")
        return frames * rows * columns
