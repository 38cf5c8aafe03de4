"""RULER's synthetic tasks (NVIDIA, Hsieh et al. 2024) made anew: its wording, keys and values, our held-out filler.

Left out are qa_1 and qa_2, which need SQuAD and HotpotQA. Where a text holds several keys, several are asked for.
"""

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from perilune.corpus.filler import filler
from perilune.errors import RequestError
from perilune.score.long_reading import Asked, Haystack, OnRead, Reads, Trial, run, stands_in
from perilune.score.long_report import LongReport
from perilune.score.needle import Encode
from perilune.tasks import lookup_words as w
from perilune.tasks.lookup import lay
from perilune.tasks.lookup_counts import FEWEST_LINES, common_words, frequent_words
from perilune.tasks.lookup_types import Lookup, Question, question
from perilune.tasks.task import pick

NEEDLE = "One of the special magic {kind}s for {key} is: {value}."
ONE = "What is the special magic {kind} for {query} mentioned in the provided text?"
MANY = "What are all the special magic {kind}s for {query} mentioned in the provided text?"
QUIZ = "Make sure to memorize it. I will quiz you about the {kind} afterwards."
ONE_HIDDEN = "A special magic {kind} is hidden within the following text. " + QUIZ
MANY_HIDDEN = "Some special magic {kind}s are hidden within the following text. " + QUIZ.replace("{kind}", "{kind}s")
HOPS = 4
SAMPLED = 40
CLOSE = 0.95


@dataclass(frozen=True)
class Niah:
    """`keys` of 0: as many as the text has room for. `asks`: questions about one text."""

    filler: str
    key: str = "word"
    kind: str = "number"
    keys: int = 1
    values: int = 1
    queries: int = 1
    asks: int = 1


TASKS: dict[str, Niah | str] = {
    "niah_single_1": Niah("noise"),
    "niah_single_2": Niah("text"),
    "niah_single_3": Niah("text", kind="uuid"),
    "niah_multikey_1": Niah("text", keys=4, asks=4),
    "niah_multikey_2": Niah("needles", keys=0, asks=10),
    "niah_multikey_3": Niah("needles", key="uuid", kind="uuid", keys=0, asks=10),
    "niah_multivalue": Niah("text", values=4),
    "niah_multiquery": Niah("text", keys=4, queries=4),
    "vt": "vt",
    "cwe": "cwe",
    "fwe": "fwe",
}


def _key(rng: random.Random, kind: str, taken: set[str]) -> str:
    """An adjective and a noun; where those run short, two adjectives."""
    while True:
        noun = pick(rng, (w.THINGS, w.SITES, w.ANIMALS, w.FOODS)).pick(rng, True)
        words = [w.ADJECTIVES.pick(rng, True) for _ in range(1 + (len(taken) > 3_000))]
        key = _uuid(rng) if kind == "uuid" else "-".join([*words, noun])
        if key not in taken:
            taken.add(key)
            return key


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _value(rng: random.Random, kind: str) -> str:
    return _uuid(rng) if kind == "uuid" else str(rng.randrange(1_000_000, 10_000_000))


def niah(rng: random.Random, task: str, made: Niah, length: int, encode: Encode) -> Lookup:
    """The keys with their values, and the questions about some of them."""
    taken: set[str] = set()

    def told(count: int) -> list[tuple[str, str]]:
        return [
            (key, _value(rng, made.kind))
            for key in (_key(rng, made.key, taken) for _ in range(count))
            for _ in range(made.values)
        ]

    pairs = told(made.keys or SAMPLED)
    if not made.keys:
        sizes = [len(encode("\n" + NEEDLE.format(kind=made.kind, key=key, value=value))) for key, value in pairs]
        pairs += told(max(0, length * SAMPLED // sum(sizes) - SAMPLED + 2))
    rng.shuffle(pairs)
    needles = tuple(NEEDLE.format(kind=made.kind, key=key, value=value) for key, value in pairs)
    where: dict[str, list[int]] = {}
    for i, (key, _) in enumerate(pairs):
        where.setdefault(key, []).append(i)
    asked = []
    for queries in _chosen(rng, list(where), made.queries, made.asks):
        places = [i for key in queries for i in where[key]]
        several = len(places) > 1
        query = queries[0] if len(queries) == 1 else f"{', '.join(queries[:-1])}, and {queries[-1]}"
        text = (MANY if several else ONE).format(kind=made.kind, query=query)
        asked.append(question(text, [pairs[i][1] for i in places], places))
    return Lookup(task, needles, tuple(asked), made.filler)


def _chosen(rng: random.Random, keys: Sequence[str], queries: int, asks: int) -> list[list[str]]:
    some = rng.sample(keys, min(len(keys), queries * asks))
    return [some[i : i + queries] for i in range(0, len(some), queries)]


def variables(rng: random.Random) -> Lookup:
    """One chain of four copies."""
    names: list[str] = []
    while len(names) < HOPS + 1:
        name = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=5))
        if name not in names:
            names.append(name)
    value = str(rng.randrange(10_000, 100_000))
    lines = [f"VAR {names[0]} = {value}", *(f"VAR {b} = VAR {a}" for a, b in pairwise(names))]
    text = f"Question: Find all variables that are assigned the value {value} in the text above."
    return Lookup("vt", tuple(lines), (question(text, names, range(HOPS + 1)),), "noise")


