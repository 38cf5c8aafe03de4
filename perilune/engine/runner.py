"""Drives the network: one prompt's next chunk, or the next token of many sequences.

Shapes: B sequences, T tokens of a chunk, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import torch

from perilune.model.model import Transformer
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

    def new_state(self) -> SequenceState:
        width = self.config.kv_lora_rank + self.config.qk_rope_head_dim
        return SequenceState(self.config.num_hidden_layers, width)

    def chunk_size(self, start: int, end: int) -> int:
        """How many tokens the next chunk takes when `start` of `end` are done."""
        return min(self.prefill_chunk - start % self.prefill_chunk, end - start)

    def prefill(self, ids: Seq[int], state: SequenceState) -> np.ndarray:
        """Reads one chunk into the state; the logits [V] after its last token."""
        logits_1V = self.model.extend(torch.tensor(ids, dtype=torch.int64), state, last_only=True)
        state.advance(len(ids))
        return logits_1V[-1].numpy()

    def decode(self, ids: Seq[int], states: list[SequenceState]) -> np.ndarray:
        """One token of each sequence; the logits [B, V] after it."""
        logits_BV = self.model.decode(torch.tensor(ids, dtype=torch.int64), states)
        for state in states:
            state.advance(1)
        return logits_BV.numpy()
