import base64
from pathlib import Path

import pytest

from perilune.errors import MediaError, MessageError
from perilune.media import parts
from perilune.media.parts import closed, local, part_source

WHERE = "messages[0].content[1]"
DATA = b"\x89PNG and so on"
TEXT = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "image", "image": DATA}, "image"),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEXT}", "detail": "low"}}, "image"),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{TEXT}"}, "image"),
        ({"type": "input_audio", "input_audio": {"data": TEXT, "format": "wav"}}, "audio"),
        ({"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{TEXT}"}}, "video"),
        ({"type": "audio", "audio": DATA}, "audio"),
    ],
)
def test_what_a_part_brings_along_needs_no_gate(part, kind):
    assert part_source(part, WHERE, closed) == (kind, DATA)


@pytest.mark.parametrize("place", ["a.png", Path("a.png"), "file:///tmp/a.png", "https://a.example/a.png"])
def test_places_go_through_the_gate(place):
    asked = []
    part = {"type": "image_url", "image_url": {"url": place}}
    assert part_source(part, WHERE, lambda *given: asked.append(given) or DATA) == ("image", DATA)
    assert asked == [("image", str(place))]
    with pytest.raises(MediaError, match=r"messages\[0\].content\[1\]: no image is read from"):
        part_source(part, WHERE, closed)


def test_the_gate_of_a_program_reads_its_own_files_only():
    assert local("image", "a.png") == local("image", "file://a.png") == Path("a.png")
    with pytest.raises(MediaError, match="is not fetched: save it first"):
        local("image", "https://a.example/x.png")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"type": "image_url", "image_url": "data:text/html;base64,AAAA"}, "says 'text', but the part is for image"),
        ({"type": "image_url", "image_url": "data:image/png,abc"}, "is written data:TYPE;base64"),
        ({"type": "image_url", "image_url": "data:" + "x" * 10_000 + ";base64,AAAA"}, "is written data:TYPE;base64"),
        ({"type": "image_url", "image_url": "data:image/png;base64,A*A="}, "base64 is not"),
        ({"type": "input_audio", "input_audio": {"data": "***"}}, "base64 is not"),
    ],
)
def test_what_is_brought_wrongly_is_refused(part, told):
    with pytest.raises(MediaError, match=told):
        part_source(part, WHERE, closed)


@pytest.mark.parametrize("given", [None, 7, "", [], {}, {"url": None}, {"url": ["a"]}])
def test_a_part_that_brings_nothing_is_refused(given):
    with pytest.raises(MessageError, match=r"content\[1\].image_url must say where the image is"):
        part_source({"type": "image_url", "image_url": given}, WHERE, closed)


def test_sizes_are_checked_before_anything_is_decoded(monkeypatch):
    monkeypatch.setitem(parts.MAX_ITEM_BYTES, "image", 8)
    for part in ({"type": "image", "image": DATA}, {"type": "image_url", "image_url": f"data:image/png;base64,{TEXT}"}):
        with pytest.raises(MediaError, match=r"the image has 1\d bytes; at most 8 are read"):
            part_source(part, WHERE, closed)
