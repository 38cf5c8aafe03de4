"""Writes a vocabulary as released: a tiktoken ranks file and the layout of its special tokens."""

import base64
import json
from itertools import islice, product
from pathlib import Path

from perilune.text import specials
from perilune.text.ranks import CONFIG_FILE, RANKS_FILE

# The published config calls these ordinary added tokens: skipping special tokens when decoding keeps them.
KEPT_WHEN_SKIPPING = (
    specials.SECTION_BEGIN,
    specials.SECTION_END,
    specials.CALL_BEGIN,
    specials.ARGUMENT_BEGIN,
    specials.CALL_END,
    specials.THINK,
    specials.END_THINK,
)


def single_bytes() -> list[bytes]:
    """The 256 bytes in the customary order: printable ones first, so that rank 0 is "!"."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [bytes([b]) for b in [*printable, *(b for b in range(256) if b not in printable)]]


def write_vocabulary(out: Path, tokens: list[bytes]) -> None:
    """`tiktoken.model` and `tokenizer_config.json`, as the release has them."""
    out.mkdir(parents=True, exist_ok=True)
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    (out / RANKS_FILE).write_text("".join(lines))
    base = len(tokens)
    added = {
        str(base + offset): {
            "content": content,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": content not in KEPT_WHEN_SKIPPING,
        }
        for offset, content in specials.OFFSETS.items()
    }
    config = {
        "added_tokens_decoder": added,
        "bos_token": "[BOS]",
        "clean_up_tokenization_spaces": False,
        "eos_token": "[EOS]",
        "extra_special_tokens": {},
        "model_max_length": 4096,
        "pad_token": "[PAD]",
        "tokenizer_class": "TikTokenTokenizer",
        "unk_token": "[UNK]",
    }
    (out / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def filler_tokens(count: int) -> list[bytes]:
    """`count` tokens for a model without a vocabulary of its own: single bytes, then every pair, then triples.

    Any text can be encoded and decoded with them; random weights have no use for better ones.
    """
    longer = (bytes(token) for length in range(2, 5) for token in product(range(256), repeat=length))
    return [*single_bytes(), *islice(longer, count - 256)]