def counts(rng: random.Random, task: str, length: int, encode: Encode) -> Lookup:
    """As many lines of words as the text has room for."""
    make = common_words if task == "cwe" else frequent_words
    seed, lines, used, fitting = rng.random(), SAMPLED, 0, None
    for _ in range(8):
        lookup = make(random.Random(seed), lines, True)
        used = sum(len(encode(line)) + 2 for line in lookup.needles)
        fitting = lookup if used <= length else fitting
        if CLOSE * length < used <= length or (lines == FEWEST_LINES and used > length):
            break
        lines = max(FEWEST_LINES, int(lines * (1 + CLOSE) / 2 * length / used))
    if fitting is not None:
        return Lookup(task, fitting.needles, fitting.questions, "needles")
    raise RequestError(f"{task} needs a text of at least {int(used * 1.1)} tokens with this vocabulary")


def haystack(rng: random.Random, task: str, length: int, encode: Encode, root: Path | None) -> Haystack:
    made = TASKS[task]
    head: list[int] = []
    if isinstance(made, Niah):
        hidden = ONE_HIDDEN if made.queries * made.values == 1 else MANY_HIDDEN
        head = encode(hidden.format(kind=made.kind) + "\n")
        lookup = niah(rng, task, made, length - len(head), encode)
    else:
        lookup = variables(rng) if task == "vt" else counts(rng, task, length, encode)
    laid = lay(rng, lookup, filler(lookup.filler, root, rng, True), length - len(head), encode)
    ids = np.concatenate((np.asarray(head, np.int32), laid.ids))
    spans = [(start + len(head), end + len(head)) for start, end in laid.spans]
    return Haystack(length, ids, tuple(_asked(task, one, spans, len(ids)) for one in lookup.questions))


def _asked(task: str, asked: Question, spans: list[tuple[int, int]], length: int) -> Asked:
    gold = tuple(spans[i] for i in asked.needles)
    return Asked(task, asked.text, asked.values, gold, gold[0][0] / length)


def parse_tasks(text: str) -> tuple[str, ...]:
    """Names parted by commas; "all" for all; "niah" for those that begin so."""
    parts = text.replace(" ", "").split(",")
    chosen = [[name for name in TASKS if part == "all" or (part and name.startswith(part))] for part in parts]
    if not all(chosen):
        raise RequestError(f"--tasks takes all, or names such as {', '.join(TASKS)}; got {text[:60]!r}")
    return tuple(dict.fromkeys(name for some in chosen for name in some))


def haystacks(
    tasks: Sequence[str], length: int, count: int, encode: Encode, root: Path | None, seed: int
) -> Iterator[Haystack]:
    """Texts with at least `count` questions for each task."""
    for task in tasks:
        made = TASKS[task]
        asks = min(count, made.asks) if isinstance(made, Niah) else 1
        for text in range(-(-count // asks)):
            yield haystack(random.Random(f"{seed}:ruler:{task}:{length}:{text}"), task, length, encode, root)


def score_ruler(
    model: Reads,
    name: str,
    tasks: Sequence[str],
    lengths: Sequence[int],
    count: int,
    encode: Encode,
    root: Path | None,
    *,
    seed: int = 0,
    on_haystack: Callable[[Haystack], OnRead | None] = lambda haystack: None,
    on_trial: Callable[[Trial], None] | None = None,
) -> LongReport:
    """An answer is right when all its values stand in the reply, as RULER compares them."""
    runs = []
    for length in lengths:
        for made in haystacks(tasks, length, count, encode, root, seed):
            runs.append(run(model, made, rule=stands_in, on_read=on_haystack(made), on_trial=on_trial))
    notes = (
        "RULER's wording and rule (substrings); words made up for cwe; without qa_1 and qa_2",
        "multikey tasks ask for several keys of one text; filler is held out",
    )
    return LongReport("ruler", name, 10, notes, tuple(runs))
