"""Train a byte-level BPE and write it as released: a tiktoken ranks file and the special-token layout.

The trainer counts a pair by its joined bytes and segments by tiktoken's own rule (lowest rank first), so the
ranks file and the training agree by construction. Digits never merge: numbers are read digit by digit.
"""

import argparse
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import regex

from perilune.corpus.encode import plain_text
from perilune.corpus.sources import data_root
from perilune.errors import TokenizerError
from perilune.text.tokenizer import SPLIT_PATTERN
from perilune.text.vocabulary import single_bytes, write_vocabulary
from perilune.train.mixture import NANO, documents

RANKS = 7_936


def merge(pieces: list[bytes], ranks: dict[bytes, int]) -> list[bytes]:
    """Merge the adjacent pair of lowest rank, leftmost on a tie, until no pair is in the vocabulary."""
    while len(pieces) > 1:
        best, at = len(ranks), -1
        for i in range(len(pieces) - 1):
            rank = ranks.get(pieces[i] + pieces[i + 1])
            if rank is not None and rank < best:
                best, at = rank, i
        if at < 0:
            break
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each piece of the published split occurs. Digits are left out, and so never merge."""
    split = regex.compile(SPLIT_PATTERN, regex.VERSION1)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split.findall(text))
    return Counter({word: n for word, n in counts.items() if len(word) > 1 and not word.isnumeric()})


def train_ranks(words: Counter[str], n_ranks: int = RANKS, max_token_bytes: int = 16) -> list[bytes]:
    """The ranks in order: 256 bytes, then merges, most frequent first, ties by byte order."""
    tokens = single_bytes()
    ranks = {token: rank for rank, token in enumerate(tokens)}
    if n_ranks < len(tokens):
        raise TokenizerError(f"a byte-level vocabulary needs at least {len(tokens)} ranks, {n_ranks} were asked for")
    texts = sorted(words)
    amount = [words[text] for text in texts]
    split = [[bytes([b]) for b in text.encode()] for text in texts]
    counts: Counter[bytes] = Counter()
    where: dict[bytes, set[int]] = {}
    for i, pieces in enumerate(split):
        for left, right in pairwise(pieces):
            counts[left + right] += amount[i]
            where.setdefault(left + right, set()).add(i)
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    while len(tokens) < n_ranks:
        if not heap:
            raise TokenizerError(f"the sample gives only {len(tokens)} ranks of {n_ranks}: give more text")
        negative, pair = heapq.heappop(heap)
        if counts[pair] != -negative or pair in ranks or len(pair) > max_token_bytes:
            continue
        ranks[pair] = len(tokens)
        tokens.append(pair)
        changed: Counter[bytes] = Counter()
        for i in where.pop(pair):
            pieces = split[i]
            for left, right in pairwise(pieces):
                changed[left + right] -= amount[i]
            merge(pieces, ranks)
            for left, right in pairwise(pieces):
                changed[left + right] += amount[i]
                where.setdefault(left + right, set()).add(i)
        for key, change in changed.items():
            if change:
                counts[key] += change
                if counts[key] > 0:
                    heapq.heappush(heap, (-counts[key], key))
    return tokens


def mixture_sample(root: Path, seed: int = 0, characters: int = 7_000_000) -> Iterator[str]:
    """Text in the proportions of the training mixture."""
    total = sum(part.tokens for part in NANO)
    for part in NANO:
        left = characters * part.tokens // total
        for document in documents(part, root, seed):
            text = plain_text(document)
            yield text
            left -= len(text)
            if left <= 0:
                break


def train_bpe(texts: Iterable[str], out: Path, n_ranks: int = RANKS) -> list[bytes]:
    tokens = train_ranks(count_words(texts), n_ranks)
    write_vocabulary(out, tokens)
    return tokens


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the vocabulary on a sample of the training mixture.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ranks", type=int, default=RANKS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    train_bpe(mixture_sample(data_root(), given.seed), given.out, given.ranks)


if __name__ == "__main__":
    main()
