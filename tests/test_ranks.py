"""Damaged tokenizer files: each gives one TokenizerError that says what is wrong."""

import json

import pytest
from tiny_vocab import tiny_ranks, write_ranks

from perilune.errors import TokenizerError
from perilune.text import ranks
from perilune.text.tokenizer import Tokenizer

BASE = len(tiny_ranks())


def edited(directory, edit):
    path = write_ranks(directory, tiny_ranks()) / "tiktoken.model"
    path.write_bytes(b"\n".join(edit(path.read_bytes().split(b"\n"))))
    return directory


DAMAGE = {
    "bad base64": (lambda lines: [b"@@@ 0", *lines[1:]], "line 1: bad base64"),
    "loose padding": (lambda lines: [b"AA= 0", *lines[1:]], "line 1: bad base64"),
    "empty token": (lambda lines: [b"= 0", *lines[1:]], "line 1: "),
    "no rank": (lambda lines: [b"AA==", *lines[1:]], "line 1: expected `base64 rank`, got 1"),
    "rank is no number": (lambda lines: [b"AA== -1", *lines[1:]], "must be a whole number"),
    "huge rank": (lambda lines: [b"AA== 99999999999999999999", *lines[1:]], "must be a whole number"),
    "missing rank": (lambda lines: [*lines[:-2], b"YWI= 999"], "rank 262 is missing"),
    "rank twice": (lambda lines: [*lines[:-1], b"YWI= 5"], "rank 5 is given twice"),
    "token twice": (lambda lines: [*lines[:-1], b"AA== 263"], "appears twice"),
    "missing byte": (lambda lines: [b"YWI= 0", *lines[1:]], "1 of the 256 single bytes have no rank"),
    "empty file": (lambda lines: [], "256 of the 256 single bytes"),
    "long line": (lambda lines: [b"A" * 5000 + b" 0", *lines[1:]], "longer than"),
    "binary": (lambda lines: [bytes(range(256))], "line 1"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_ranks_are_refused(tmp_path, name):
    edit, message = DAMAGE[name]
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(edited(tmp_path, edit))


def test_line_order_and_windows_line_ends_do_not_matter(tmp_path):
    directory = edited(tmp_path, lambda lines: [line + b"\r" for line in reversed(lines) if line])
    assert Tokenizer.load(directory).decode([65]) == "A"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=r"tiktoken\.model is missing"):
        Tokenizer.load(tmp_path)


def test_a_file_over_the_limit_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "MAX_RANKS_BYTES", 100)
    with pytest.raises(TokenizerError, match="larger than 100 bytes"):
        Tokenizer.load(write_ranks(tmp_path, tiny_ranks()))


def with_config(directory, text):
    write_ranks(directory, tiny_ranks())
    (directory / "tokenizer_config.json").write_text(text)
    return directory


def added(table):
    return json.dumps({"added_tokens_decoder": table})


def test_names_come_from_the_config_and_gaps_are_reserved(tmp_path):
    table = {str(BASE + 2): {"content": "<|im_end|>"}, str(BASE + 9): {"content": "<stop>"}}
    tokenizer = Tokenizer.load(with_config(tmp_path, added(table)))
    assert tokenizer.special["<stop>"] == BASE + 9
    assert tokenizer.special_name(BASE + 3) == f"<|reserved_token_{BASE + 3}|>"
    assert tokenizer.stop_ids == (BASE + 2,)
    with pytest.raises(TokenizerError, match="no special token '<think>'"):
        tokenizer.special_id("<think>")


def test_a_config_without_a_table_leaves_the_published_names(tmp_path):
    assert Tokenizer.load(with_config(tmp_path, "{}")).eos == BASE + 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        (added([]), "must be an object"),
        (added({"x": {"content": "a"}}), "not a token id"),
        (added({"-1": {"content": "a"}}), "not a token id"),
        (added({"1": {"content": "a"}}), f"must be {BASE} to {BASE + 255}"),
        (added({str(BASE + 256): {"content": "a"}}), "must be"),
        (added({str(BASE): {}}), "no text `content`"),
        (added({str(BASE): {"content": ""}}), "1 to 256 characters"),
        (added({str(BASE): {"content": "\ud800"}}), "lone surrogate"),
        (added({str(BASE): {"content": "a"}, str(BASE + 1): {"content": "a"}}), "used for two ids"),
        (added({str(BASE): {"content": f"<|reserved_token_{BASE + 1}|>"}}), "reserved name of another id"),
    ],
)
def test_damaged_configs_are_refused(tmp_path, text, message):
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(with_config(tmp_path, text))
