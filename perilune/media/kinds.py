"""What a file is, told by its first bytes: never by its name, and never by what a sender says it is.

A container is not opened here: MP4, WebM and Ogg hold pictures or sound alone, and their decoder finds out which.
"""

from __future__ import annotations

from perilune.errors import MediaError
from perilune.fields import show_value

HEAD_BYTES = 400  # two packets of an MPEG transport stream

# Formats of each kind, those that its decoder takes; all are also the second half of a media type.
FORMATS = {
    "image": ("png", "jpeg", "webp", "gif", "bmp"),
    "audio": ("wav", "aiff", "caf", "flac", "ogg", "mp3", "aac", "mp4", "webm"),
    "video": ("mp4", "webm", "avi", "gif", "mp2t", "mpeg", "flv", "ogg"),
}
# Other words that are in use for them, mostly of the time before they were registered.
SPELLINGS = {
    "jpg": "jpeg",
    "ms-bmp": "bmp",
    "wave": "wav",
    "vnd.wave": "wav",
    "aifc": "aiff",
    "mpeg": "mp3",  # of audio; mpeg of video is a format of its own
    "opus": "ogg",
    "m4a": "mp4",
    "mp4a-latm": "mp4",
    "m4v": "mp4",
    "quicktime": "mp4",
    "3gpp": "mp4",
    "matroska": "webm",
    "msvideo": "avi",
    "vnd.avi": "avi",
}
# What may stand at the very beginning, the longest first where one begins another.
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"RF64", "wav"),
    (b"RIFX", "wav"),
    (b"caff", "caf"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"ID3", "mp3"),
    (b"\x1aE\xdf\xa3", "webm"),
    (b"FLV\x01", "flv"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpeg"),
)
_RIFF = {b"WAVE": "wav", b"WEBP": "webp", b"AVI ": "avi"}
_ATOMS = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"wide",
    b"free",
    b"skip",
    b"styp",
)  # which one an MP4 or a QuickTime file begins with
_SOUND_BRANDS = (b"M4A ", b"M4B ")
_PACKET = 188  # of a transport stream


def format_of(head: bytes) -> str | None:
    """The format of a file that begins with `head` (HEAD_BYTES of it), or None."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    form, second = head[:4], head[1:2]
    if form == b"RIFF":
        return _RIFF.get(head[8:12])
    if form == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in _ATOMS:
        return "mp4"
    if head[:1] == b"\x47" and head[_PACKET : _PACKET + 1] == b"\x47":
        return "mp2t"
    if head[:1] == b"\xff" and second:  # frames of sound: AAC's have no layer, MP3's have one
        return "aac" if second[0] & 0xF6 == 0xF0 else "mp3" if second[0] & 0xE0 == 0xE0 else None
    return None


def kind_of(head: bytes) -> str | None:
    """The kind of a file whose sender does not say it: "image", "audio", "video", or None."""
    name = format_of(head)
    if name == "ogg" or (name == "mp4" and head[8:12] in _SOUND_BRANDS):
        return "audio"
    return next((kind for kind in ("image", "video", "audio") if name in FORMATS[kind]), None)


def check_format(head: bytes, kind: str, said: str = "") -> None:
    """Raises MediaError where a file is not one of `kind`, or not of the media type that was `said`."""
    found = format_of(head)
    if found not in FORMATS[kind]:
        told = f"it is {found}" if found else "its first bytes are of no format that is known"
        raise MediaError(f"this is no {kind} that can be read, {told}; wanted is one of {', '.join(FORMATS[kind])}")
    if said and format_said(said, kind) != found:
        raise MediaError(f"it is said to be {said}, but it is {found}")


def format_said(media_type: str, kind: str) -> str:
    """The format that a media type such as "image/png" names. Raises MediaError where it is none of `kind`."""
    main, _, name = media_type.lower().partition("/")
    name = name.removeprefix("x-")
    if kind != "video" or name != "mpeg":
        name = SPELLINGS.get(name, name)
    if main != kind or name not in FORMATS[kind]:
        wanted = ", ".join(f"{kind}/{one}" for one in FORMATS[kind])
        raise MediaError(f"{show_value(media_type, 40)} is no type of {kind} that is read; wanted is one of {wanted}")
    return name
