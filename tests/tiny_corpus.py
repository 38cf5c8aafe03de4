"""A corpus of a few lines, packed into short rows, with its tokenizer and the shape of a model for it."""

import dataclasses
import json

from tiny_vocab import tiny_ranks, write_ranks

from perilune.config import ModelConfig
from perilune.corpus.encode import Encoded
from perilune.text.tokenizer import Tokenizer
from perilune.train.pack import GroupWriter, pack_rows
from perilune.train.packed import FORMAT, INDEX
from perilune.train.recipe import TrainConfig

CONTEXT = 32
LINES = ["the cat sat in the tin", "one two three four", "rain in the night", "he ate the thin bread", "no"]


def tiny_training(root, **changes):
    """A TrainConfig for ten steps on the lines; everything is written below `root`."""
    root.mkdir(exist_ok=True)
    tokenizer = Tokenizer.load(write_ranks(root, tiny_ranks()))
    data = root / "data"
    data.mkdir(exist_ok=True)
    groups = {
        name: _write_group(data, name, tokenizer, shift) for shift, name in enumerate(("language", "chat", "held_out"))
    }
    index = {
        "format": FORMAT,
        "context": CONTEXT,
        "n_vocab": tokenizer.n_vocab,
        "tokenizer_sha256": tokenizer.sha256,
        "seed": 0,
        "groups": groups,
        "sources": {"generated": {"documents": 5, "tokens": 99, "trained_tokens": 90, "cut_tokens": 0, "files": {}}},
    }
    (data / INDEX).write_text(json.dumps(index))
    shape = dataclasses.replace(
        ModelConfig.preset("tiny"),
        vocab_size=tokenizer.n_vocab,
        bos_token_id=tokenizer.bos,
        eos_token_ids=(tokenizer.eos,),
        pad_token_id=tokenizer.pad,
    )
    (root / "config.json").write_text(shape.to_json())
    settings = {"steps": 10, "rows": 4, "warmup": 2, "eval_every": 5, "sample_every": 100, "log_every": 1}
    return TrainConfig(
        data=str(data),
        tokenizer=str(root),
        out=str(root / "run"),
        model=str(root / "config.json"),
        **{**settings, **changes},
    )


def _write_group(data, name, tokenizer, shift):
    texts = [" ".join(LINES[(i * j + shift) % len(LINES)] for j in range(1, 3)) for i in range(40)]
    encoded = (Encoded(ids, [True] * len(ids)) for ids in map(tokenizer.encode, texts))
    writer = GroupWriter(data, name, CONTEXT + 1, tokenizer.pad)
    for row in pack_rows(encoded, CONTEXT + 1):
        writer.write(row)
    return writer.close()
