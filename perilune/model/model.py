"""The whole decoder: embedding, blocks, head. Read this first.

One class trains and serves. `forward` runs whole sequences (training, plain definition); `extend` and `decode` run
one sequence's next chunk, or the next token of many sequences, on states that hold what came before. What a model
with a chunk memory reads before it is asked lives in live.py.

Legend: B batch, T tokens, D hidden, V vocabulary, W = kv_lora_rank + qk_rope_head_dim (one cache row).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.kernels import where
from perilune.model.attention import LatentAttention
from perilune.model.copy_head import CopyHead, Lived, Pointing, live_runs, pointable
from perilune.model.delta import KimiDeltaAttention
from perilune.model.fused import FusedDecode
from perilune.model.init import init_weights
from perilune.model.layers import Embedding, Linear, RMSNorm, SwiGLU, following
from perilune.model.memory import ChunkMemory
from perilune.model.moe import MoE
from perilune.model.reader import WindowReader
from perilune.model.rope import RotaryTable
from perilune.model.second_look import SecondLook
from perilune.model.state import SequenceState

PIECE = 512  # tokens whose attention and dense feed-forward are computed together


@dataclass(frozen=True)
class Packing:
    """How whole sequences lie in a batch: rotary tables, and the documents of a packed row.

    Latent attention sees all rows end to end. On a CPU each document is one slice, whatever row it came from, so that
    only short squares are computed; elsewhere a mask over whole rows costs less than many short products.
    `segments_BT` numbers them for layers that go through a row.
    """

    rows: int
    cos: Tensor
    sin: Tensor
    documents: list[int] | None = None
    segments_BT: Tensor | None = None
    seen_BTT: Tensor | None = None


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = _attention(config, index)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        if config.is_moe_layer(index):
            self.mlp: nn.Module = MoE(config)
        else:
            self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def feed_forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.post_attention_layernorm(x))

    def feed_forward_together(self, parts: list[Tensor]) -> list[Tensor]:
        """`feed_forward` of several pieces [T, D], which share what they need of the routed experts."""
        if not isinstance(self.mlp, MoE):
            return [self.feed_forward(x_TD) for x_TD in parts]
        made = self.mlp.together([self.post_attention_layernorm(x_TD) for x_TD in parts])
        return [x_TD + y_TD for x_TD, y_TD in zip(parts, made, strict=True)]

    def forward(self, x_BTD: Tensor, packing: Packing) -> Tensor:
        """Whole sequences; packed rows come end to end as one."""
        normed = self.input_layernorm(x_BTD)
        if isinstance(self.self_attn, KimiDeltaAttention):
            rows_BTD = normed.reshape(packing.rows, -1, normed.shape[-1])
            y_BTD = self.self_attn(rows_BTD, packing.segments_BT)[0].reshape(x_BTD.shape)
        else:
            y_BTD = self.self_attn(normed, packing.cos, packing.sin, packing.documents, packing.seen_BTT)
        return self.feed_forward(x_BTD + y_BTD)

    def extend(self, x_TD: Tensor, cos: Tensor, sin: Tensor, state: SequenceState, index: int, start: int) -> Tensor:
        """x + attention, for tokens that begin at `start`; the feed-forward comes apart."""
        normed = self.input_layernorm(x_TD)
        if isinstance(self.self_attn, KimiDeltaAttention):
            y_1TD, state.deltas[index] = self.self_attn(normed[None], state=state.deltas[index])
            return x_TD + y_1TD[0]
        return x_TD + self.self_attn.extend(normed, cos, sin, state.latents[index], start)

    def decode(self, x_BD: Tensor, cos: Tensor, sin: Tensor, states: list[SequenceState], index: int) -> Tensor:
        normed = self.input_layernorm(x_BD)
        if isinstance(self.self_attn, KimiDeltaAttention):
            rows = []
            for x_D, state in zip(normed, states, strict=True):
                y_1TD, state.deltas[index] = self.self_attn(x_D[None, None], state=state.deltas[index])
                rows.append(y_1TD[0, 0])
            return self.feed_forward(x_BD + torch.stack(rows))
        caches, starts = [state.latents[index] for state in states], [state.length for state in states]
        return self.feed_forward(x_BD + self.self_attn.decode(normed, cos, sin, caches, starts))


def _attention(config: ModelConfig, index: int) -> LatentAttention | KimiDeltaAttention:
    linear = config.linear_attention
    if linear is not None and linear.is_kda(index):
        return KimiDeltaAttention(
            config.hidden_size,
            linear.num_heads,
            linear.head_dim,
            linear.short_conv_kernel_size,
            config.rms_norm_eps,
            gate=linear.gate,
        )
    return WindowReader(config) if config.is_reader(index) else LatentAttention(config)


class Transformer(nn.Module):
    """A decoder of the DeepSeek-V3 and Kimi-Linear family. Module names are the published ones without their prefix."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = Linear(config.hidden_size, config.vocab_size)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.embed_tokens.weight
        self.memory: ChunkMemory | None = None
        self.second_look: SecondLook | None = None
        self.copy_head: CopyHead | None = None
        if config.memory is not None:
            self.memory = ChunkMemory(config.hidden_size, config.memory, config.rms_norm_eps)
            self.second_look = SecondLook(config.memory, config.rms_norm_eps)
            self.copy_head = CopyHead(config)
        self.rotary = RotaryTable(config.rope, config.qk_rope_head_dim)
        # "vision" and "hearing": in training, and in use from the first picture or sound on.
        self.senses = nn.ModuleDict()
        # Set when a checkpoint is opened for inference; see fused.py.
        self.fused: FusedDecode | None = None

    @property
    def blocks(self) -> list[Block]:
        """The layers with their own type, which ModuleList hides."""
        return cast(list[Block], list(self.layers))

    @property
    def lower(self) -> list[Block]:
        """The layers that read; all of them where there is no chunk memory."""
        memory = self.config.memory
        return self.blocks if memory is None else self.blocks[: memory.num_read_layers]

    @property
    def upper(self) -> list[Block]:
        """The layers that ask the chunk memory."""
        return self.blocks[len(self.lower) :]

    @property
    def device(self) -> torch.device:
        """Where the hidden states are, and all weights but perhaps the embedding and routed experts."""
        return self.norm.weight.device

    def move(self, device: torch.device) -> None:
        """All of it to a device, in training."""
        self.to(device)
        self.rotary.move(device)

    def embed(self, ids: Tensor) -> Tensor:
        return self.embed_tokens(ids.to(self.embed_tokens.weight.device)).to(self.device)

    def embed_at(self, ids_T: Tensor, state: SequenceState, start: int) -> Tensor:
        """Tokens of one sequence from `start` on, with the media that stand among them."""
        x_TD = self.embed(ids_T)
        return x_TD if state.media is None else state.media.lay(x_TD, start)

    def logits(self, x: Tensor) -> Tensor:
        """Hidden states [..., D] → float32 logits [..., V] of the head alone."""
        return self.lm_head(self.norm(x))

    def packing(self, ids_BT: Tensor, segments_BT: Tensor | None) -> Packing:
        cos_TP, sin_TP = self.rotary.up_to(ids_BT.shape[1])
        rows = ids_BT.shape[0]
        if segments_BT is None:
            return Packing(rows, cos_TP[: ids_BT.shape[1]], sin_TP[: ids_BT.shape[1]])
        positions_T = segment_positions(segments_BT).flatten()
        turned = cos_TP[positions_T], sin_TP[positions_T]
        if where.on_cpu(ids_BT):
            return Packing(rows, *turned, document_lengths(positions_T), segments_BT)
        seen_BTT = (segments_BT.unsqueeze(2) == segments_BT.unsqueeze(1)).tril()
        return Packing(rows, *turned, segments_BT=segments_BT, seen_BTT=seen_BTT)

    def trunk(
        self, ids_BT: Tensor, segments_BT: Tensor | None = None, media_ND: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Whole sequences → hidden states [B, T, D] after the last layer (before the norm) and at mid-depth.

        `segments_BT` numbers the documents packed into a row: none sees another, and each counts positions from 0.
        `media_ND` stand in place of the embeddings of all media placeholders, row by row.
        """
        packing = self.packing(ids_BT, segments_BT)
        ids_xT = ids_BT if segments_BT is None else ids_BT.reshape(1, -1)
        x_BTD = self.embed(ids_xT)
        if media_ND is not None:
            placeholder = self.config.media_placeholder_token_id
            assert placeholder is not None, "a model that sees or hears has a placeholder"
            x_BTD = x_BTD.masked_scatter(ids_xT.eq(placeholder).unsqueeze(-1), media_ND)
        for block in self.lower:
            x_BTD = block(x_BTD, packing)
        middle_BTD = x_BTD
        for block in self.upper:
            x_BTD = block(x_BTD, packing)
        return x_BTD.view(*ids_BT.shape, -1), middle_BTD.view(*ids_BT.shape, -1)

    def hidden(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """The first of `trunk`."""
        return self.trunk(ids_BT, segments_BT)[0]

    def pointing(self, y_BTD: Tensor, middle_BTD: Tensor, ids_BT: Tensor, segments_BT: Tensor | None) -> Pointing:
        """Where each token of whole sequences points within its own window; `y` is the normed last hidden state."""
        assert self.memory is not None and self.copy_head is not None
        latents_BTL = self.memory.latents(self.memory.features(middle_BTD, segments_BT))
        seen_BTT = pointable(segments_BT, ids_BT.shape[1], self.copy_head.window, ids_BT.device)
        live = Lived(latents_BTL, following(ids_BT), seen_BTT, live_runs(ids_BT, segments_BT))
        return self.copy_head(y_BTD, latents_BTL, live, None)

    def forward(self, ids_BT: Tensor, segments_BT: Tensor | None = None, media_ND: Tensor | None = None) -> Tensor:
        """Whole sequences → logits [B, T, V]: the definition that cached decoding is tested against."""
        x_BTD, middle_BTD = self.trunk(ids_BT, segments_BT, media_ND)
        if self.copy_head is None:
            return self.logits(x_BTD)
        y_BTD = self.norm(x_BTD)
        return self.pointing(y_BTD, middle_BTD, ids_BT, segments_BT).mix(self.lm_head(y_BTD))

    def new_state(self) -> SequenceState:
        """The state of a sequence that has no token yet."""
        states = [b.self_attn.new_state() if isinstance(b.self_attn, KimiDeltaAttention) else None for b in self.blocks]
        return SequenceState(len(self.blocks), self.config.cache_width, deltas=states, device=self.device)

    @torch.inference_mode()
    def extend(self, ids_T: Tensor, state: SequenceState, last_only: bool = True) -> Tensor:
        """Read the next chunk of one sequence into its state; logits [1 or T, V]. The caller advances the state."""
        (x_TD,) = self.extend_together([(ids_T, state)])
        return self.logits(x_TD[-1:] if last_only else x_TD)

    @torch.inference_mode()
    def extend_together(
        self, chunks: list[tuple[Tensor, SequenceState]], on_layer: Callable[[int], None] | None = None
    ) -> list[Tensor]:
        """Read the next chunks of several sequences into their states, layer by layer: an expert that any of their
        tokens needs, and that perhaps lies on disk, is gone through once for all, and the bits are those of each
        sequence alone. Hidden states [T, D] after the last layer (before the norm). `on_layer` is told how many layers
        are done. The caller advances the states."""
        pieces, xs = [], []
        for ids_T, state in chunks:
            state.reserve(len(ids_T))
            end = state.length + len(ids_T)
            pieces += [(state, at, min(at + PIECE, end)) for at in range(state.length, end, PIECE)]
            xs += self.embed_at(ids_T, state, state.length).split(PIECE)
        cos_TP, sin_TP = self.rotary.up_to(max(end for _, _, end in pieces))
        for i, block in enumerate(self.blocks):
            parts = zip(xs, pieces, strict=True)
            xs = [block.extend(x, cos_TP[a:b], sin_TP[a:b], state, i, a) for x, (state, a, b) in parts]
            xs = block.feed_forward_together(xs)
            if on_layer is not None:
                on_layer(i + 1)
        return list(torch.cat(xs).split([len(ids_T) for ids_T, _ in chunks]))

    @torch.inference_mode()
    def decode(self, ids_B: Tensor, states: list[SequenceState]) -> Tensor:
        """The next token of B sequences: logits [B, V]. The caller advances the states."""
        for state in states:
            state.reserve(1)
        if self.fused is not None:
            return self.fused(ids_B, states)
        starts = [state.length for state in states]
        starts_B = torch.tensor(starts).to(self.device)
        cos_BP, sin_BP = (table_TP[starts_B] for table_TP in self.rotary.up_to(max(starts) + 1))
        x_BD = self.embed(ids_B)
        for i, block in enumerate(self.blocks):
            x_BD = block.decode(x_BD, cos_BP, sin_BP, states, i)
        return self.logits(x_BD)

    def init_weights(self, seed: int) -> None:
        """Fresh weights for training; see init.py."""
        init_weights(self, seed)


def segment_positions(segments_BT: Tensor) -> Tensor:
    """Position of every token inside its own packed document: [0 0 1 1 1] → [0 1 0 1 2]."""
    length = segments_BT.shape[1]
    index_T = torch.arange(length, device=segments_BT.device)
    starts_BT = torch.ones_like(segments_BT, dtype=torch.bool)
    starts_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    first_BT = torch.where(starts_BT, index_T, 0).cummax(dim=1).values
    return index_T - first_BT


def document_lengths(positions_T: Tensor) -> list[int]:
    """Lengths of the documents whose positions these are: [0 1 0 1 2] → [2, 3]."""
    starts = torch.where(positions_T == 0)[0].tolist()
    return [end - start for start, end in pairwise([*starts, positions_T.shape[0]])]
