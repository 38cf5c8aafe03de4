"""Sources: the bytes a file had when it was stamped, or an error that says how it changed."""

import os
from pathlib import Path

import pytest

from perilune.documents.source import Source, Stamp, read_bytes
from perilune.errors import DocumentError


def file_source(path, content):
    path.write_bytes(content)
    return Source(path.name, path, Stamp.of(os.stat(path)))


@pytest.mark.parametrize("chunk_bytes", [1, 3, 1 << 20])
def test_a_file_and_a_pipe_give_their_bytes_in_chunks(tmp_path, chunk_bytes):
    for source in (file_source(tmp_path / "a.txt", b"0123456789"), Source("stdin", data=b"0123456789")):
        chunks = list(read_bytes(source, chunk_bytes))
        assert b"".join(chunks) == b"0123456789"
        assert max(map(len, chunks)) <= chunk_bytes
        assert source.size == 10


def grow(path):
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path):
    os.truncate(path, 5)


def rewrite(path):
    os.utime(path, ns=(1, 1))


def replace(path):
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes())
    status = os.stat(path)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(new, path)


CHANGES = [
    (grow, "now has"),
    (shrink, "now has|only"),
    (rewrite, "written to"),
    (replace, "another file"),
    (Path.unlink, "gone|cannot be read"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_change_is_an_error(tmp_path, change, message, when):
    source = file_source(tmp_path / "log.txt", b"0123456789" * 10)
    chunks = read_bytes(source, 16)
    if when == "while":
        next(chunks)
    change(source.path)
    with pytest.raises(DocumentError, match=rf"log\.txt .*({message})"):
        list(chunks)


def test_a_file_that_became_a_named_pipe_does_not_wait_for_a_writer(tmp_path):
    source = file_source(tmp_path / "a.txt", b"text")
    source.path.unlink()
    os.mkfifo(source.path)
    with pytest.raises(DocumentError, match="another file"):
        list(read_bytes(source))
