"""Loss per byte on held-out documents: comparable between vocabularies, which loss per token is not."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any, Protocol

import torch

from perilune.corpus.document import Document
from perilune.corpus.encode import encode
from perilune.corpus.held_out import of_source, of_tasks
from perilune.corpus.sources import SOURCES
from perilune.errors import ConfigError
from perilune.text.tokenizer import Tokenizer


class Reader(Protocol):
    """What a model must offer to be measured; perilune.load returns one."""

    tokenizer: Tokenizer | None

    @property
    def context_length(self) -> int: ...
    def logits(self, ids: Iterable[int]) -> torch.Tensor: ...


@dataclass(frozen=True)
class LossScore:
    """Summed negative log likelihood of the learned tokens, and the bytes of text they stand for."""

    name: str
    documents: int
    tokens: int
    bytes: int
    nats: float

    @property
    def nats_per_byte(self) -> float:
        return self.nats / self.bytes if self.bytes else 0.0

    @property
    def bits_per_byte(self) -> float:
        return self.nats_per_byte / log(2)

    def to_dict(self) -> dict[str, Any]:
        per_byte = {
            "nats_per_byte": round(self.nats_per_byte, 4),
            "bits_per_byte": round(self.bits_per_byte, 4),
        }
        counts = {"documents": self.documents, "tokens": self.tokens, "bytes": self.bytes}
        return {"name": self.name, **counts, "nats": round(self.nats, 3), **per_byte}


def score_documents(model: Reader, name: str, documents: Iterable[Document]) -> LossScore:
    """Every learned token counts, template tokens of a reply too; only tokens of text add bytes."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise ConfigError("loss per byte needs a tokenizer: this model directory has no tiktoken.model")
    seen = tokens = size = 0
    nats = 0.0
    for document in documents:
        made = encode(document, tokenizer)
        ids, mask = made.ids[: model.context_length], made.mask[: model.context_length]
        learned = [i for i in range(1, len(ids)) if mask[i]]
        if not learned:
            continue
        logits_TV = model.logits(ids[:-1]).float()
        before = torch.tensor([i - 1 for i in learned])
        targets = torch.tensor([ids[i] for i in learned])
        nats += float(torch.nn.functional.cross_entropy(logits_TV[before], targets, reduction="sum"))
        size += len(tokenizer.decode_bytes([ids[i] for i in learned if ids[i] < tokenizer.base]))
        seen, tokens = seen + 1, tokens + len(learned)
    return LossScore(name, seen, tokens, size, nats)


def score_losses(model: Reader, root: Path | None, count: int = 20) -> tuple[LossScore, ...]:
    """One line per licensed source (when its folder is given), and one per generated family."""
    scores: list[LossScore] = []
    if root is not None:
        scores += [score_documents(model, origin.name, of_source(origin, root, count=count)) for origin in SOURCES]
    by_family: dict[str, list[Document]] = {}
    for name, document in of_tasks(count):
        by_family.setdefault(name, []).append(document)
    scores += [score_documents(model, name, documents) for name, documents in by_family.items()]
    return tuple(scores)
