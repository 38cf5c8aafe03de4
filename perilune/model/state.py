"""What a sequence has left behind: one latent row per token and layer, in blocks that grow with it.

Shapes: S rows in use, C rows allocated, W = kv_lora_rank + qk_rope_head_dim.
The model writes rows [length, length + T) of every layer; whoever drives the model then calls advance(T).
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch

from perilune.model.delta import DeltaState
from perilune.model.live_state import LiveState
from perilune.model.media_rows import MediaRows

BLOCK_ROWS = 256  # capacity is always a multiple of this


class SequenceState:
    """The latent cache of one sequence: `latents[layer]` is float32 [C, W] with `length` valid rows."""

    def __init__(
        self,
        num_layers: int,
        width: int,
        block_rows: int = BLOCK_ROWS,
        deltas: Seq[DeltaState | None] | None = None,
        device: torch.device | None = None,
    ) -> None:
        if num_layers < 1 or width < 1 or block_rows < 1:
            raise ValueError(f"a state needs positive sizes, got {num_layers=} {width=} {block_rows=}")
        self.width = width
        self.block_rows = block_rows
        self.device = device  # of the rows
        self.length = 0
        self.latents: list[torch.Tensor] = [torch.empty(0, width, device=device) for _ in range(num_layers)]
        self.deltas: list[DeltaState | None] = list(deltas) if deltas is not None else [None] * num_layers
        self.live: LiveState | None = None  # where the model has a chunk memory
        self.media: MediaRows | None = None  # of the prompt that is being read; not a part of what is kept
        self.capacity = 0

    @property
    def nbytes(self) -> int:
        """Bytes allocated (not only those in use)."""
        deltas = sum(delta.nbytes for delta in self.deltas if delta is not None)
        return self.capacity * self.row_bytes + deltas + (self.live.nbytes if self.live else 0)

    @property
    def is_recurrent(self) -> bool:
        """Whether a part of the state cannot go back to an earlier token."""
        return any(delta is not None for delta in self.deltas)

    @property
    def row_bytes(self) -> int:
        return sum(delta is None for delta in self.deltas) * self.width * 4

    def reserve(self, rows: int) -> None:
        """Makes room for `rows` more tokens. Growing replaces the tensors: views taken before are stale."""
        needed = self.length + rows
        if needed <= self.capacity:
            return
        # Growing by half keeps the copying linear in the final length; blocks keep small sequences small.
        grown = max(needed, self.capacity + self.capacity // 2)
        self._resize(-(-grown // self.block_rows) * self.block_rows)

    def advance(self, rows: int) -> None:
        """Declares the `rows` rows after `length` valid."""
        if rows < 0 or self.length + rows > self.capacity:
            raise ValueError(f"cannot advance {rows} rows from {self.length} with capacity {self.capacity}")
        self.length += rows

    def truncate(self, length: int) -> None:
        """Forgets every token from `length` on. Memory stays allocated for what comes next."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a state of {self.length} tokens to {length}")
        if self.is_recurrent and length < self.length:
            raise ValueError("a recurrent state cannot forget its last tokens; fork it before they are read")
        self.length = length

    def fork(self, length: int | None = None) -> SequenceState:
        """An independent copy of the first `length` tokens (all of them by default)."""
        length = self.length if length is None else length
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot fork {length} tokens out of {self.length}")
        if self.is_recurrent and length < self.length:
            raise ValueError(f"a recurrent state holds {self.length} tokens as a whole, not the first {length}")
        deltas = [None if delta is None else delta.clone() for delta in self.deltas]
        twin = SequenceState(len(self.latents), self.width, self.block_rows, deltas, self.device)
        twin.live = self.live.clone() if self.live else None
        twin.reserve(length)
        for source_CW, target_CW in zip(self.latents, twin.latents, strict=True):
            target_CW[:length].copy_(source_CW[:length])
        twin.length = length
        return twin

    def shrink(self) -> None:
        """Gives back whole blocks beyond the rows in use."""
        fitting = -(-self.length // self.block_rows) * self.block_rows
        if fitting < self.capacity:
            self._resize(fitting)

    def _resize(self, capacity: int) -> None:
        self.capacity = capacity
        for layer, old_CW in enumerate(self.latents):
            if self.deltas[layer] is not None:
                continue  # a recurrent layer keeps no rows
            # An inference tensor could not be written outside inference mode, and a state outlives one call.
            with torch.inference_mode(False):
                new_CW = torch.empty(capacity, self.width, device=self.device)
            new_CW[: self.length].copy_(old_CW[: self.length])
            self.latents[layer] = new_CW
