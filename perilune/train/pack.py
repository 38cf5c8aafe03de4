"""Tokenise the mixture and pack whole documents into rows: flat files of ids, loss masks and segments."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perilune.corpus.document import Document
from perilune.corpus.encode import Encoded, encode
from perilune.corpus.held_out import held_out_documents
from perilune.corpus.sources import source
from perilune.tasks.families import WEIGHTS
from perilune.text.tokenizer import Tokenizer
from perilune.train.mixture import NANO, Part, documents
from perilune.train.packed import CONTEXT, FORMAT, INDEX, PADDING
from perilune.train.packed import Packed as Packed

OPEN_ROWS = 64


@dataclass
class Row:
    ids: list[int]
    mask: list[bool]
    segments: list[int]
    documents: int = 0

    def put(self, document: Encoded) -> None:
        # The first token of a document has nothing before it to be predicted from.
        self.ids += document.ids
        self.mask += [False, *document.mask[1:]]
        self.segments += [self.documents] * len(document.ids)
        self.documents += 1


def pack_rows(encoded: Iterator[Encoded], slots: int) -> Iterator[Row]:
    """Best fit over a window of open rows. Documents stay whole; only those longer than a row are cut."""
    opened: list[Row] = []
    for document in encoded:
        for piece in _pieces(document, slots):
            room = slots - len(piece.ids)
            fitting = [row for row in opened if len(row.ids) <= room]
            if fitting:
                max(fitting, key=lambda row: len(row.ids)).put(piece)
                continue
            opened.append(Row([], [], []))
            opened[-1].put(piece)
            if len(opened) > OPEN_ROWS:
                fullest = max(range(len(opened)), key=lambda i: len(opened[i].ids))
                yield opened.pop(fullest)
    yield from opened


def _pieces(document: Encoded, slots: int) -> Iterator[Encoded]:
    for start in range(0, len(document.ids), slots):
        piece = slice(start, start + slots)
        if len(document.ids[piece]) > 1:
            yield Encoded(document.ids[piece], document.mask[piece])


@dataclass
class Tally:
    """What was packed of one source."""

    documents: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    cut_tokens: int = 0


class GroupWriter:
    """Appends rows to the three flat files of one group."""

    def __init__(self, out: Path, name: str, slots: int, pad: int):
        self.name, self.slots, self.pad, self.rows, self.used = name, slots, pad, 0, 0
        self._files = [(out / f"{name}.{kind}").open("wb") for kind in ("ids", "mask", "segments")]

    def write(self, row: Row) -> None:
        spare = self.slots - len(row.ids)
        self.used += len(row.ids)
        self.rows += 1
        ids, mask, segments = self._files
        ids.write(np.array(row.ids + [self.pad] * spare, np.uint16).tobytes())
        mask.write(np.array(row.mask + [False] * spare, np.uint8).tobytes())
        segments.write(np.array(row.segments + [PADDING] * spare, np.uint16).tobytes())

    def close(self) -> dict[str, Any]:
        for file in self._files:
            file.close()
        filled = self.used / max(1, self.rows * self.slots)
        return {"rows": self.rows, "tokens": self.used, "padding_share": round(1 - filled, 5)}


def training_stream(
    parts: list[Part],
    root: Path,
    tokenizer: Tokenizer,
    *,
    seed: int,
    scale: float,
    slots: int,
    tallies: dict[str, Tally],
) -> Iterator[Encoded]:
    """The documents of a group, parts interleaved by their tokens left; stops when each part is spent."""
    rng = random.Random(f"{seed}:order")
    streams = {part.name: documents(part, root, seed) for part in parts}
    left = {part.name: part.tokens * scale for part in parts}
    while left:
        name = rng.choices(list(left), [max(amount, 1.0) for amount in left.values()])[0]
        document = next(streams[name], None)
        if document is None:
            del left[name]
            continue
        made = encode(document, tokenizer)
        _count(tallies.setdefault(name, Tally()), made, slots)
        yield made
        left[name] -= len(made.ids)
        if left[name] <= 0:
            del left[name]


def _count(tally: Tally, made: Encoded, slots: int) -> None:
    tally.documents += 1
    tally.tokens += len(made.ids)
    tally.trained_tokens += sum(made.mask)
    tally.cut_tokens += len(made.ids) if len(made.ids) > slots else 0


def write_packed(
    out: Path,
    tokenizer: Tokenizer,
    root: Path,
    *,
    parts: tuple[Part, ...] = NANO,
    seed: int = 0,
    scale: float = 1.0,
    context: int = CONTEXT,
    held_out: Iterable[Document] | None = None,
) -> dict[str, Any]:
    """Write the corpus under `out`, in rows of `context` tokens. The index is written last."""
    out.mkdir(parents=True, exist_ok=True)
    (out / INDEX).unlink(missing_ok=True)
    tallies: dict[str, Tally] = {}
    groups: dict[str, Any] = {}
    slots = context + 1
    for name in dict.fromkeys(part.group for part in parts):
        writer = GroupWriter(out, name, slots, tokenizer.pad)
        chosen = [part for part in parts if part.group == name]
        encoded = training_stream(chosen, root, tokenizer, seed=seed, scale=scale, slots=slots, tallies=tallies)
        for row in pack_rows(encoded, slots):
            writer.write(row)
        groups[name] = writer.close()
    writer = GroupWriter(out, "held_out", slots, tokenizer.pad)
    if held_out is None:
        held_out = (document for _, document in held_out_documents(root, seed))
    for row in pack_rows((encode(document, tokenizer) for document in held_out), slots):
        writer.write(row)
    groups["held_out"] = writer.close()
    index = {
        "format": FORMAT,
        "context": context,
        "n_vocab": tokenizer.n_vocab,
        "tokenizer_sha256": tokenizer.sha256,
        "seed": seed,
        "groups": groups,
        "sources": {name: {**asdict(tally), **_origin(name, root)} for name, tally in sorted(tallies.items())},
        "task_weights": WEIGHTS,
        "cut_share": round(
            sum(t.cut_tokens for t in tallies.values()) / max(1, sum(t.tokens for t in tallies.values())), 5
        ),
    }
    (out / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    return index


def _origin(name: str, root: Path) -> dict[str, Any]:
    if name.startswith("generated"):
        return {"files": {}}
    return {"files": source(name).sha256(root)}
