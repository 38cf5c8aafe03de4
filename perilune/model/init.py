"""Fresh weights for training, each kind in one place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from perilune.model.copy_head import CopyHead
from perilune.model.delta import KimiDeltaAttention, init_delta
from perilune.model.memory import ChunkMemory
from perilune.model.reader import WindowReader
from perilune.model.second_look import SecondLook, init_second_look

if TYPE_CHECKING:
    from perilune.model.model import Transformer

# A chunk whose score is lower by a tenth starts with a third of the weight.
CHUNK_SCALE = math.log(10.0)
KEEP_BIAS = 5.0  # live tokens are remembered for about 150 tokens
GATE_BIAS = -1.0
FOLLOW_BIAS = 0.2
RUN_BIAS = (0.0, 0.4, 0.6, 0.7, 0.8, 0.8, 0.8)  # by the length of a run of equal tokens, see copy_head.RUN_GAIN


@torch.no_grad()
def init_weights(model: Transformer, seed: int) -> None:
    """Normal with the config's range, norms at one, no balance bias; memory and copy head start out matching equals."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            weight.fill_(1.0)
        else:
            weight.normal_(0.0, model.config.initializer_range, generator=generator)
    for module in model.modules():
        if isinstance(module, KimiDeltaAttention):
            init_delta(module, generator)
        elif isinstance(module, WindowReader):
            module.chunk_scale.fill_(CHUNK_SCALE)
            module.fit_scale.zero_()
            module.sink.zero_()
        elif isinstance(module, ChunkMemory):
            _init_memory(module, generator)
        elif isinstance(module, SecondLook):
            init_second_look(module)
        elif isinstance(module, CopyHead):
            _init_copy_head(module, generator)


def _init_memory(memory: ChunkMemory, generator: torch.Generator) -> None:
    """The first index group knows a token by itself, the others by itself and its predecessors."""
    config, dim = memory.config, memory.norm.weight.shape[0]
    for projection in (memory.latent_proj, memory.index_proj):
        projection.weight.normal_(0.0, dim**-0.5, generator=generator)
    memory.index_proj.weight[: config.index_dim, dim:] = 0.0
    memory.latent_proj.weight[:, dim:] *= 0.5
    memory.query_up.weight.zero_()
    memory.weight_bias.zero_()
    memory.keep_proj.weight.zero_()
    memory.keep_bias.fill_(KEEP_BIAS)


def _init_copy_head(head: CopyHead, generator: torch.Generator) -> None:
    """A token first points at what looks like itself, so that the token after that is copied."""
    rank = head.key_proj.weight.shape[1]
    head.key_proj.weight.normal_(0.0, rank**-0.5, generator=generator)
    head.latent_query_proj.weight.copy_(head.key_proj.weight)
    head.gate_bias.fill_(GATE_BIAS)
    head.chunk_scale.fill_(CHUNK_SCALE)
    head.fit_scale.zero_()
    head.gate_latent_proj.weight.zero_()
    head.left_proj.weight.zero_()
    head.span_proj.weight.zero_()
    head.follow_proj.weight.zero_()
    head.follow_bias.fill_(FOLLOW_BIAS)
    for table in (head.gate_run, head.told_bias):
        table.zero_()
    head.run_bias.copy_(torch.tensor(RUN_BIAS))
