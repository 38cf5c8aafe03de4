"""Names of documents: one plain line, free of machine paths, and distinct."""

from pathlib import Path

import pytest

from perilune.documents.names import BINARY_ENDINGS, clean_name, given_name, name_below, unique_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("BOOK.txt", "BOOK.txt"),
        ("./docs//BOOK.txt", "docs/BOOK.txt"),
        ("/somewhere/deep/BOOK.txt", "BOOK.txt"),
        ("docs/../BOOK.txt", "BOOK.txt"),
        ("src/", "src"),
        (".", "."),
    ],
)
def test_a_given_name(path, name):
    assert given_name(Path(path)) == name


def test_a_name_below_the_folder_at_hand_is_the_path_inside():
    assert name_below(".", "a/b.py") == name_below("", "a/b.py") == "a/b.py"
    assert name_below("src", "a/b.py") == "src/a/b.py"


@pytest.mark.parametrize("unsafe", ["\n", "\r", "\x1b", "\x7f", "\u2028", "\u202e", "\udcff"])
def test_nothing_in_a_name_can_forge_a_header_or_steer_a_terminal(unsafe):
    assert clean_name(f"a{unsafe}b") == "a\ufffdb"


def test_a_taken_name_gets_its_parent_in_front():
    taken = {"README.md", "b/README.md"}
    assert unique_name("README.md", Path("/x/a/README.md"), taken) == "a/README.md"
    assert unique_name("README.md", Path("/x/b/README.md"), taken) == "x/b/README.md"
    assert unique_name("notes.md", Path("/x/b/notes.md"), taken) == "notes.md"


def test_endings_of_text_are_not_among_the_binary_ones():
    assert ".png" in BINARY_ENDINGS
    assert not BINARY_ENDINGS & {".txt", ".md", ".py", ".ts", ".json", ".csv", ".svg", ".html", ".log", ""}
