"""Parts of messages become bytes, files or text; what is too much, of the wrong kind or nothing at all is refused."""

import base64
from pathlib import Path

import pytest

from perilune.errors import MediaError, MessageError
from perilune.media import audio, image, parts, video
from perilune.media.parts import MediaItem, gather, local

PNG = b"\x89PNG\r\n\x1a\n and so on"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
MP4 = b"\x00\x00\x00\x18ftypisom"
ALL = {"vision", "hearing"}


def text_of(data):
    return base64.b64encode(data).decode()


def url(data, kind):
    return f"data:{kind};base64,{text_of(data)}"


def said(*given):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": list(given)}]


def nothing(kind, place):
    raise AssertionError(f"{place} was opened")


def media(*given, senses=ALL, fetch=nothing):
    return gather(said(*given), senses, fetch)[1]


@pytest.mark.parametrize(
    ("part", "kind", "data"),
    [
        ({"type": "image", "image": PNG}, "image", PNG),
        ({"type": "image_url", "image_url": {"url": url(PNG, "image/png"), "detail": "low"}}, "image", PNG),
        ({"type": "image_url", "image_url": url(PNG, "IMAGE/PNG")}, "image", PNG),
        ({"type": "input_audio", "input_audio": {"data": text_of(WAV), "format": "wav"}}, "audio", WAV),
        ({"type": "input_audio", "input_audio": {"data": url(WAV, "audio/x-wav")}}, "audio", WAV),
        ({"type": "video_url", "video_url": {"url": url(MP4, "video/mp4")}}, "video", MP4),
        ({"type": "input_video", "input_video": {"data": text_of(MP4), "format": "mp4"}}, "video", MP4),
        ({"type": "audio", "audio": WAV}, "audio", WAV),
        ({"type": "file", "file": {"file_data": url(PNG, "image/png"), "filename": "a.png"}}, "image", PNG),
        ({"type": "file", "file": MediaItem("file", url(WAV, "audio/wav"), "input[0]")}, "audio", WAV),
    ],
)
def test_what_a_part_brings_along_needs_no_gate(part, kind, data):
    (found,) = media(part)
    assert (found.kind, found.source) == (kind, data)


def test_media_come_in_order_and_stand_in_their_messages_as_items():
    before = said({"type": "text", "text": "a"}, {"type": "image", "image": PNG}, {"type": "audio", "audio": WAV})
    messages, found = gather(before, ALL, nothing)
    assert [(one.kind, one.where) for one in found] == [
        ("image", "messages[1].content[1]"),
        ("audio", "messages[1].content[2]"),
    ]
    assert messages[0] is before[0] and [part["type"] for part in messages[1]["content"]] == ["text", "image", "audio"]
    assert before[1]["content"][1] == {"type": "image", "image": PNG}


def test_messages_without_media_are_left_alone():
    for messages in (
        said({"type": "text", "text": "a"}),
        "x",
        [None, {"content": 3}, {"content": [3, {"type": []}]}],
        [],
    ):
        assert gather(messages, set(), nothing) == (messages, [])


@pytest.mark.parametrize(
    "place", ["a.png", Path("a.png"), "file:///tmp/a.png", "https://a.example/a.png", "ms://file-1"]
)
def test_places_go_through_the_gate(place):
    asked = []
    (found,) = media({"type": "image_url", "image_url": place}, fetch=lambda *given: asked.append(given) or PNG)
    assert found.source == PNG and asked == [("image", str(place))]


def test_the_id_of_a_file_is_a_place():
    asked = []
    part = {"type": "image_url", "image_url": {"file_id": "file-1"}}
    media(part, fetch=lambda *given: asked.append(given) or PNG)
    assert asked == [("image", "ms://file-1")]


def test_the_gate_of_a_program_reads_its_own_files_only(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    for given in (path, str(path), f"file://{path}"):
        assert media({"type": "image", "image": given}, fetch=local)[0].source == path
    with pytest.raises(MediaError, match=r"messages\[1\]\.content\[0\]: .* nothing is fetched from there"):
        media({"type": "image", "image": "https://a.example/x.png"}, fetch=local)
    with pytest.raises(MediaError, match=r"there is no file 'b\.png'"):
        media({"type": "image", "image": tmp_path / "b.png"}, fetch=local)


def test_a_model_without_the_sense_refuses_before_anything_is_opened():
    seen = {"type": "image_url", "image_url": "https://a.example/x.png"}
    heard = {"type": "input_audio", "input_audio": {"data": "no base64", "format": "wav"}}
    with pytest.raises(MessageError, match=r"^messages\[1\]\.content\[0\]: this model has no eyes"):
        media(seen, senses={"hearing"})
    with pytest.raises(MessageError, match=r"^messages\[1\]\.content\[1\]: this model has no ears"):
        media(seen, heard, senses={"vision"})
    with pytest.raises(MessageError, match=r"content\[0\]: this model has no ears"):
        media({"type": "file", "file": {"file_data": "data:audio/wav;base64,***"}}, senses=set())


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"type": "image_url", "image_url": "data:text/html;base64,AAAA"}, "'text/html' is no type of image"),
        ({"type": "image_url", "image_url": "data:image/svg+xml;base64,AAAA"}, "is no type of image"),
        ({"type": "image_url", "image_url": url(PNG, "image/jpeg")}, "said to be image/jpeg, but it is png"),
        ({"type": "image_url", "image_url": url(b"<html>", "image/png")}, "this is no image"),
        ({"type": "image", "image": WAV}, "this is no image that can be read, it is wav"),
        ({"type": "video_url", "video_url": url(WAV, "audio/wav")}, "is no type of video"),
        ({"type": "input_audio", "input_audio": {"data": text_of(WAV), "format": "mp3"}}, "said to be audio/mp3"),
        ({"type": "input_audio", "input_audio": {"data": text_of(WAV), "format": "a;b,"}}, "is written data:TYPE"),
        ({"type": "image", "image": bytearray(PNG)}, "must say where"),
    ],
)
def test_what_is_of_another_kind_is_refused(part, told):
    with pytest.raises(MessageError, match=rf"^messages\[1\]\.content\[0\].*{told}"):
        media(part)


