"""Collecting documents: order, names, what is skipped and reported, and one clear message for each fault."""

import io
import os
import socket
from pathlib import Path

import pytest

from perilune.documents import collect as collecting
from perilune.documents.collect import collect
from perilune.documents.decode import read_text
from perilune.errors import DocumentError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(root, **files):
    """Files by name; `__` stands for a folder, and a name without ending gets .txt."""
    for name, content in files.items():
        path = root / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def names(collection):
    return [source.name for source in collection.sources]


def reasons(collection):
    return {skipped.path: skipped.reason for skipped in collection.skipped}


def test_files_folders_and_a_pipe_in_the_order_given(here):
    make(here, z="last letter", src__b="b", src__a__c="c", book="text")
    found = collect(["z.txt", "-", "src/", Path("book.txt")], stdin=io.BytesIO(b"piped"))
    assert names(found) == ["z.txt", "stdin", "src/a/c.txt", "src/b.txt", "book.txt"]
    assert ["".join(read_text(source)) for source in found.sources] == ["last letter", "piped", "c", "b", "text"]
    assert found.size == sum(map(len, ["last letter", "piped", "c", "b", "text"]))
    assert found.skipped == [] and found.summary() == ""


def test_one_path_needs_no_list_and_a_pipe_no_dash(here):
    make(here, a="a")
    assert names(collect("a.txt")) == names(collect(here / "a.txt")) == ["a.txt"]
    assert names(collect(["a.txt"], stdin=io.BytesIO(b"piped"))) == ["a.txt", "stdin"]
    assert names(collect([], stdin=io.TextIOWrapper(io.BytesIO(b"piped")))) == ["stdin"]


def test_names_are_relative_to_what_was_named(here, monkeypatch):
    make(here, src__a="a")
    assert names(collect(here / "src")) == ["src/a.txt"]
    assert names(collect(".")) == ["src/a.txt"]
    monkeypatch.chdir(here / "src")
    assert names(collect("../src/a.txt")) == ["a.txt"]


def test_equal_names_are_told_apart(here):
    make(here, a__notes="a", b__notes="b")
    assert names(collect([here / "a" / "notes.txt", here / "b" / "notes.txt"])) == ["notes.txt", "b/notes.txt"]


def test_what_is_skipped_in_a_folder_is_reported(here):
    make(
        here,
        src__a="text",
        src__empty="",
        src__also_empty="",
        src__nul=b"\0\0",
        src__latin=b"caf\xe9",
        src__mark=b"\xef\xbb\xbf",
    )
    (here / "src" / "photo.PNG").write_text("an ending that is never text")
    (here / "src" / ".env").write_text("SECRET=1")
    found = collect("src")
    assert names(found) == ["src/a.txt"]
    assert reasons(found) == {
        "src/.env": "hidden",
        "src/also_empty.txt": "empty",
        "src/empty.txt": "empty",
        "src/latin.txt": "not text",
        "src/mark.txt": "empty",
        "src/nul.txt": "binary",
        "src/photo.PNG": "binary",
    }
    assert found.summary() == "7 skipped (3 empty, 2 binary, 1 hidden, 1 not text)"
    assert any("byte 3" in skipped.detail for skipped in found.skipped)
    assert "src/.env" in names(collect("src", include_hidden=True))


def test_an_encoding_holds_for_all(here):
    make(here, src__latin=b"caf\xe9")
    found = collect("src", encoding="latin-1")
    assert "".join(read_text(found.sources[0])) == "café"
    with pytest.raises(DocumentError, match="no known encoding"):
        collect("src", encoding="klingon")


def test_the_same_thing_twice_is_read_once(here):
    make(here, src__a="a", src__b="b")
    os.link("src/a.txt", "hard.txt")
    Path("soft.txt").symlink_to("src/b.txt")
    found = collect(
        ["src/a.txt", "./src/a.txt", "src", "src/", "hard.txt", "soft.txt", "-", "-"], stdin=io.BytesIO(b"p")
    )
    assert names(found) == ["src/a.txt", "src/b.txt", "stdin"]
    assert [skipped.path for skipped in found.skipped] == [
        "./src/a.txt",
        "src/a.txt",
        "src/",
        "hard.txt",
        "soft.txt",
        "-",
    ]
    assert {skipped.reason for skipped in found.skipped} == {"repeated"}
    assert all("once" in skipped.detail or "before" in skipped.detail for skipped in found.skipped)


