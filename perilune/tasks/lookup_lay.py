"""Lays needles into filler: a document as ids, and where each needle stands in it."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from perilune.errors import ConfigError
from perilune.tasks.lookup_types import Lookup

Encode = Callable[[str], list[int]]
MISSES = 24


@dataclass(frozen=True)
class Laid:
    """`spans`: first and last-plus-one token of each needle, in order; (0, 0) for a distractor that found no room."""

    ids: np.ndarray
    spans: tuple[tuple[int, int], ...]


def is_sentence(needle: str) -> bool:
    """Sentences may stand within a paragraph; everything else has lines of its own."""
    return needle[-1] in '.!?")' and "\n" not in needle and needle[0] not in "|[{<#*-("


def lay(
    rng: random.Random,
    lookup: Lookup,
    filler: Iterator[str],
    tokens: int,
    encode: Encode,
    depths: Sequence[float] | None = None,
) -> Laid:
    """Needles at random depths (or at `depths`, 0 the beginning and 1 the end), in their order, between whole pieces
    of filler; at most `tokens` ids, and as near to it as whole pieces allow."""
    prose = lookup.filler != "code"
    pieces = [(encode(" " + n), encode(n), prose and is_sentence(n)) for n in lookup.needles]
    kept = _that_fit(rng, lookup, [len(inline) + 1 for inline, _, _ in pieces], tokens)
    if lookup.filler == "needles":
        return _join(encode, [], [0] * len(kept), pieces, kept, len(lookup.needles))
    room = tokens - sum(len(pieces[i][0]) + 2 for i in kept)
    texts = _fill(filler, room, encode)
    if depths is None:
        depths = sorted(rng.random() for _ in kept)
    elif len(depths) != len(lookup.needles):
        raise ConfigError(f"{len(lookup.needles)} needles need as many depths, got {len(depths)}")
    else:
        depths = [sorted(depths)[i] for i in kept]
    ends = np.cumsum([0, *(len(ids) for _, ids in texts)])
    lines = np.array([i for i, (text, _) in enumerate(texts) if text.startswith("\n")] + [len(texts)])
    where, last = [], 0
    for i, depth in zip(kept, depths, strict=True):
        target = float(depth) * float(ends[-1])
        border = int(np.searchsorted(ends, target))
        if border and target - ends[border - 1] < ends[min(border, len(texts))] - target:
            border -= 1
        if not pieces[i][2] and border:
            border = int(lines[np.searchsorted(lines, border)])
        last = max(last, border)
        where.append(last)
    return _join(encode, texts, where, pieces, kept, len(lookup.needles))


def _that_fit(rng: random.Random, lookup: Lookup, lengths: list[int], tokens: int) -> list[int]:
    """All needles, or as many as find room: those that a question is about stay, distractors go at random."""
    gold = {i for asked in lookup.questions for i in asked.needles}
    room = tokens - sum(lengths[i] for i in gold)
    if room < 0:
        raise ConfigError(f"{tokens} tokens are too few for the {len(gold)} needles asked for: {tokens - room} needed")
    others = [i for i in range(len(lengths)) if i not in gold]
    rng.shuffle(others)
    kept = set(gold)
    for i in others:
        if lengths[i] + 1 <= room:
            room -= lengths[i] + 1
            kept.add(i)
    return sorted(kept)


def _fill(filler: Iterator[str], room: int, encode: Encode) -> list[tuple[str, np.ndarray]]:
    """Whole pieces worth at most `room` tokens; near the end a few that are too long are passed over."""
    texts: list[tuple[str, np.ndarray]] = []
    misses = 0
    while room > 0 and misses < MISSES:
        text = next(filler)
        ids = encode(text)
        if len(ids) <= room:
            texts.append((text, np.asarray(ids, np.int32)))
            room -= len(ids)
        else:
            misses += 1
    return texts


def _join(
    encode: Encode,
    texts: list[tuple[str, np.ndarray]],
    where: list[int],
    pieces: list[tuple[list[int], list[int], bool]],
    kept: list[int],
    count: int,
) -> Laid:
    """`where[k]`: before which piece of filler the k-th kept needle stands."""
    line = encode("\n")
    out: list[np.ndarray] = []
    spans = [(0, 0)] * count
    length, own_line, k = 0, True, 0

    def put(ids: Sequence[int] | np.ndarray) -> None:
        nonlocal length
        out.append(np.asarray(ids, np.int32))
        length += len(ids)

    for border in range(len(texts) + 1):
        while k < len(kept) and where[k] == border:
            inline, alone, sentence = pieces[kept[k]]
            apart = own_line or not sentence or not texts
            if apart and length:
                put(line)
            ids = alone if apart else inline
            spans[kept[k]] = (length, length + len(ids))
            put(ids)
            own_line, k = not sentence, k + 1
        if border < len(texts):
            text, ids = texts[border]
            if not length:
                ids = encode(text.lstrip())
            elif own_line and not text.startswith("\n"):
                put(line)
                ids = encode(text.lstrip())
            put(ids)
            own_line = False
    return Laid(np.concatenate(out), tuple(spans))
