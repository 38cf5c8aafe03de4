"""Decoding: the same text wherever the chunks end, and errors that name the byte and what to do."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perilune.documents.decode import MAX_ENCODING_CHARS, SNIFF_BYTES, check_encoding, decode
from perilune.errors import DocumentError

LONG = "Grüße, 世界 😀\r\nsecond\rthird\n\r\n" * 700


def chunks(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


def text_of(data, size=7, encoding=None):
    pieces = list(decode(chunks(data, size), "a.txt", encoding))
    assert all(pieces)
    return "".join(pieces)


def normalised(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("size", [1, 2, 3, 5, SNIFF_BYTES, 1 << 20])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
def test_read_without_a_name(mark, encoding, size):
    assert text_of(mark + LONG.encode(encoding), size) == normalised(LONG)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from("\r\n")), st.integers(1, 9)
)
def test_any_text_in_any_chunks(text, size):
    assert text_of(text.encode(), size) == normalised(text.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "déjà vu"),
        ("cp1252", "“quoted” – €"),
        ("utf-16-le", "no mark"),
        ("utf-16", "own mark"),
        ("utf-8-sig", "sig"),
        ("gb18030", "中文\r\n"),
        ("shift_jis", "日本語"),
    ],
)
@pytest.mark.parametrize("size", [1, 100])
def test_a_forced_encoding(encoding, text, size):
    assert text_of(text.encode(encoding), size, encoding) == normalised(text)


@pytest.mark.parametrize("size", [1, 7, 10_000, 1 << 20])
@pytest.mark.parametrize("before", [b"abc", b"\xc3\xa9" * 6_000, b"x" * 50_001])
def test_an_error_names_the_byte_and_the_encodings(before, size):
    for bad, reason in [(b"\xff rest", "invalid start byte"), (b"\xe4\xb8", "unexpected end of data")]:
        with pytest.raises(DocumentError, match="UTF-16 with a byte order mark") as caught:
            text_of(before + bad, size)
        assert f"a.txt is not utf-8 at byte {len(before):,} ({reason})" in str(caught.value)
        assert "latin-1" in str(caught.value)
        assert caught.value.reason == "not text"


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
@pytest.mark.parametrize(("encoding", "bad"), [("cp1252", b"\x81"), ("utf-16-le", b"\x00\xdc"), ("gb18030", b"\x80")])
def test_an_error_under_a_forced_encoding(encoding, bad, size):
    before = ("text" * 5_000).encode(encoding)
    with pytest.raises(DocumentError, match=f"at byte {len(before):,} ") as caught:
        text_of(before + bad + "text".encode(encoding), size, encoding)
    assert "without an encoding" not in str(caught.value)


def test_an_odd_byte_at_the_end_of_utf_16():
    with pytest.raises(DocumentError, match="at byte 6 "):
        text_of("\ufeffab".encode("utf-16-le") + b"c")


@pytest.mark.parametrize(
    "data",
    [b"abc\0def", b"\x7fELF\x02\x01\x01\0", bytes(range(1, 32)) * 9, "no mark".encode("utf-16-le")],
    ids=["nul", "elf", "controls", "utf16-without-mark"],
)
def test_binary_is_refused(data):
    for encoding in (None, "latin-1"):
        with pytest.raises(DocumentError, match="is not text") as caught:
            text_of(data, 3, encoding)
        assert caught.value.reason == "binary"


def test_text_with_escapes_tabs_and_form_feeds_is_text():
    log = "\x1b[31mred\x1b[0m\tcolumn\f\n" * 50
    assert text_of(log.encode()) == log


@pytest.mark.parametrize(
    "encoding",
    ["", "klingon", "base64", "rot13", "idna", "unicode_escape", "utf-7", "x" * MAX_ENCODING_CHARS * 2, "a\0b", 8],
)
def test_an_unknown_encoding(encoding):
    with pytest.raises(DocumentError, match="no known encoding"):
        check_encoding(encoding)


def test_nothing_and_only_a_mark_are_no_pieces():
    assert list(decode([], "a.txt")) == []
    assert list(decode([codecs.BOM_UTF8], "a.txt")) == []


def test_only_the_first_mark_is_a_mark():
    assert text_of("\ufeff\ufeffa\ufeff".encode()) == "\ufeffa\ufeff"
