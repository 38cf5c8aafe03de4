"""Uploads → the texts that will be read: what a file is, and what it says, each text with plain line ends in UTF-8.

What it is, its first bytes say. Text is read here; PDF, Office files and archives are opened in a process of its own
(extract_worker.py), and what that says is checked, since a stranger's file may have taken it over. Nothing in an
archive is ever written under the name it has there.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from perilune.documents.collect import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES
from perilune.documents.decode import decode
from perilune.documents.names import clean_name
from perilune.documents.source import READ_BYTES
from perilune.errors import DocumentError
from perilune.media.decoders import decoder_environment
from perilune.media.kinds import HEAD_BYTES, kind_of

WORKER = "perilune.app.extract_worker"
MOST_SECONDS = 120.0
MOST_WORKER_BYTES = 2 << 30
MOST_LINE = 64 << 10  # of what the worker says of a text, in bytes
MOST_SKIPPED = 1000  # that are told one by one
LONGEST_FILE_NAME = 512  # of a text, with the folders it came in
KINDS = {"image": "picture", "audio": "sound", "video": "clip"}
OFFICE_FORMS = ("docx", "xlsx", "pptx", "odt", "ods", "odp")
OFFICE = {**{f".{form}": form for form in OFFICE_FORMS}, ".xlsm": "xlsx", ".pptm": "pptx"}
PDF, ZIP = b"%PDF-", (b"PK\x03\x04", b"PK\x05\x06")
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # which files of today have, too, once they are locked


@dataclass(frozen=True)
class Text:
    """One text at `path`, of so many lines."""

    name: str
    path: Path
    hash: str
    lines: int


@dataclass(frozen=True)
class Left:
    """What an archive holds and is not read."""

    name: str
    reason: str


def kind_of_file(path: Path, name: str) -> str:
    """ "picture", "sound", "clip", "pdf", "office", "archive" or "text"."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(PDF):
        return "pdf"
    if head.startswith(ZIP):
        ending = Path(name).suffix.lower()
        if ending == ".epub":
            raise DocumentError(f"{name}: {ending} files are not read; save it as PDF and send that")
        return "office" if ending in OFFICE else "archive"
    if head.startswith(OLD_OFFICE):
        raise DocumentError(
            f"{name} is locked with a password, or of a form before Office 2007; save it as one of {', '.join(OFFICE)}"
        )
    return "text" if _begins_as_text(head) else KINDS.get(kind_of(head) or "", "text")


def _begins_as_text(head: bytes) -> bool:
    """Two letters make a bitmap, and the mark of UTF-16 looks like a frame of sound: whatever reads as text is text."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        said = codecs.getincrementaldecoder("utf-8")().decode(head)  # which may end inside a sign
    except UnicodeDecodeError:
        return False
    return all(sign.isprintable() or sign.isspace() for sign in said)


def texts_of(path: Path, name: str, kind: str, new_path: Callable[[], Path]) -> tuple[list[Text], list[Left]]:
    """The texts of a file of kind "text", "pdf", "office" or "archive", each written to a new path. Raises
    DocumentError, and leaves nothing behind then."""
    made: list[Text] = []
    left: list[Left] = []
    try:
        if kind == "text":
            with path.open("rb") as file:
                made.append(_written(decode(iter(lambda: file.read(READ_BYTES), b""), name), name, new_path()))
        else:
            form = kind if kind != "office" else OFFICE[Path(name).suffix.lower()]
            _from_worker(path, name, form, new_path, made, left)
        if not any(text.lines for text in made):
            raise DocumentError(f"{name} holds no text to read{_hint(kind, left)}", "empty")
    except BaseException:
        for text in made:
            text.path.unlink(missing_ok=True)
        raise
    return made, left


def _hint(kind: str, left: list[Left]) -> str:
    if kind == "pdf":
        return ": its pages may be pictures of text; send them as pictures"
    return f": {len(left):,} files in it are of other kinds, such as {left[0].name} ({left[0].reason})" if left else ""


def _from_worker(
    path: Path, name: str, form: str, new_path: Callable[[], Path], made: list[Text], left: list[Left]
) -> None:
    total = 0
    with path.open("rb") as file, _worker(file, form, name) as told:
        while not (record := _record(told, name)).get("end"):
            if "error" in record:
                raise DocumentError(f"{name}: {str(record['error'])[:500]}")
            shown = clean_name(str(record.get("name") or name))[:LONGEST_FILE_NAME]
            if "left" in record:
                if len(left) < MOST_SKIPPED:
                    left.append(Left(shown, str(record["left"])[:100]))
                continue
            size = record.get("bytes")
            if type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
                raise _damaged(name)
            total += size
            if total > MAX_TOTAL_BYTES or len(made) >= MAX_FILES:
                raise DocumentError(f"{name} holds more than {MAX_TOTAL_BYTES:,} bytes of text, or {MAX_FILES:,} files")
            part = _bytes(told, size)
            made.append(_written(decode(iter([part]), shown, "utf-8"), shown, new_path()))


def _written(pieces: Iterable[str], name: str, path: Path) -> Text:
    """Writes a text and counts its lines; the last one counts where it is not empty."""
    digest, size, newlines, last = hashlib.sha256(), 0, 0, "\n"
    try:
        with path.open("xb") as file:
            for piece in pieces:
                raw = piece.encode()
                size += len(raw)
                if size > MAX_FILE_BYTES:
                    raise DocumentError(f"{name} has more than {MAX_FILE_BYTES:,} bytes of text; send a part of it")
                file.write(raw)
                digest.update(raw)
                newlines, last = newlines + piece.count("\n"), piece[-1:] or last
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Text(name, path, digest.hexdigest(), newlines + (last != "\n"))


@contextmanager
def _worker(file: IO[bytes], form: str, name: str) -> Generator[IO[bytes], None, None]:
    """What the worker says, for MOST_SECONDS at most."""
    job = {"form": form, "bytes": MOST_WORKER_BYTES, "seconds": int(MOST_SECONDS)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", WORKER, json.dumps(job)],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=decoder_environment(),
    )
    late = threading.Event()
    clock = threading.Timer(MOST_SECONDS, lambda: (late.set(), process.kill()))
    clock.daemon = True
    clock.start()
    try:
        assert process.stdout is not None
        yield process.stdout
    except EOFError:
        if late.is_set():
            raise DocumentError(f"{name} took more than {MOST_SECONDS:g} s to read; send a part of it") from None
        raise _damaged(name) from None
    finally:
        clock.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _record(told: IO[bytes], name: str) -> dict[str, Any]:
    line = told.readline(MOST_LINE)
    if not line.endswith(b"\n"):
        raise EOFError
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise _damaged(name)
    return record


def _bytes(told: IO[bytes], size: int) -> bytes:
    part = told.read(size)
    if len(part) != size:
        raise EOFError
    return part


def _damaged(name: str) -> DocumentError:
    return DocumentError(
        f"{name} cannot be read: it is damaged, or needs more than {MOST_WORKER_BYTES >> 20:,} MiB to be opened"
    )