def test_a_folder_whose_files_were_all_named_before_is_no_fault(here):
    make(here, src__a="a")
    assert names(collect(["src/a.txt", "src"])) == ["src/a.txt"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "empty.txt is empty"),
        ("mark.txt", b"\xef\xbb\xbf", "mark.txt is empty"),
        ("nul.dat", b"ab\0", "nul.dat is not text: character 2 is NUL"),
        ("paper.pdf", b"%PDF", "paper.pdf is not text: .pdf files are binary; convert it"),
        ("latin.txt", b"caf\xe9", "latin.txt is not utf-8 at byte 3"),
        ("late.txt", b"x" * 100_000 + b"\xff", "late.txt is not utf-8 at byte 100,000"),
    ],
)
def test_a_fault_of_a_file_that_was_named_is_an_error(here, name, content, message):
    Path(name).write_bytes(content)
    with pytest.raises(DocumentError, match=message):
        collect(name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.txt", "there is no file or folder 'nowhere.txt'"),
        ("a.txt/b.txt", "cannot be read: Not a directory"),
        ("x" * 5_000, "cannot be read: File name too long"),
        ("a\0b", "cannot be read: embedded null"),
        ("~nobody-by-this-name/a.txt", "there is no file or folder"),
        ("", "a document is named by a path"),
        (b"a.txt", "a document is named by a path"),
        (7, "a document is named by a path"),
        ("/dev/null", "is a device"),
        ("fifo", "is a named pipe"),
        ("sock", "is a socket"),
        ("bare", "holds no text to read: it is empty"),
        ("dull", r"holds no text to read: 2 skipped \(1 empty, 1 binary\)"),
    ],
)
def test_what_cannot_be_read_is_an_error(here, given, message):
    make(here, a="a", dull__empty="", dull__nul=b"\0")
    os.mkfifo("fifo")
    Path("bare").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        with pytest.raises(DocumentError, match=message) as caught:
            collect([given])
    assert len(str(caught.value)) < 400


def test_a_binary_file_stays_an_error_after_its_folder(here):
    make(here, src__a="a", src__nul=b"\0")
    with pytest.raises(DocumentError, match="is not text"):
        collect(["src", "src/nul.txt"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(here):
    make(here, src__a="a", src__b="b")
    os.chmod("src/a.txt", 0)
    assert reasons(collect("src")) == {"src/a.txt": "unreadable"}
    with pytest.raises(DocumentError, match="cannot be read: Permission denied"):
        collect("src/a.txt")


def test_an_error_while_reading(here, monkeypatch):
    make(here, src__a="a", src__b="b")
    opened = os.open

    def refuse(path, *args, **options):
        if str(path).endswith("a.txt"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert reasons(collect("src")) == {"src/a.txt": "unreadable"}
    with pytest.raises(DocumentError, match=r"a\.txt cannot be read: Permission denied"):
        collect("src/a.txt")


def test_pipes_that_cannot_be_read(here):
    with pytest.raises(DocumentError, match="there is nothing to read"):
        collect([])
    with pytest.raises(DocumentError, match="stdin is empty"):
        collect("-", stdin=io.BytesIO())
    with pytest.raises(DocumentError, match="stdin is not text"):
        collect("-", stdin=io.BytesIO(b"\0"))
    with pytest.raises(DocumentError, match="there is none"):
        collect("-")
    leader, follower = os.openpty()
    with os.fdopen(follower, "rb", buffering=0) as terminal, pytest.raises(DocumentError, match="there is none"):
        collect("-", stdin=terminal)
    os.close(leader)


def test_a_real_pipe_that_is_written_in_parts(here):
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as stdin:
        os.write(writing, b"one ")
        os.write(writing, b"two")
        os.close(writing)
        found = collect("-", stdin=stdin)
    assert found.sources[0].data == b"one two"


@pytest.mark.parametrize(
    ("cap", "most", "message"),
    [
        ("MAX_FILES", 2, "more than 2 files"),
        ("MAX_TOTAL_BYTES", 9, "more than 9 bytes"),
    ],
)
def test_caps_hold_for_folders(here, monkeypatch, cap, most, message):
    make(here, src__a="aaa", src__b="bbb", src__c="cccc")
    monkeypatch.setattr(collecting, cap, most + 1)
    assert len(collect("src").sources) == 3
    monkeypatch.setattr(collecting, cap, most)
    with pytest.raises(DocumentError, match=message):
        collect("src")


def test_caps_of_one_file_one_pipe_and_one_call(here, monkeypatch):
    make(here, src__a="aaa", src__b="b")
    monkeypatch.setattr(collecting, "MAX_FILE_BYTES", 2)
    monkeypatch.setattr(collecting, "MAX_PIPE_BYTES", 2)
    monkeypatch.setattr(collecting, "MAX_FILES", 2)
    assert reasons(collect("src")) == {"src/a.txt": "too large"}
    with pytest.raises(DocumentError, match="has 3 bytes, the most is 2"):
        collect("src/a.txt")
    assert collect("-", stdin=io.BytesIO(b"aa")).size == 2
    with pytest.raises(DocumentError, match="the pipe holds more than 2 bytes"):
        collect("-", stdin=io.BytesIO(b"aaa"))
    with pytest.raises(DocumentError, match="3 files were named"):
        collect(["src"] * 3)


def test_a_name_that_would_forge_a_header_is_cleaned(here):
    make(here, src__a="a")
    Path("src/b\nFile: c.txt").write_text("b")
    Path(os.fsdecode(b"src/\xff.txt")).write_text("not UTF-8 in its name")
    assert names(collect("src")) == ["src/a.txt", "src/b\ufffdFile: c.txt", "src/\ufffd.txt"]
