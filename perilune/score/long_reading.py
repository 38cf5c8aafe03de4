"""Reading long texts and asking about them: what a model must offer, and one text read once and asked many times."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from perilune.api.free_memory import peak_memory

SEGMENT = 2_048
# Longer than any answer asked for: a reply that has not found its end by then is wrong anyway.
MAX_TOKENS = 128
Span = tuple[int, int]
OnRead = Callable[[int], None]
Rule = Callable[[str, str], bool]


class Found(Protocol):
    """A reply. `recall`: per reading layer the share of the gold chunks that it chose. The first of the `tokens` comes
    with the question, so `decode_seconds` are those of the others."""

    @property
    def text(self) -> str: ...
    @property
    def recall(self) -> Mapping[str, float]: ...
    @property
    def tokens(self) -> int: ...
    @property
    def decode_seconds(self) -> float: ...


class Reading(Protocol):
    """A text that has been read. `gold`: token spans over the whole text, for the recall only."""

    @property
    def length(self) -> int: ...
    def ask(self, question: str, *, max_tokens: int, gold: Sequence[Span] = ()) -> Found: ...


class Reads(Protocol):
    """What a model must offer to be scored on long texts. `on_progress` hears the number of tokens read so far."""

    def read(self, segments: Iterable[np.ndarray], on_progress: OnRead | None = None) -> Reading: ...


@dataclass(frozen=True)
class Asked:
    """One question about a haystack. `depth`: where its first gold needle begins, 0 the beginning, 1 the end."""

    task: str
    question: str
    values: tuple[str, ...]
    gold: tuple[Span, ...]
    depth: float


@dataclass(frozen=True)
class Haystack:
    """A long text as ids, with questions; `length` is what was asked for, `ids` a little shorter."""

    length: int
    ids: np.ndarray
    asked: tuple[Asked, ...]

    def segments(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.ids), SEGMENT):
            yield self.ids[start : start + SEGMENT]


@dataclass(frozen=True)
class Trial:
    """One question answered. `found`: the share of its values that stand in the reply; right when all do."""

    task: str
    length: int
    depth: float
    question: str
    values: tuple[str, ...]
    reply: str
    found: float
    seconds: float
    tokens: int
    decode_seconds: float
    recall: Mapping[str, float] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        return self.found == 1.0

    def to_dict(self) -> dict[str, Any]:
        told = {"task": self.task, "length": self.length, "depth": round(self.depth, 4), "question": self.question}
        said = {"values": list(self.values), "reply": self.reply, "found": round(self.found, 4)}
        took = {
            "seconds": round(self.seconds, 4),
            "decode_seconds": round(self.decode_seconds, 4),
            "tokens": self.tokens,
        }
        return {**told, **said, **took, "recall": dict(self.recall)}


@dataclass(frozen=True)
class Run:
    """One haystack read: how long that took, the most memory the process has held so far, and the answers."""

    length: int
    tokens: int
    seconds: float
    peak_bytes: int
    trials: tuple[Trial, ...]


def stands_alone(value: str, reply: str) -> bool:
    """The value as a word or phrase of its own: "12" does not stand in "4123"."""
    return re.search(rf"(?<![^\W_]){re.escape(value)}(?![^\W_])", reply, re.IGNORECASE) is not None


def stands_in(value: str, reply: str) -> bool:
    """RULER's rule: anywhere in the reply, in any case."""
    return value.lower() in reply.lower()


def share_found(values: Sequence[str], reply: str, rule: Rule) -> float:
    return sum(rule(value, reply) for value in values) / len(values)


def run(
    model: Reads,
    haystack: Haystack,
    *,
    rule: Rule = stands_alone,
    max_tokens: int = MAX_TOKENS,
    on_read: OnRead | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> Run:
    """Reads the haystack once, then asks its questions one after the other, each on its own."""
    started = time.perf_counter()
    reading = model.read(haystack.segments(), on_read)
    seconds = time.perf_counter() - started
    trials = []
    for asked in haystack.asked:
        began = time.perf_counter()
        reply = reading.ask(asked.question, max_tokens=max_tokens, gold=asked.gold)
        trial = Trial(
            asked.task,
            haystack.length,
            asked.depth,
            asked.question,
            asked.values,
            reply.text,
            share_found(asked.values, reply.text, rule),
            time.perf_counter() - began,
            reply.tokens,
            reply.decode_seconds,
            dict(reply.recall),
        )
        trials.append(trial)
        if on_trial:
            on_trial(trial)
    return Run(haystack.length, len(haystack.ids), seconds, peak_memory(), tuple(trials))
