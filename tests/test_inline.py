"""Data URLs are read strictly, and never decoded before their size is known."""

import base64

import pytest

from perilune.errors import MediaError
from perilune.media.inline import data_url, is_data_url, read_data_url, type_said

PNG = b"\x89PNG\r\n\x1a\n and so on"
WEBM = b"\x1aE\xdf\xa3 and so on"


def url(data=PNG, head="data:image/png"):
    return f"{head};base64,{base64.b64encode(data).decode()}"


def test_what_is_written_well_is_read():
    assert read_data_url(url(), "image", 100) == PNG
    assert read_data_url(url(head="DATA:image/PNG"), "image", 100) == PNG
    assert read_data_url(url(WEBM, "data:audio/webm;codecs=opus"), "audio", 100) == WEBM
    assert read_data_url(url(b"any", "data:text/plain;charset=utf-8"), None, 100) == b"any"
    assert data_url("image/png", base64.b64encode(PNG).decode()) == url() and is_data_url("Data:x")
    assert type_said(url(head="data:Image/PNG")) == "image/png"


@pytest.mark.parametrize(
    "bad",
    [
        "data:",
        "data:image/png",
        "data:image/png,%89PNG",
        "data:image/png;base64",
        "data:;base64,AAAA",
        "data:image;base64,AAAA",
        "data: image/png;base64,AAAA",
        "data:image/png;base64;x=y,AAAA",
        "data:image/png;" + "x=y;" * 100 + "base64,AAAA",
        "data:image/png\n;base64,AAAA",
    ],
)
def test_other_spellings_are_refused(bad):
    with pytest.raises(MediaError, match=r"is written data:TYPE;base64,… here; one in percent-encoding is not read"):
        read_data_url(bad, "image", 100)


@pytest.mark.parametrize("body", ["A", "AAA", "AA=A", "AA AA", "AAAA\n", "A-_A", "%41AAA", "ÄÄÄÄ", "iVBORw0KGgo=x"])
def test_base64_is_strict(body):
    with pytest.raises(MediaError, match="what should be base64 is not"):
        read_data_url("data:image/png;base64," + body, "image", 100)


def test_the_size_is_known_before_anything_is_decoded():
    with pytest.raises(MediaError, match="holds 75 bytes; at most 70 are read"):
        read_data_url("data:image/png;base64," + "*" * 100, "image", 70)


def test_the_type_is_not_believed():
    with pytest.raises(MediaError, match="this is no image"):
        read_data_url(url(b"<svg onload=x>"), "image", 100)
    with pytest.raises(MediaError, match="said to be image/gif, but it is png"):
        read_data_url(url(head="data:image/gif"), "image", 100)
    with pytest.raises(MediaError, match="is no type of image"):
        read_data_url(url(head="data:text/html"), "image", 100)
