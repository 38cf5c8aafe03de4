"""What a document is called in the prompt and on the screen, and which endings are never text."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from pathlib import Path

_NEVER_TEXT = """
.png .jpg .jpeg .gif .bmp .tif .tiff .webp .ico .icns .heic .avif .psd .xcf
.mp3 .wav .flac .ogg .opus .m4a .aac .mp4 .m4v .mkv .mov .avi .webm .wmv
.pdf .docx .xlsx .pptx .odt .ods .odp .epub .mobi .djvu
.zip .gz .tgz .bz2 .xz .zst .lz4 .7z .rar .tar .jar .whl .egg .deb .rpm .iso .dmg .apk
.pyc .pyo .pyd .so .dylib .dll .exe .o .a .lib .obj .class .wasm
.safetensors .gguf .npy .npz .pt .pth .pkl .onnx .h5 .parquet .arrow .feather .sqlite .sqlite3 .db
.ttf .otf .woff .woff2 .eot
"""
BINARY_ENDINGS = frozenset(_NEVER_TEXT.split())
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# Line ends and controls would forge a header, direction marks a name on the screen; lone surrogates are bytes of a
# file name that are not UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean_name(name: str) -> str:
    """The name as one line of plain text."""
    return _UNSAFE.sub(REPLACEMENT, name)


def header_text(name: str) -> str:
    """What every segment of a document begins with, when it is read and in training alike."""
    return f"File: {name}\n"


def given_name(path: Path) -> str:
    """A relative path as it was given; of any other only the last part, so that no prompt depends on a machine."""
    if path.is_absolute() or ".." in path.parts:
        return Path(os.path.abspath(path)).name
    return path.as_posix()


def name_below(folder: str, inside: str) -> str:
    """The name of something in a folder that was named."""
    return inside if folder in ("", ".") else f"{folder}/{inside}"


def unique_name(name: str, path: Path, taken: Container[str]) -> str:
    """The cleaned name, with as many parent folders in front as it takes to tell it from those taken."""
    name = clean_name(name)
    parts = Path(os.path.abspath(path)).parts
    depth = name.count("/") + 1
    while name in taken and depth < len(parts):
        depth += 1
        name = clean_name("/".join(parts[-depth:]))
    return name
