"""Drives the network: one prompt's next chunk, or the next token of many sequences.

Shapes: B sequences, T tokens of a chunk, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from functools import partial

import numpy as np
import torch
from torch import Tensor

from perilune.model.checkpoint import expert_store
from perilune.model.listen import hear, listen, new_live
from perilune.model.memory import StoredPages
from perilune.model.model import Transformer
from perilune.model.moe import Int4Experts, MoE
from perilune.model.speak import reads_nothing, speak
from perilune.model.state import SequenceState

PREFILL_CHUNK = 512


class Runner:
    """Chunk borders lie at multiples of `prefill_chunk`, so no neighbour can move them."""

    def __init__(self, model: Transformer, prefill_chunk: int = PREFILL_CHUNK) -> None:
        if prefill_chunk < 1:
            raise ValueError(f"prefill_chunk must be at least 1, got {prefill_chunk}")
        self.model = model.eval()
        self.config = model.config
        self.prefill_chunk = prefill_chunk
        plain = self.config.memory is None and self.config.linear_attention is None
        self._streams = plain and expert_store(model) is not None
        # Prompts share the weights of experts: in memory that saves a third of short ones, from disk nearly all. Float
        # experts run in torch, where a row's last bits depend on how many there are.
        experts = [module.experts for module in model.modules() if isinstance(module, MoE)]
        exact = bool(experts) and all(isinstance(each, Int4Experts) for each in experts)
        self.reads_together = self._streams or (plain and exact)

    def new_state(self, pages: StoredPages | None = None) -> SequenceState:
        """The state of a sequence without tokens, on what was read before it."""
        state = self.model.new_state()
        if self.model.memory is not None:
            state.live = new_live(self.model, pages)
        return state

    def extend(self, ids: Seq[int], state: SequenceState, last_only: bool = True) -> Tensor:
        """Logits [1 or T, V] of the next tokens of a sequence, which are then part of its state."""
        step = self.model.extend if self.model.memory is None else partial(listen, self.model)
        logits_TV = step(torch.tensor(ids, dtype=torch.int64), state, last_only)
        state.advance(len(ids))
        return logits_TV.cpu()

    def chunk_size(self, start: int, end: int) -> int:
        """How many tokens the next chunk takes when `start` of `end` are done."""
        return min(self.prefill_chunk - start % self.prefill_chunk, end - start)

    def prefill(self, ids: Seq[int], state: SequenceState) -> np.ndarray:
        """Reads one chunk into the state; the logits [V] after its last token."""
        return self.extend(ids, state)[-1].numpy()

    @torch.inference_mode()
    def embed(self, ids: Seq[int], state: SequenceState) -> np.ndarray:
        """Reads one chunk into the state; the normed hidden states [T, D] that the head would go by."""
        if self.model.memory is None:
            return self.prefill_together([(ids, state)], embeds=[True])[0]
        y_TD = self.model.norm(hear(self.model, torch.tensor(ids, dtype=torch.int64), state))
        state.advance(len(ids))
        return y_TD.cpu().numpy()

    @torch.inference_mode()
    def prefill_together(
        self,
        chunks: Seq[tuple[Seq[int], SequenceState]],
        on_layer: Callable[[int], None] | None = None,
        embeds: Seq[bool] | None = None,
    ) -> list[np.ndarray]:
        """`prefill` of several sequences, or `embed` where `embeds` says so: the same numbers, every expert read once.
        No state moves where it fails."""
        parts = [(torch.tensor(ids, dtype=torch.int64), state) for ids, state in chunks]
        xs = self.model.extend_together(parts, on_layer if self._streams else None)  # in memory a chunk takes a moment
        wanted = zip(xs, embeds or [False] * len(xs), strict=True)
        made = [(self.model.norm(x) if embed else self.model.logits(x[-1:])[-1]).cpu().numpy() for x, embed in wanted]
        for ids, state in chunks:
            state.advance(len(ids))
        return made

    def decode(self, ids: Seq[int], states: list[SequenceState]) -> np.ndarray:
        """One token of each sequence; the logits [B, V] after it."""
        if self.model.memory is None:
            logits_BV = self.model.decode(torch.tensor(ids, dtype=torch.int64), states)
        elif all(reads_nothing(state) for state in states):
            logits_BV = speak(self.model, torch.tensor(ids, dtype=torch.int64), states)
        else:
            return np.concatenate([self._decode_one(id, state) for id, state in zip(ids, states, strict=True)])
        for state in states:
            state.advance(1)
        return logits_BV.cpu().numpy()

    def _decode_one(self, id: int, state: SequenceState) -> np.ndarray:
        return self.decode([id], [state]) if reads_nothing(state) else self.extend([id], state).numpy()
