"""The reader of PDF, Office files and archives, in a process of its own: a hostile file can end nothing but this.

It reads the file on its standard input, and writes for every text a line of JSON and then its bytes. Limits first:
memory, processor time, nothing written to disk. Nothing is unpacked to a path.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from perilune.app.extract_odf import odp_lines, ods_lines, odt_lines
from perilune.app.extract_office import check_package, docx_lines, pptx_lines, xlsx_lines
from perilune.documents.names import BINARY_ENDINGS
from perilune.documents.walk import SKIPPED_FOLDERS
from perilune.errors import DocumentError
from perilune.media.confine import confine

MOST_ENTRIES = 100_000  # of an archive, of all kinds
MOST_TEXTS = 20_000
MOST_PART = 64 << 20  # bytes of one text
MOST_TOTAL = 256 << 20
MOST_PAGES = 50_000
EXTRA = "pip install 'perilune[documents]'"
HEAD = 8 << 10
_DRIVE = re.compile(r"^[A-Za-z]:")

LINES = {
    "docx": docx_lines,
    "xlsx": xlsx_lines,
    "pptx": pptx_lines,
    "odt": odt_lines,
    "ods": ods_lines,
    "odp": odp_lines,
}
Write = Callable[..., None]


def main() -> None:
    job = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not come between the records
    confine(job["bytes"], job["seconds"])

    def write(text: bytes | None = None, **told: object) -> None:
        record = told if text is None else {**told, "bytes": len(text)}
        out.write(json.dumps(record).encode() + b"\n" + (text or b""))

    file = os.fdopen(0, "rb")
    try:
        if job["form"] in LINES:
            _office(file, write, job["form"])
        else:
            {"pdf": _pdf, "archive": _archive}[job["form"]](file, write)
        write(end=True)
    except ModuleNotFoundError as error:
        write(error=f"reading it needs {error.name}, which is not installed: {EXTRA}")
    except DocumentError as error:
        write(error=str(error))
    except Exception as error:  # a library's own, of which there are many kinds; without memory, too
        most = f"{job['bytes'] >> 20:,} MiB"
        write(error=f"it cannot be read ({type(error).__name__}): damaged, locked, or more than {most} when opened")
    out.close()


def _pdf(file: BinaryIO, write: Write) -> None:
    import pypdf

    reader = pypdf.PdfReader(file)
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentError("it is locked with a password; unlock it first")
    if len(reader.pages) > MOST_PAGES:
        raise DocumentError(f"it has {len(reader.pages):,} pages; at most {MOST_PAGES:,} are read")
    lines, any_text = list[str](), False
    for number, page in enumerate(reader.pages, 1):
        said = page.extract_text().strip()
        any_text = any_text or bool(said)
        lines += [f"[page {number}]", said, ""]
    write(_bounded(iter(lines) if any_text else iter(())))


def _office(file: BinaryIO, write: Write, form: str) -> None:
    check_package(file, form)
    write(_bounded(LINES[form](file)))


def _bounded(lines: Iterator[str]) -> bytes:
    """The lines as one text that is not too long; nothing where all of them are blank."""
    text = bytearray()
    for line in lines:
        text += line.encode("utf-8", "replace") + b"\n"
        if len(text) > MOST_PART:
            raise DocumentError(f"it holds more than {MOST_PART:,} bytes of text; send a part of it")
    return bytes(text) if text.strip() else b""


def _archive(file: BinaryIO, write: Write) -> None:
    """Texts in the order of their names, each under its path in the archive. A name is only a name here: those that
    would lead out of a folder are left out all the same."""
    total = texts = 0
    with zipfile.ZipFile(file) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
        if len(entries) > MOST_ENTRIES:
            raise DocumentError(f"it holds {len(entries):,} files; at most {MOST_ENTRIES:,} are looked at")
        for entry in entries:
            if entry.is_dir():
                continue
            reason = _reason(entry)
            text = b"" if reason else _entry(archive, entry)
            if text is None:
                raise DocumentError(f"{entry.filename[:200]} in it has more than {MOST_PART:,} bytes")
            reason = reason or _no_text(text)
            if reason:
                write(name=entry.filename[:1000], left=reason)
                continue
            total, texts = total + len(text), texts + 1
            if total > MOST_TOTAL or texts > MOST_TEXTS:
                raise DocumentError(f"it holds more than {MOST_TOTAL:,} bytes of text, or {MOST_TEXTS:,} texts")
            write(text, name=entry.filename[:1000])


def _reason(entry: zipfile.ZipInfo) -> str:
    """Why an entry is not opened, or nothing."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or _DRIVE.match(entry.filename) or not path.parts:
        return "its name leads out of the archive"
    if any(part.startswith(".") for part in path.parts):
        return "hidden"
    if SKIPPED_FOLDERS & set(path.parts[:-1]) or path.parts[0] == "__MACOSX":
        return "tool folder"
    if path.suffix.lower() in BINARY_ENDINGS:
        return "binary"
    return "locked with a password" if entry.flag_bits & 1 else ""


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes | None:
    """What it unpacks to, whatever its header promises; None where that is too much."""
    with archive.open(entry) as opened:
        text = opened.read(MOST_PART + 1)
    return None if len(text) > MOST_PART else text


def _no_text(text: bytes) -> str:
    try:
        text.decode()
    except UnicodeDecodeError:
        return "no UTF-8 text"
    return "binary" if b"\0" in text[:HEAD] else "" if text.strip() else "empty"


if __name__ == "__main__":
    main()
