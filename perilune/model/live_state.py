"""What live tokens leave behind in a model with a chunk memory, besides latent rows and recurrent states.

Legend: C chunks, T live tokens, L latent rank, J taps, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from perilune.kernels.match_cpu import LANES
from perilune.model.chosen import Chosen
from perilune.model.memory import Queries, StoredPages, Tally


@dataclass(frozen=True)
class Pointed:
    """Where in the memory a prediction pointed most, as a token of what was read, and with what weight."""

    token: int
    weight: float


@dataclass
class LiveState:
    """`pages` are what was read, shared and never written; `tally` what its chunks have matched so far."""

    pages: StoredPages
    before_BJD: Tensor  # normed mid-depth states of the last taps - 1 tokens
    latents_TL: Tensor  # of every live token
    ids: list[int] = field(default_factory=list)
    recent: Queries | None = None  # of the last tokens, as many as a window holds
    pending: int = 0  # so many of them have not been searched for yet
    tally: Tally | None = None
    chosen: Chosen | None = None
    told_1M: Tensor | None = None  # since the choice, see Chosen.told
    begun_1M: Tensor | None = None  # since the choice, see Chosen.begun
    places: tuple[Tensor, Tensor] | None = None  # copy keys and gates of the last live tokens, see speak.py
    known: int = 0  # tokens that `places` goes up to
    reads: bool = False
    since_choice: int = 0
    choices: list[tuple[int, ...]] = field(default_factory=list)  # the chunks of every choice so far
    pointed: list[Pointed | None] = field(default_factory=list)  # one for each prediction

    @property
    def nbytes(self) -> int:
        """Without the pages, which many states share."""
        tally = self.tally.matched_BTC.nbytes if self.tally else 0
        chosen = self.chosen.latents_BKSL.nbytes + self.chosen.keys_BKSGI.nbytes if self.chosen else 0
        return self.before_BJD.nbytes + self.latents_TL.nbytes + tally + chosen

    def clone(self) -> LiveState:
        """An independent copy: tensors here are replaced, never written, so they are shared until then."""
        return replace(self, ids=list(self.ids), choices=list(self.choices), pointed=list(self.pointed))


def no_pages(latent_rank: int, chunk_size: int, groups: int, width: int) -> StoredPages:
    """The memory of a sequence that has read nothing."""
    return StoredPages(
        torch.zeros(0, chunk_size, latent_rank, dtype=torch.float16),
        torch.zeros(0, groups, chunk_size // LANES, width // 4, LANES, 4, dtype=torch.uint8),
        torch.zeros(0, chunk_size, dtype=torch.int32),
        torch.zeros(0, dtype=torch.long),
    )
