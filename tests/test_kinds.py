"""What real files are, by their first bytes, and the media types that name them."""

import io

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from perilune.errors import MediaError
from perilune.media.image import FORMATS as PICTURES
from perilune.media.kinds import FORMATS, HEAD_BYTES, check_format, format_of, format_said, kind_of


def picture(form):
    held = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(held, form)
    return held.getvalue()


def sound(form):
    held = io.BytesIO()
    soundfile.write(held, np.zeros(4000), 16_000, format=form)
    return held.getvalue()


def clip(form, codec):
    held = io.BytesIO()
    with av.open(held, "w", format=form) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")):
                container.mux(packet)
        container.mux(stream.encode())
    return held.getvalue()


@pytest.mark.parametrize("form", PICTURES)
def test_every_picture_that_is_decoded_is_known(form):
    head = picture(form)[:HEAD_BYTES]
    assert format_of(head) == form.lower() and kind_of(head) == "image"
    check_format(head, "image", f"image/{form.lower()}")


@pytest.mark.parametrize(
    ("form", "name"),
    [("WAV", "wav"), ("AIFF", "aiff"), ("CAF", "caf"), ("FLAC", "flac"), ("OGG", "ogg"), ("MP3", "mp3")],
)
def test_every_sound_is_known(form, name):
    head = sound(form)[:HEAD_BYTES]
    assert format_of(head) == name and kind_of(head) == "audio"
    check_format(head, "audio", f"audio/{name}")


@pytest.mark.parametrize(
    ("form", "codec", "said"),
    [
        ("mp4", "mpeg4", "video/mp4"),
        ("mov", "mpeg4", "video/quicktime"),
        ("matroska", "mpeg4", "video/x-matroska"),
        ("avi", "mpeg4", "video/x-msvideo"),
        ("mpegts", "mpeg2video", "video/mp2t"),
        ("mpeg", "mpeg2video", "video/mpeg"),
        ("flv", "flv", "video/x-flv"),
    ],
)
def test_every_clip_is_known(form, codec, said):
    head = clip(form, codec)[:HEAD_BYTES]
    assert kind_of(head) == "video"
    check_format(head, "video", said)


@pytest.mark.parametrize(
    "head", [b"", b"\xff", b"\xff\x00", b"<html>", b"%PDF-1.7", b"PK\x03\x04", b"#!/bin/sh", b"RIFFxxxxJUNK"]
)
def test_everything_else_is_not(head):
    assert format_of(head) is None and kind_of(head) is None
    for kind in FORMATS:
        with pytest.raises(MediaError, match=f"this is no {kind} that can be read"):
            check_format(head, kind)


def test_types_in_use_name_the_same_formats():
    for said, kind, name in (
        ("image/jpg", "image", "jpeg"),
        ("audio/mpeg", "audio", "mp3"),
        ("video/mpeg", "video", "mpeg"),
        ("audio/x-m4a", "audio", "mp4"),
        ("Audio/WAVE", "audio", "wav"),
    ):
        assert format_said(said, kind) == name
    for said in ("application/octet-stream", "image/svg+xml", "text/plain", "image", "", "audio/png"):
        with pytest.raises(MediaError, match="is no type of image that is read"):
            format_said(said, "image")


def test_what_is_said_must_be_so():
    with pytest.raises(MediaError, match="said to be image/png, but it is jpeg"):
        check_format(picture("JPEG"), "image", "image/png")
    with pytest.raises(MediaError, match="this is no audio that can be read, it is png"):
        check_format(picture("PNG"), "audio")
