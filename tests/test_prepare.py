"""Preparing twice does the work once, and data of another vocabulary is refused."""

from pathlib import Path

import pytest
from tiny_corpus import CONTEXT, tiny_training
from tiny_vocab import tiny_ranks, write_ranks

from perilune.errors import ConfigError
from perilune.train.prepare import prepare_data


def test_finished_parts_are_kept(tmp_path):
    config, said = tiny_training(tmp_path), []
    packed = prepare_data(Path(config.data), Path(config.tokenizer), context=CONTEXT, say=said.append)
    assert said == [f"{packed.rows} rows of 32 tokens, vocabulary of 519"]


def test_another_vocabulary_is_refused(tmp_path):
    config = tiny_training(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    write_ranks(other, {**tiny_ranks(), b"xyz": len(tiny_ranks())})
    with pytest.raises(ConfigError, match="another vocabulary"):
        prepare_data(Path(config.data), other, context=CONTEXT, say=str)


def test_rows_of_another_length_are_refused(tmp_path):
    config = tiny_training(tmp_path)
    with pytest.raises(ConfigError, match="rows of 32 tokens, not 64"):
        prepare_data(Path(config.data), Path(config.tokenizer), context=64, say=str)
