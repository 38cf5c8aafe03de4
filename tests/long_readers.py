"""Stand-ins for a model that reads long texts: one that knows where to look, one that searches, one that fails."""

from dataclasses import dataclass, field

import numpy as np
from tiny_vocab import tiny_tokenizer

from perilune.score.long_reading import SEGMENT


@dataclass(frozen=True)
class Reply:
    text: str
    recall: dict = field(default_factory=dict)
    tokens: int = 3
    decode_seconds: float = 0.5


@dataclass(frozen=True)
class Read:
    ids: np.ndarray
    answer: object

    @property
    def length(self):
        return len(self.ids)

    def ask(self, question, *, max_tokens, gold=()):
        return self.answer(self.ids, question, gold)


@dataclass
class Stub:
    """Reads by keeping the ids. `answer(ids, question, gold)` gives the reply."""

    answer: object
    reads: int = 0

    def read(self, segments, on_progress=None):
        self.reads += 1
        kept, done = [], 0
        for ids in segments:
            assert 0 < len(ids) <= SEGMENT and ids.dtype == np.int32
            kept.append(ids)
            done += len(ids)
            if on_progress:
                on_progress(done)
        return Read(np.concatenate(kept), self.answer)


def oracle(ids, question, gold):
    """Says what stands at the gold spans of the ids that were really read."""
    text = " ".join(tiny_tokenizer().decode(ids[start:end].tolist()) for start, end in gold)
    return Reply(text, {"layer 4": 1.0, "layer 5": 0.5})


def failing(ids, question, gold):
    return Reply("I do not know.", {"layer 4": 0.0})
