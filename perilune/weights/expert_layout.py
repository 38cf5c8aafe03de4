"""Where a routed expert lies: its six tensors (packed weights and scales of gate, up and down) in the published shards,
as few reads of whole blocks. Tensors that are neighbours are read in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from perilune.config import ModelConfig
from perilune.weights.direct import BLOCK
from perilune.weights.files import Checkpoint
from perilune.weights.names import PROJECTIONS, expert_prefix

GAP = BLOCK  # tensors closer than this are read in one piece
PARTS = ("weight_packed", "weight_scale")


class Piece(NamedTuple):
    """Whole blocks of a shard, and where in the slot they go."""

    shard: str
    begin: int
    size: int
    at: int


@dataclass(frozen=True)
class Record:
    """Where an expert lies: pieces to read, and where its six tensors are within the slot."""

    pieces: tuple[Piece, ...]
    tensors: tuple[int, ...]
    size: int


def tensor_names(config: ModelConfig, layer: int, expert: int) -> list[str]:
    """Packed weights and scales of gate, up and down, in the order in which the kernels take them."""
    prefixes = [expert_prefix(config, layer, expert, projection) for projection in PROJECTIONS]
    return [prefix + part for prefix in prefixes for part in PARTS]


def record_of(checkpoint: Checkpoint, config: ModelConfig, layer: int, expert: int) -> Record:
    """Tensors that are neighbours in a shard share a piece; every piece is whole blocks."""
    infos = [checkpoint.info(name) for name in tensor_names(config, layer, expert)]
    runs: list[list[int]] = []
    order = sorted(range(len(infos)), key=lambda i: (infos[i].shard, infos[i].begin))
    for i in order:
        before = infos[runs[-1][-1]] if runs else None
        if before and before.shard == infos[i].shard and infos[i].begin - before.end <= GAP:
            runs[-1].append(i)
        else:
            runs.append([i])
    pieces, tensors, at = [], [0] * len(infos), 0
    for run in runs:
        first = infos[run[0]]
        begin, end = first.begin // BLOCK * BLOCK, -(-infos[run[-1]].end // BLOCK) * BLOCK
        pieces.append(Piece(first.shard, begin, end - begin, at))
        for i in run:
            tensors[i] = at + infos[i].begin - begin
        at += end - begin
    return Record(tuple(pieces), tuple(tensors), at)


def slot_bytes(checkpoint: Checkpoint, config: ModelConfig) -> int:
    """The room of one expert, whichever it is and however its tensors lie."""
    layer = next(i for i in range(config.num_hidden_layers) if config.is_moe_layer(i))
    infos = [checkpoint.info(name) for name in tensor_names(config, layer, 0)]
    sizes = [info.end - info.begin for info in infos]
    return sum(-(-size // BLOCK) * BLOCK for size in sizes) + len(sizes) * 2 * BLOCK
