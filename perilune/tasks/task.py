"""What a generated example is, and how seeds and hashes keep training and held-out examples apart."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from perilune.corpus.split import is_held_out
from perilune.errors import ConfigError

T = TypeVar("T")
Message = dict[str, Any]

TRAIN_SEEDS = range(0, 1 << 40)
HELD_OUT_SEEDS = range(1 << 40, 1 << 41)


@dataclass(frozen=True)
class Example:
    """A conversation whose last message is the reply to learn; a right reply contains `answer`."""

    messages: tuple[Message, ...]
    answer: str
    thinking: bool = False
    tools: tuple[dict[str, Any], ...] = ()

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.messages[:-1]

    @property
    def question(self) -> str:
        return "\n".join(str(message["content"]) for message in self.prompt if message["role"] != "system")


@dataclass(frozen=True)
class Family:
    """One kind of task. `split` False: its questions are few and fixed, so they cannot be held out."""

    name: str
    make: Callable[[random.Random], Example]
    split: bool = True

    def example(self, seed: int) -> Example:
        """Seeds of HELD_OUT_SEEDS give questions that no seed of TRAIN_SEEDS gives."""
        held_out = seed in HELD_OUT_SEEDS
        if not held_out and seed not in TRAIN_SEEDS:
            raise ConfigError(
                f"seed {seed} is outside the training and the held-out seeds (0 … {HELD_OUT_SEEDS.stop - 1})"
            )
        rng = random.Random(f"{self.name}:{seed}")
        for _ in range(5_000):
            example = self.make(rng)
            if not self.split or is_held_out(f"task:{self.name}", example.question) == held_out:
                return example
        raise ConfigError(f"task family {self.name!r} has too few different questions to hold some out")

    def examples(self, seeds: range) -> Iterator[Example]:
        return (self.example(seed) for seed in seeds)


def pick(rng: random.Random, options: Sequence[T]) -> T:
    return options[rng.randrange(len(options))]


def chance(rng: random.Random, probability: float) -> bool:
    return rng.random() < probability


def several(rng: random.Random, options: Sequence[T], count: int) -> list[T]:
    return rng.sample(list(options), count)


def reply(content: str, reasoning: str | None = None) -> Message:
    message: Message = {"role": "assistant", "content": content}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    return message


def ask(
    question: str,
    content: str,
    answer: str,
    reasoning: str | None = None,
    *,
    thinking: bool,
    system: str | None = None,
) -> Example:
    first = ({"role": "system", "content": system},) if system else ()
    last = reply(content, reasoning if thinking else None)
    return Example((*first, {"role": "user", "content": question}, last), answer, thinking)


def a(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def listing(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
