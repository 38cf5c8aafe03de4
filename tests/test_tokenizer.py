"""The tokenizer: published ids, lossless round trips, long runs, special tokens, streams."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_vocab import goldens, published_tokenizer, tiny_ranks, tiny_tokenizer, write_ranks

from perilune.errors import TokenizerError
from perilune.text import specials
from perilune.text.tokenizer import MAX_CHUNK_CHARS, MAX_RUN_CHARS, Tokenizer, split_long


def golden_text(case):
    return case["text"] if "text" in case else case["text_unit"] * case["text_times"] + case["text_tail"]


def test_published_goldens():
    for case in goldens("golden_tokens.jsonl"):
        text = golden_text(case)
        ids = published_tokenizer().encode(text, special=case["special"])
        if "ids" in case:
            assert ids == case["ids"], case["name"]
        else:
            digest = hashlib.sha256(json.dumps(ids, separators=(",", ":")).encode()).hexdigest()
            assert (len(ids), digest) == (case["n_ids"], case["ids_sha256"]), case["name"]
            assert ids[:8] == case["ids_head"] and ids[-8:] == case["ids_tail"]
        assert published_tokenizer().decode(ids) == text


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello, world!", [19180, 11, 2695, 0]),
        ("你好,世界", [33845, 11, 2243]),
        ("日本語テスト mixed漢字かな", [4546, 63011, 25875, 33360, 15682, 1435, 95, 1855, 15593, 11839]),
        ("i'LL don't", [72, 6, 5847, 4536]),
        ("émigré naïve", [33059, 6412, 1941, 7915, 44187, 367]),
        ("  leading  spaces   ", [220, 8134, 220, 14803, 274]),
        ("😀👍🏽", [134750, 222, 64390, 235, 92949, 121]),
        ("北京2026年", [3372, 2975, 21, 532]),
        ("\r\n\r\nfoo\r\n", [2298, 10570, 462]),
        ("العربية", [6974, 5042, 26139, 12441]),
        ("<|im_end|>", [27, 91, 348, 11129, 91, 29]),
        ("tool_declare", [20960, 35556, 677]),
        ("## Return of ", [798, 6014, 318, 220]),
    ],
)
def test_published_words(text, ids):
    assert published_tokenizer().encode(text) == ids


def test_published_layout():
    tokenizer = published_tokenizer()
    assert (tokenizer.base, tokenizer.n_vocab) == (163584, 163840)
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == (163584, 163586, 163839)
    assert tokenizer.stop_ids == (163586, 163585)
    assert tokenizer.special["<|media_pad|>"] == 163605
    assert tokenizer.special["<|reserved_token_163600|>"] == 163600
    assert {i - 163584: name for name, i in tokenizer.special.items() if "reserved" not in name} == (specials.OFFSETS)


def test_tiny_vocabulary_has_the_published_layout_after_its_own_ranks():
    tokenizer = tiny_tokenizer()
    assert tokenizer.n_vocab == tokenizer.base + 256 == len(tiny_ranks()) + 256
    assert tokenizer.special["<|im_end|>"] == tokenizer.base + 2 == tokenizer.eos
    assert tokenizer.special_name(tokenizer.base + 22) == "<think>"
    assert tokenizer.special_name(65) is None
    assert f"<|reserved_token_{tokenizer.base + 5}|>" in tokenizer.special


def test_merges_the_lowest_rank_first():
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode_bytes(tokenizer.encode(" the")) == b" the"
    assert len(tokenizer.encode(" the")) == 1
    assert tokenizer.encode("the") == [ord("t"), tiny_ranks()[b"he"]]


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back(text):
    assert tiny_tokenizer().decode(tiny_tokenizer().encode(text)) == text


@settings(deadline=None)
@given(st.text(), st.lists(st.sampled_from(sorted(specials.OFFSETS.values())), max_size=4))
def test_spelled_specials_are_text_unless_asked_for(text, names):
    tokenizer, joined = tiny_tokenizer(), text.join(names)
    assert max(tokenizer.encode(joined), default=0) < tokenizer.base
    assert tokenizer.decode(tokenizer.encode(joined, special=True)) == joined


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_come_back(data):
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


@settings(deadline=None)
@given(st.text())
def test_bytes_of_a_text_have_the_ids_of_the_text(text):
    assert tiny_tokenizer().encode(text.encode()) == tiny_tokenizer().encode(text)


def test_special_tokens_are_found_when_asked_for():
    tokenizer = tiny_tokenizer()
    assert tokenizer.encode("<|im_<|im_end|>a[EOS]", special=True) == [
        *b"<|im_",
        tokenizer.eos,
        ord("a"),
        tokenizer.special["[EOS]"],
    ]
    reserved = tokenizer.base + 40
    assert tokenizer.encode(f"<|reserved_token_{reserved}|>", special=True) == [reserved]


def test_a_lone_surrogate_is_refused_with_its_place():
    with pytest.raises(TokenizerError, match=r"U\+D83D\) at character 2"):
        tiny_tokenizer().encode("ab\ud83d")


@pytest.mark.parametrize("bad", [-1, 10**6])
def test_ids_outside_the_vocabulary_are_refused(bad):
    with pytest.raises(TokenizerError, match="not in the vocabulary"):
        tiny_tokenizer().decode([bad])


def reference_split(text):
    """The published rule, one character at a time."""
    for start in range(0, len(text), MAX_CHUNK_CHARS):
        chunk, cut, count = text[start : start + MAX_CHUNK_CHARS], 0, 0
        for i, char in enumerate(chunk):
            same = i > 0 and char.isspace() == chunk[i - 1].isspace()
            count = count + 1 if same else 1
            if count > MAX_RUN_CHARS:
                yield chunk[cut:i]
                cut, count = i, 1
        yield chunk[cut:]


RUNS = [0, 1, MAX_RUN_CHARS - 1, MAX_RUN_CHARS, MAX_RUN_CHARS + 1, 2 * MAX_RUN_CHARS, 2 * MAX_RUN_CHARS + 1]


@pytest.mark.parametrize("length", RUNS)
@pytest.mark.parametrize("char", ["a", " ", "\x1c", "漢"])
def test_long_runs_are_cut_as_published(length, char):
    for text in (char * length, f"b c{char * length}d e", f"b{' ' * 9000}{char * length}\nx"):
        assert list(split_long(text)) == list(reference_split(text)) or not text
        assert "".join(split_long(text)) == text


def test_a_run_across_a_chunk_border_starts_again():
    text = "ab " * 133_000 + "c" * 50_000
    assert list(split_long(text)) == list(reference_split(text))


@pytest.mark.parametrize("unit", [" ", "a", "\n", "é", "漢", "\x00", "!", "a ", "\x1c"])
def test_a_long_single_line_comes_back(unit):
    text = unit * 120_000
    assert tiny_tokenizer().decode(tiny_tokenizer().encode(text)) == text


@settings(deadline=None)
@given(st.binary(max_size=40), st.data())
def test_a_stream_of_ids_gives_the_text_of_the_whole(data, draw):
    tokenizer = tiny_tokenizer()
    ids, decoder, pieces = tokenizer.encode(data), tokenizer.stream_decoder(), []
    while ids:
        size = draw.draw(st.integers(1, len(ids)))
        pieces.append(decoder.feed(ids[:size]))
        ids = ids[size:]
    assert "".join([*pieces, decoder.finish()]) == data.decode(errors="replace")


def test_a_stream_holds_back_an_unfinished_character():
    decoder = tiny_tokenizer().stream_decoder()
    assert [decoder.feed([byte]) for byte in "漢".encode()] == ["", "", "漢"]
    assert decoder.feed([0xF0]) == ""
    assert decoder.finish() == "\ufffd"


def test_equal_vocabularies_have_equal_hashes():
    other = dict(tiny_ranks())
    other[b"ab"] = len(other)
    assert Tokenizer(tiny_ranks()).sha256 == tiny_tokenizer().sha256 != Tokenizer(other).sha256


def test_loads_a_directory_of_any_vocabulary_size(tmp_path):
    tokenizer = Tokenizer.load(write_ranks(tmp_path, tiny_ranks()))
    assert tokenizer.special == tiny_tokenizer().special


@pytest.mark.parametrize("wrong", [1.5, "a", None])
def test_what_is_no_token_id_is_refused(wrong):
    with pytest.raises(TokenizerError, match="a whole number"):
        tiny_tokenizer().decode([wrong])
    with pytest.raises(TokenizerError, match="a whole number"):
        tiny_tokenizer().special_name(wrong)
