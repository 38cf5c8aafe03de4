"""From the licensed sources to a packed corpus: the vocabulary, then the rows. Finished parts are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perilune.corpus.sources import data_root
from perilune.errors import ConfigError
from perilune.text.ranks import RANKS_FILE
from perilune.text.tokenizer import Tokenizer
from perilune.train.bpe import mixture_sample, train_bpe
from perilune.train.pack import write_packed
from perilune.train.packed import CONTEXT, INDEX, Packed


def prepare_data(
    out: Path,
    tokenizer: Path,
    *,
    seed: int = 0,
    scale: float = 1.0,
    context: int = CONTEXT,
    say: Callable[[str], object] = print,
) -> Packed:
    """Make what is missing of vocabulary and packed corpus."""
    if not (tokenizer / RANKS_FILE).exists():
        say(f"training a vocabulary in {tokenizer}")
        train_bpe(mixture_sample(data_root(), seed), tokenizer)
    vocabulary = Tokenizer.load(tokenizer)
    if not (out / INDEX).exists():
        say(f"packing the mixture into {out}")
        write_packed(out, vocabulary, data_root(), seed=seed, scale=scale, context=context)
    packed = Packed.open(out)
    if packed.index["tokenizer_sha256"] != vocabulary.sha256:
        raise ConfigError(f"{out} was packed with another vocabulary than {tokenizer}: remove it and prepare again")
    if packed.context != context:
        raise ConfigError(
            f"{out} was packed in rows of {packed.context} tokens, not {context}: remove it and prepare again"
        )
    say(f"{packed.rows} rows of {packed.context} tokens, vocabulary of {packed.n_vocab}")
    return packed
