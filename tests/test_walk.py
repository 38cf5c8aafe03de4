"""Walking a folder: sorted, without hidden and made things, never out of the folder, never in a circle."""

import os
import socket

import pytest

from perilune.documents import walk as walking
from perilune.documents.walk import walk
from perilune.errors import DocumentError


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def read(root, **options):
    return [entry.inside for entry in walk(root, **options) if entry.status]


def left(root, **options):
    return {entry.inside: entry.reason for entry in walk(root, **options) if not entry.status}


def test_files_come_in_sorted_order_with_folders_in_their_place(tmp_path):
    make(tmp_path, "b/z.txt", "b/a/x.txt", "c.txt", "a.txt", "B.txt")
    assert read(tmp_path) == ["B.txt", "a.txt", "b/a/x.txt", "b/z.txt", "c.txt"]
    assert left(tmp_path) == {}


def test_hidden_and_made_things_are_left_out(tmp_path):
    make(tmp_path, "a.txt", ".env", ".git/config", ".notes/b.txt", "__pycache__/a.pyc", "node_modules/m/index.js")
    make(tmp_path, "venv/pyvenv.cfg", "venv/lib/os.py", "git/c.txt")
    assert read(tmp_path) == ["a.txt", "git/c.txt"]
    made = {"__pycache__": "tool folder", "node_modules": "tool folder", "venv": "tool folder"}
    assert left(tmp_path) == {".env": "hidden", ".git": "hidden", ".notes": "hidden", **made}
    assert read(tmp_path, include_hidden=True) == [".env", ".notes/b.txt", "a.txt", "git/c.txt"]
    assert left(tmp_path, include_hidden=True) == {".git": "tool folder", **made}


def test_a_hidden_folder_that_is_named_itself_is_walked(tmp_path):
    make(tmp_path, ".config/a.txt", ".config/.b.txt")
    assert read(tmp_path / ".config") == ["a.txt"]


def test_links_are_followed_to_files_inside_only(tmp_path):
    root = tmp_path / "root"
    make(tmp_path, "secret.txt", "root/a.txt", "root/.hidden/h.txt", "root/sub/b.txt", "root/.git/c")
    for name, target in {
        "to_a": "a.txt",
        "to_b": root / "sub" / "b.txt",
        "out": "../secret.txt",
        "out_absolute": tmp_path / "secret.txt",
        "to_hidden": ".hidden/h.txt",
        "to_folder": "sub",
        "to_parent": "..",
        "to_self": "to_self",
        "to_nothing": "nothing",
        "sub/up": "..",
    }.items():
        (root / name).symlink_to(target)
    assert read(root) == ["a.txt", "sub/b.txt", "to_a", "to_b"]
    links = ["out", "out_absolute", "sub/up", "to_folder", "to_hidden", "to_nothing", "to_parent", "to_self"]
    found = left(root)
    assert {name: found[name] for name in links} == dict.fromkeys(links, "link")


def test_a_root_that_is_a_link_is_followed_because_it_was_named(tmp_path):
    make(tmp_path, "real/a.txt")
    (tmp_path / "link").symlink_to("real")
    assert read(tmp_path / "link") == ["a.txt"]


def test_pipes_and_sockets_are_left_out(tmp_path):
    make(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(tmp_path, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/sock")  # the path of a socket may have 100 characters or so
        finally:
            os.close(here)
        assert left(tmp_path) == {"fifo": "not a file", "sock": "not a file"}


def test_depth_and_entries_have_a_cap(tmp_path, monkeypatch):
    monkeypatch.setattr(walking, "MAX_DEPTH", 2)
    make(tmp_path, "1/2/a.txt", "1/2/3/b.txt")
    assert read(tmp_path) == ["1/2/a.txt"]
    assert left(tmp_path) == {"1/2/3": "too deep"}
    monkeypatch.setattr(walking, "MAX_ENTRIES", 4)
    assert len(list(walk(tmp_path))) == 2
    make(tmp_path, "c.txt")
    with pytest.raises(DocumentError, match="more than 4 entries"):
        list(walk(tmp_path))


def test_a_folder_that_cannot_be_listed_is_left_out(tmp_path, monkeypatch):
    make(tmp_path, "a.txt", "locked/b.txt")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert read(tmp_path) == ["a.txt"]
    assert left(tmp_path) == {"locked": "unreadable"}
