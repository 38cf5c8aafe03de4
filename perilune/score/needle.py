"""Needles in long texts: sentences of many forms at all depths, asked for one by one; forms and words held out.

One text holds many needles, because a text of two million tokens takes minutes to read: for each question the other
needles are distractors. The strict way hides a single needle in each text.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from perilune.corpus.filler import filler
from perilune.errors import RequestError
from perilune.score.long_reading import Asked, Haystack, OnRead, Reads, Trial, run
from perilune.score.long_report import LongReport, size
from perilune.score.own import own_filler
from perilune.tasks.lookup import lay
from perilune.tasks.lookup_mixed import apart, joined
from perilune.tasks.lookup_types import Lookup

Encode = Callable[[str], list[int]]
LENGTHS = "4k,32k,128k,512k,1m,2m"
MOST_TOKENS = 1 << 24
FEWEST_TOKENS = 256
TOKENS_A_NEEDLE = 256  # no text is denser than that
ROUND = 1 << 20  # about the held-out prose there is, in tokens
FILLERS = ("text", "code", "noise")
UNITS = {"k": 1 << 10, "m": 1 << 20}


@dataclass(frozen=True)
class Plan:
    """What to hide and where: `count` questions for each length, reported in `depths` rows."""

    lengths: tuple[int, ...]
    count: int = 100
    depths: int = 10
    strict: bool = False
    filler: str = "text"
    seed: int = 0
    own: tuple[Lookup, ...] = ()  # of one needle each, to take instead of the held-out forms

    def __post_init__(self) -> None:
        if self.filler not in FILLERS and not Path(self.filler).exists():
            raise RequestError(f"--filler takes {', '.join(FILLERS)}, a file or a folder; got {self.filler[:40]!r}")
        if self.own and self.count > len(self.own):
            raise RequestError(f"{self.count} questions were wanted, but there are {len(self.own)} needles")

    @property
    def needles(self) -> list[int]:
        """How many needles one text of each length holds."""
        return [1 if self.strict else min(self.count, max(1, n // TOKENS_A_NEEDLE)) for n in self.lengths]

    def notes(self) -> tuple[str, ...]:
        held = ", ".join(f"{needles} in {size(n)}" for n, needles in zip(self.lengths, self.needles, strict=True))
        one = "one needle in each text"
        many = f"needles in one text: {held}; for each question the others are distractors"
        held_out = [] if self.own else ["forms", "words"]
        held_out += ["filler"] if self.filler in FILLERS else []
        filler = f"filler: {self.filler}" + (f"; held out: {', '.join(held_out)}" if held_out else "")
        if self.filler == "text" and max(self.lengths) > ROUND:
            filler += "; such prose is rare, so it comes round again about every million tokens"
        return (one if self.strict else many, filler)


def parse_lengths(text: str) -> tuple[int, ...]:
    """ "4k,2m" → (4096, 2097152)."""
    found = []
    for part in text.lower().replace(" ", "").split(","):
        number, unit = (part[:-1], UNITS[part[-1]]) if part[-1:] in UNITS else (part, 1)
        if not number.isdecimal() or not FEWEST_TOKENS <= int(number[:12]) * unit <= MOST_TOKENS:
            raise RequestError(
                f"--lengths takes numbers of tokens from {FEWEST_TOKENS} to {size(MOST_TOKENS)} such as {LENGTHS}, "
                f"got {part[:20]!r}"
            )
        found.append(int(number) * unit)
    return tuple(sorted(set(found)))


def haystacks(plan: Plan, length: int, encode: Encode, root: Path | None) -> Iterator[Haystack]:
    """As many texts as hold `count` needles; over all of them the depths are even."""
    each = plan.needles[plan.lengths.index(length)]
    texts = -(-plan.count // each)
    own = random.Random(f"{plan.seed}:own:{length}").sample(plan.own, plan.count) if plan.own else None
    for text in range(texts):
        rng = random.Random(f"{plan.seed}:needle:{length}:{text}")
        count = min(each, plan.count - text * each)
        depths = [(i + (text + 0.5) / texts) / count for i in range(count)]
        if plan.strict:
            depths = [(text % plan.depths + rng.random()) / plan.depths]
        lookups = own[text * each :][:count] if own else apart(rng, count, held_out=True)
        pieces = filler(plan.filler, root, rng, True) if plan.filler in FILLERS else own_filler(plan.filler)
        laid = lay(rng, joined("needle", lookups, "text"), pieces, length, encode, depths)
        asked = (
            Asked(one.task, one.questions[0].text, one.questions[0].values, (span,), span[0] / len(laid.ids))
            for one, span in zip(lookups, laid.spans, strict=True)
        )
        yield Haystack(length, laid.ids, tuple(asked))


def score_needles(
    model: Reads,
    name: str,
    plan: Plan,
    encode: Encode,
    root: Path | None,
    *,
    on_haystack: Callable[[Haystack], OnRead | None] = lambda haystack: None,
    on_trial: Callable[[Trial], None] | None = None,
) -> LongReport:
    """`on_haystack` hears of each text before it is read, and may return what hears the number of tokens read."""
    runs = []
    for length in plan.lengths:
        for haystack in haystacks(plan, length, encode, root):
            runs.append(run(model, haystack, on_read=on_haystack(haystack), on_trial=on_trial))
    return LongReport("needle", name, plan.depths, plan.notes(), tuple(runs))
