"""Files and folders → what a model has read of them, with the file and the lines of every answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from perilune.api.reading import Passage, Reading
from perilune.documents.places import Place, Places
from perilune.documents.segments import MAX_TOKENS, Segment, segments
from perilune.documents.source import Source
from perilune.engine.reading import Piece, Reader
from perilune.engine.store import NodeKey, PrefixStore
from perilune.errors import RequestError
from perilune.model.memory import StoredPages
from perilune.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from perilune.api.model import Model

# Tokens read so far, how many of them were known, and how many there will be.
OnDocuments = Callable[[int, int, int], None]
LIVE_TOKENS = 4096  # of the context, kept for questions and replies


class DocumentReading(Reading):
    """A reading that knows the file and the lines of every token."""

    def __init__(self, model: Model, pages: StoredPages, lengths: Sequence[int], places: Places):
        super().__init__(model, pages, lengths)
        self.places = places

    def place(self, passage: Passage) -> Place:
        """Where a passage stands; DocumentError when its file has changed since."""
        return self.places.place(passage.piece, passage.start, passage.end)


def read_documents(
    model: Model,
    sources: Sequence[Source],
    *,
    store: PrefixStore | None = None,
    threads: int = 0,
    on_read: OnDocuments | None = None,
) -> DocumentReading:
    """Read sources in order. ContextError or DocumentError where they do not fit or have changed, before any work."""
    made, places = segmented(model, sources), Places(_tokenizer(model))
    lengths = [len(segment) for segment in places.keep(made)]
    reader = Reader(model.transformer, store, model.identity, threads)
    pages = reader.read(
        (Piece(segment.ids, label=segment.source.name) for segment in made),
        lambda done, known: on_read(done, known, sum(lengths)) if on_read else None,
    )
    return DocumentReading(model, pages, lengths, places)


def segmented(model: Model, sources: Sequence[Source]) -> list[Segment]:
    """What sources are read as. Splitting two million tokens takes a second, so what does not fit is refused before an
    hour of reading."""
    memory, tokenizer = model.config.memory, _tokenizer(model)
    if memory is None:
        raise RequestError("reading documents needs a model with a chunk memory")
    limit = min(MAX_TOKENS, model.context_length - min(LIVE_TOKENS, model.context_length // 2))
    return list(segments(sources, tokenizer, segment_tokens=memory.segment, max_tokens=limit))


def store_keys(model: Model, made: Sequence[Segment], store: PrefixStore) -> list[NodeKey]:
    """Under which a store has what segments were read into; none for a model that did not come from a directory."""
    reader = Reader(model.transformer, store, model.identity)
    keys = (reader.key(segment.ids) for segment in made)
    return [key for key in keys if key is not None]


def _tokenizer(model: Model) -> Tokenizer:
    if model.tokenizer is None:
        raise RequestError("reading documents needs a model with a tokenizer")
    return model.tokenizer
