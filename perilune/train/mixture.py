"""The training mixture of nano: which documents, from which source, how many tokens and how often each."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from perilune.corpus.common import count_words
from perilune.corpus.document import GENERATED, Document, from_example, from_item
from perilune.corpus.readers import Item
from perilune.corpus.sources import source
from perilune.tasks.families import FAMILIES, WEIGHTS, family
from perilune.tasks.tales import tale
from perilune.tasks.task import Example, pick


@dataclass(frozen=True)
class Part:
    """A share of the mixture. It ends at `tokens`, or when its documents were seen `repeats` times."""

    name: str
    group: str
    tokens: int
    repeats: int
    documents: Callable[[Path, random.Random], Iterator[Document]]


@cache
def _items(name: str, root: Path) -> tuple[Item, ...]:
    """Decompressing a source takes seconds, and some are read many times."""
    return tuple(source(name).items(root))


@cache
def _common(root: Path) -> frozenset[str]:
    """Words that the stories and the dialogues use."""
    counts = count_words(item.text or "" for name in ("stories_cc_by", "self_dialogue") for item in _items(name, root))
    return frozenset(word for word, count in counts.items() if count >= 12)


def _texts(name: str) -> Callable[[Path, random.Random], Iterator[Document]]:
    def documents(root: Path, rng: random.Random) -> Iterator[Document]:
        items = list(_items(name, root))
        rng.shuffle(items)
        return (Document(name, text=item.text) for item in items)

    return documents


def _chats(name: str) -> Callable[[Path, random.Random], Iterator[Document]]:
    def documents(root: Path, rng: random.Random) -> Iterator[Document]:
        items = list(_items(name, root))
        rng.shuffle(items)
        return (from_item(source(name), item, rng) for item in items)

    return documents


DEFINITION_QUESTIONS = (
    "{q}",
    "{q}",
    "{q}",
    "What does the word {w} mean?",
    "Define {w}.",
    "Explain the word {w}.",
    "What does {w} mean?",
)


def _definitions(root: Path, rng: random.Random) -> Iterator[Document]:
    origin = source("open_english_wordnet")
    items = [item for item in _items(origin.name, root) if item.key in _common(root)]
    rng.shuffle(items)
    for item in items:
        question = pick(rng, DEFINITION_QUESTIONS).format(q=item.messages[0]["content"], w=item.key)
        asked = replace(item, messages=({"role": "user", "content": question}, item.messages[1]))
        yield from_item(origin, asked, rng)


def _tales(root: Path, rng: random.Random) -> Iterator[Document]:
    while True:
        yield Document("generated_stories", text=tale(rng))


def _generated(root: Path, rng: random.Random) -> Iterator[Document]:
    """Single tasks, and now and then two or three of them in one conversation."""
    names, weights = [f.name for f in FAMILIES], [WEIGHTS[f.name] for f in FAMILIES]
    seed = 0
    while True:
        first = family(rng.choices(names, weights)[0]).example(seed)
        seed += 1
        if first.tools or rng.random() > 0.15:
            yield from_example(first)
            continue
        more = [family(rng.choices(names, weights)[0]).example(seed + i) for i in range(rng.randrange(1, 3))]
        seed += len(more)
        same = [e for e in more if not e.tools and e.thinking == first.thinking and e.messages[0]["role"] != "system"]
        yield conversation([first, *same])


def conversation(examples: list[Example]) -> Document:
    """Several tasks after each other. Reasoning of earlier turns is dropped, as it is when chatting.

    Replies that lost theirs are not trained on, or the model would learn to skip its steps.
    """
    earlier = [message for example in examples[:-1] for message in example.messages]
    kept = [{k: v for k, v in message.items() if k != "reasoning_content"} for message in earlier]
    lost = kept != earlier
    thinking = examples[-1].thinking
    messages = (*kept, *examples[-1].messages)
    return Document(GENERATED, messages=messages, thinking=thinking, train_from=len(kept) if lost and thinking else 0)


# Tokens are for a corpus of about 12 million; a shorter run sees every part in the same proportion.
NANO: tuple[Part, ...] = (
    Part("stories_cc_by", "language", 1_300_000, 4, _texts("stories_cc_by")),
    Part("wikipedia_en_2019", "language", 700_000, 2, _texts("wikipedia_en_2019")),
    Part("self_dialogue", "language", 1_000_000, 1, _texts("self_dialogue")),
    Part("generated_stories", "language", 1_300_000, 1, _tales),
    Part(GENERATED, "chat", 6_000_000, 1, _generated),
    Part("open_english_wordnet", "chat", 450_000, 8, _definitions),
    Part("snips_nlu", "chat", 500_000, 1, _chats("snips_nlu")),
    Part("personality_chat", "chat", 200_000, 4, _chats("personality_chat")),
    Part("chatterbot_corpus", "chat", 60_000, 3, _chats("chatterbot_corpus")),
    Part("dolly_subset", "chat", 200_000, 3, _chats("dolly_subset")),
    Part("gsm8k", "chat", 300_000, 2, _chats("gsm8k")),
    Part("clinc150", "chat", 60_000, 4, _chats("clinc150")),
)


def documents(part: Part, root: Path, seed: int) -> Iterator[Document]:
    """The documents of a part, round after round, each round in its own seeded order."""
    for repeat in range(part.repeats):
        yield from part.documents(root, random.Random(f"{seed}:{part.name}:{repeat}"))
