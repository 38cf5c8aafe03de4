"""The whole decoder: embedding, blocks, head. Read this first.

One class trains and serves. `forward` runs whole sequences (training, plain definition); `extend` and `decode` run
one sequence's next chunk, or the next token of many sequences, on states that hold the latent cache.

Legend: B batch, T tokens, D hidden, V vocabulary, W = kv_lora_rank + qk_rope_head_dim (one cache row).
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.errors import ConfigError
from perilune.model.attention import LatentAttention
from perilune.model.fused import FusedDecode
from perilune.model.layers import Embedding, Linear, RMSNorm, SwiGLU
from perilune.model.moe import MoE
from perilune.model.rope import RotaryTable
from perilune.model.state import SequenceState


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LatentAttention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        if config.is_moe_layer(index):
            self.mlp: nn.Module = MoE(config)
        else:
            self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def feed_forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.post_attention_layernorm(x))

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, documents: list[int] | None) -> Tensor:
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), cos, sin, documents)
        return self.feed_forward(x_BTD)

    def extend(self, x_TD: Tensor, cos: Tensor, sin: Tensor, cache_SW: Tensor, start: int) -> Tensor:
        return self.feed_forward(x_TD + self.self_attn.extend(self.input_layernorm(x_TD), cos, sin, cache_SW, start))

    def decode(self, x_BD: Tensor, cos: Tensor, sin: Tensor, caches: list[Tensor], starts: list[int]) -> Tensor:
        return self.feed_forward(x_BD + self.self_attn.decode(self.input_layernorm(x_BD), cos, sin, caches, starts))


class Transformer(nn.Module):
    """A DeepSeek-V3-style decoder. Module names are the published tensor names without their prefix."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        if config.linear_attention is not None:
            raise ConfigError(
                "this model has Kimi Delta Attention layers (linear_attn_config), which this version cannot run; "
                "directories with latent attention in every layer can be opened"
            )
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = Linear(config.hidden_size, config.vocab_size)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.embed_tokens.weight
        self.rotary = RotaryTable(config.rope, config.qk_rope_head_dim)
        # Set when a checkpoint is opened for inference; see fused.py.
        self.fused: FusedDecode | None = None

    @property
    def blocks(self) -> list[Block]:
        """The layers with their own type, which ModuleList hides."""
        return cast(list[Block], list(self.layers))

    def embed(self, ids: Tensor) -> Tensor:
        return self.embed_tokens(ids)

    def logits(self, x: Tensor) -> Tensor:
        """Hidden states [..., D] → float32 logits [..., V]."""
        return self.lm_head(self.norm(x))

    def hidden(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """Whole sequences → last hidden states [B, T, D] before the final norm.

        `segments_BT` numbers the documents packed into a row: none sees another, and each counts positions from 0.
        """
        cos_TP, sin_TP = self.rotary.up_to(ids_BT.shape[1])
        if segments_BT is None:
            cos, sin, documents = cos_TP[: ids_BT.shape[1]], sin_TP[: ids_BT.shape[1]], None
            x_BTD = self.embed(ids_BT)
        else:
            # All rows are laid end to end, so that each document is one slice whatever row it came from.
            positions_T = segment_positions(segments_BT).flatten()
            cos, sin, documents = cos_TP[positions_T], sin_TP[positions_T], document_lengths(positions_T)
            x_BTD = self.embed(ids_BT.reshape(1, -1))
        for block in self.layers:
            x_BTD = block(x_BTD, cos, sin, documents)
        return x_BTD.view(*ids_BT.shape, -1)

    def forward(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """Whole sequences → logits [B, T, V]: the definition that cached decoding is tested against."""
        return self.logits(self.hidden(ids_BT, segments_BT))

    @torch.inference_mode()
    def extend(self, ids_T: Tensor, state: SequenceState, last_only: bool = True) -> Tensor:
        """Read the next chunk of one sequence into its state; logits [1 or T, V]. The caller advances the state."""
        start, end = state.length, state.length + ids_T.shape[0]
        state.reserve(ids_T.shape[0])
        cos_TP, sin_TP = self.rotary.up_to(end)
        x_TD = self.embed(ids_T)
        for block, cache_SW in zip(self.blocks, state.latents, strict=True):
            x_TD = block.extend(x_TD, cos_TP[start:end], sin_TP[start:end], cache_SW, start)
        return self.logits(x_TD[-1:] if last_only else x_TD)

    @torch.inference_mode()
    def decode(self, ids_B: Tensor, states: list[SequenceState]) -> Tensor:
        """The next token of B sequences: logits [B, V]. The caller advances the states."""
        for state in states:
            state.reserve(1)
        if self.fused is not None:
            return self.fused(ids_B, states)
        starts = [state.length for state in states]
        cos_TP, sin_TP = self.rotary.up_to(max(starts) + 1)
        x_BD = self.embed(ids_B)
        for i, block in enumerate(self.blocks):
            caches = [state.latents[i] for state in states]
            x_BD = block.decode(x_BD, cos_TP[starts], sin_TP[starts], caches, starts)
        return self.logits(x_BD)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fresh weights for training: normal with the config's range, norms at one, no balance bias."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith("norm.weight"):
                weight.fill_(1.0)
            else:
                weight.normal_(0.0, self.config.initializer_range, generator=generator)


def segment_positions(segments_BT: Tensor) -> Tensor:
    """Position of every token inside its own packed document: [0 0 1 1 1] → [0 1 0 1 2]."""
    length = segments_BT.shape[1]
    index_T = torch.arange(length)
    starts_BT = torch.ones_like(segments_BT, dtype=torch.bool)
    starts_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    first_BT = torch.where(starts_BT, index_T, 0).cummax(dim=1).values
    return index_T - first_BT


def document_lengths(positions_T: Tensor) -> list[int]:
    """Lengths of the documents whose positions these are: [0 1 0 1 2] → [2, 3]."""
    starts = torch.where(positions_T == 0)[0].tolist()
    return [end - start for start, end in pairwise([*starts, positions_T.shape[0]])]
