"""What a prompt holds besides text: rows of embeddings that stand where its placeholders are.

The towers (vision.py, hearing.py) make the rows before the decoder sees the prompt. What lies in a row is named by a
number of its own, so that two prompts with the same ids and different pictures are different prompts.

Legend: N rows, T tokens, D hidden.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MediaRows:
    """`rows_ND` stand in place of the embeddings of a prompt's tokens at `places_N`, which rise; `names_N` are below
    zero, so that no token's id is one of them."""

    places_N: np.ndarray
    rows_ND: Tensor
    names_N: np.ndarray

    @classmethod
    def of(cls, items: Iterable[tuple[int, Tensor, bytes]]) -> Self | None:
        """From the features [n, D] of each item, the place of its first one, and what its content is known by; an item
        lies in one piece. None where there is no item."""
        given = list(items)
        if not given:
            return None
        places = [np.arange(first, first + len(rows_nD)) for first, rows_nD, _ in given]
        names = [_names(digest, len(rows_nD)) for _, rows_nD, digest in given]
        rows_ND = torch.cat([rows_nD.float() for _, rows_nD, _ in given])
        return cls(np.concatenate(places), rows_ND, np.concatenate(names))

    def lay(self, x_TD: Tensor, start: int) -> Tensor:
        """Embeddings of the tokens from `start` on, with the rows that stand among them."""
        first, last = np.searchsorted(self.places_N, (start, start + x_TD.shape[0]))
        if first == last:
            return x_TD
        laid_TD = x_TD.clone()
        laid_TD[torch.from_numpy(self.places_N[first:last] - start)] = self.rows_ND[first:last].to(x_TD)
        return laid_TD

    def name(self, ids_T: np.ndarray) -> np.ndarray:
        """The ids of a prompt's beginning, int64, with the names of the rows that stand there."""
        within = self.places_N < ids_T.size
        named_T = ids_T.copy()
        named_T[self.places_N[within]] = self.names_N[within]
        return named_T


def _names(digest: bytes, count: int) -> np.ndarray:
    """A number below zero for each row of an item: 63 bits of a hash of its content and of the row's index."""
    made = b"".join(
        hashlib.blake2b(digest + index.to_bytes(8, "little"), digest_size=8).digest() for index in range(count)
    )
    return np.frombuffer(made, "<i8") | np.int64(-(1 << 63))
