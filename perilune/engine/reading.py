"""Reading: segments of tokens → pages of a chunk memory, several at a time, reused where the store has them.

A segment starts from fresh recurrent states, so its pages depend on its own tokens alone and on the few before it that
warm the states up. That is what makes reading parallel, resumable and reusable: the same tokens give the same pages in
any file, in any process.

Legend: T tokens of a segment, C chunks, S tokens of a chunk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from perilune.engine.store import NodeKey, PrefixStore, node_key
from perilune.errors import ContextError, RequestError
from perilune.kernels.threads import get_threads
from perilune.model.live import read
from perilune.model.memory import StoredPages, first_chunks, stored
from perilune.model.model import Transformer

FORM = "pages-2"  # of what a node of the store holds
FILLING = -1
NO_IDS = np.zeros(0, np.int64)
OnRead = Callable[[int, int], None]
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # latents, keys and ids of a piece's pages


@dataclass(frozen=True)
class Piece:
    """At most `segment` ids. `goes_on`: the text before it goes on, so its last tokens warm the states up."""

    ids: np.ndarray
    goes_on: bool = False
    label: str = ""


class Reader:
    """Turns pieces into pages on one model. `identity` names its weights; without it nothing is stored."""

    def __init__(self, model: Transformer, store: PrefixStore | None = None, identity: str = "", threads: int = 0):
        memory = model.config.memory
        if memory is None:
            raise RequestError(
                f"this model ({model.config.model_type}) has no chunk memory, so it cannot read ahead of a question; "
                "give it the text in the prompt"
            )
        self.model, self.config = model, memory
        self.store = store if identity else None
        self.identity = f"{FORM} {identity}"
        self.threads = threads or get_threads()

    def read(self, pieces: Iterable[Piece | np.ndarray], on_read: OnRead | None = None) -> StoredPages:
        """All pieces in order; `on_read(tokens, reused)` after each. Stopping in between loses nothing stored."""
        done: list[Arrays] = []
        tokens = reused = 0
        for arrays, count, known in self._in_order(pieces):
            done.append(arrays)
            tokens, reused = tokens + count, reused + (count if known else 0)
            if on_read:
                on_read(tokens, reused)
        if not done:
            raise RequestError("there is nothing to read")
        heads_C = first_chunks(torch.tensor([len(ids) for _, _, ids in done]))
        latents, keys, ids = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*done, strict=True))
        return StoredPages(latents, keys, ids, heads_C)

    def _in_order(self, pieces: Iterable[Piece | np.ndarray]) -> Iterator[tuple[Arrays, int, bool]]:
        """A few pieces are always under way; each runs on one thread, so no result depends on how many there are."""
        waiting: deque[tuple[Future[tuple[Arrays, bool]], int]] = deque()
        before = NO_IDS
        limit, total = self.model.config.max_position_embeddings, 0
        pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for given in pieces:
                piece = given if isinstance(given, Piece) else Piece(np.asarray(given))
                total += len(piece.ids)
                if total > limit:
                    raise ContextError(f"the text has more than the {limit:,} tokens that this model can read")
                overlap = before[-self.config.overlap :] if piece.goes_on else before[:0]
                waiting.append((pool.submit(self._piece, piece, overlap), len(piece.ids)))
                before = np.asarray(piece.ids, np.int64)
                while len(waiting) > 2 * self.threads:
                    yield self._result(waiting)
            while waiting:
                yield self._result(waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _result(self, waiting: deque[tuple[Future[tuple[Arrays, bool]], int]]) -> tuple[Arrays, int, bool]:
        future, count = waiting.popleft()
        arrays, known = future.result()
        return arrays, count, known

    def _piece(self, piece: Piece, overlap: np.ndarray) -> tuple[Arrays, bool]:
        """One piece from the store, or read and stored. True where it was known."""
        ids = np.asarray(piece.ids, np.int64)
        if not 0 < len(ids) <= self.config.segment:
            raise RequestError(f"a segment has 1 to {self.config.segment} tokens, got {len(ids)}")
        filled = np.concatenate((ids, np.full(-len(ids) % self.config.chunk_size, FILLING)))
        ids_CS = filled.astype(np.int32).reshape(-1, self.config.chunk_size)
        key = self.key(ids, overlap)
        if key is not None and self.store is not None:
            found = self.store.get(key)
            if found is not None:
                return (found["latents"], found["keys"], ids_CS), True
        latents, keys = self._compute(overlap, filled)
        if key is not None and self.store is not None:
            self.store.put(key, None, {"latents": latents, "keys": keys}, label=piece.label, tokens=len(ids))
        return (latents, keys, ids_CS), False

    def key(self, ids: np.ndarray, overlap: np.ndarray = NO_IDS) -> NodeKey | None:
        """Under which the store has the pages of a piece, `overlap` being the tokens that warmed up for it."""
        if self.store is None:
            return None
        parent = node_key(self.identity, None, overlap) if len(overlap) else None
        return node_key(self.identity, parent, ids)

    @torch.inference_mode()
    def _compute(self, overlap: np.ndarray, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows_BT = torch.from_numpy(np.concatenate((overlap, filled))).unsqueeze(0)
        pages = stored(read(self.model, rows_BT, len(overlap)))
        return pages.latents_CSL.numpy(), pages.packed.numpy()