@pytest.mark.parametrize("given", [None, 7, "", [], b"", {}, {"url": None}, {"url": ["a"]}, {"url": "a", "data": "b"}])
def test_a_part_that_brings_nothing_or_two_things_is_refused(given):
    with pytest.raises(MessageError, match=r"messages\[1\].content\[0\].image_url"):
        media({"type": "image_url", "image_url": given})


def test_sound_needs_its_format():
    with pytest.raises(MessageError, match=r'input_audio.format must say what the data are, such as "wav"'):
        media({"type": "input_audio", "input_audio": {"data": text_of(WAV)}})


def test_sizes_are_checked_before_anything_is_decoded(monkeypatch, tmp_path):
    monkeypatch.setitem(parts.MAX_ITEM_BYTES, "image", 8)
    (tmp_path / "a.png").write_bytes(PNG)
    for given in (PNG, url(PNG, "image/png"), "data:image/png;base64," + "*" * 100, tmp_path / "a.png"):
        with pytest.raises(MediaError, match=r"content\[0\]: .* \d+ bytes; at most 8 are read"):
            media({"type": "image", "image": given}, fetch=local)


def test_items_and_their_bytes_in_all_are_capped(monkeypatch):
    monkeypatch.setattr(parts, "MAX_ITEMS", 3)
    part = {"type": "image", "image": PNG}
    assert len(media(part, part, part)) == 3
    with pytest.raises(MessageError, match=r"messages\[1\]\.content\[3\]: a conversation may have 3 media"):
        media(part, part, part, part)
    files = [{"type": "file", "file": {"file_data": url(b"x", "text/plain")}}] * 4
    with pytest.raises(MessageError, match=r"content\[3\]: a conversation may have 3 media"):
        media(*files)
    monkeypatch.setattr(parts, "MAX_TOTAL_BYTES", 2 * len(PNG))
    with pytest.raises(MediaError, match=r"content\[2\]: the media of a conversation may have"):
        media(part, part, part)


def test_the_caps_of_a_conversation_are_within_those_of_the_decoders():
    decoders = {"image": image.MAX_BYTES, "audio": audio.MAX_FILE_BYTES, "video": video.MAX_BYTES}
    for kind, most in parts.MAX_ITEM_BYTES.items():
        assert parts.MAX_FETCHED_BYTES[kind] <= most <= decoders[kind]


def test_a_file_is_what_its_bytes_say(tmp_path, monkeypatch):
    def kept(data):
        (tmp_path / "kept").write_bytes(data)
        part = {"type": "file", "file": {"file_id": "file-1", "filename": "x.png"}}
        return gather(said(part), ALL, lambda kind, place: tmp_path / "kept")

    for data, kind in ((PNG, "image"), (WAV, "audio"), (MP4, "video"), (b"\0\0\0\x18ftypM4A ", "audio")):
        messages, (found,) = kept(data)
        assert found.kind == messages[1]["content"][0]["type"] == kind and found.source == tmp_path / "kept"
    messages, found = kept("\ufeffzwölf".encode())
    assert not found and messages[1]["content"] == [{"type": "text", "text": "zwölf"}]
    for data in (b"%PDF-1.7\n\xff\xfe", b"a\0b"):
        with pytest.raises(MediaError, match=r"content\[0\]: the file is neither a picture"):
            kept(data)
    monkeypatch.setattr(parts, "MAX_TEXT_BYTES", 5)
    with pytest.raises(MediaError, match="the text of files has 6 bytes; at most 5"):
        kept(b"abcdef")


def test_texts_of_files_are_capped_together(monkeypatch):
    monkeypatch.setattr(parts, "MAX_TEXT_BYTES", 8)
    part = {"type": "file", "file": {"file_data": url(b"four", "text/plain")}}
    messages, _ = gather(said(part, part), set(), nothing)
    assert [one["text"] for one in messages[1]["content"]] == ["four", "four"]
    with pytest.raises(MediaError, match=r"content\[2\]: the text of files has 4 bytes; at most 0"):
        gather(said(part, part, part), set(), nothing)


@pytest.mark.parametrize("given", ["/etc/passwd", "https://a.example/x", "file:///etc/passwd", Path("x"), b"x"])
def test_a_file_is_brought_along_or_kept(given):
    with pytest.raises(MediaError, match="a file is a data URL, or the id of one that is kept here"):
        media({"type": "file", "file": given})
