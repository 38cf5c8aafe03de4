"""perilune ask on real files: answers with places, the store, and every bad input in one line."""

import json

import pytest
from tiny_models import TOKENIZER, memory_transformer, write_model
from typer.testing import CliRunner

from perilune import load
from perilune.api.documents import read_documents
from perilune.cli.app import app
from perilune.documents.collect import collect
from perilune.errors import ContextError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "m", memory_transformer(context=8192, segment=128))


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("".join(f"Line {i} says {i * 7}.\n" for i in range(60)))
    return path


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def ask(model, *arguments, stdin=None):
    return run("ask", "what?", "-m", model, "--max-tokens", "6", *arguments, stdin=stdin)


def test_an_answer_says_what_was_read_and_where_it_stands(model, book, tmp_path):
    result = ask(model, "-f", book, "--store", tmp_path / "store", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["read_tokens"] > 900
    for place in answer["places"]:
        assert place["file"] == "book.txt" and 1 <= place["first_line"] <= place["last_line"] <= 60
        assert place["text"].splitlines()[0] == book.read_text().splitlines()[place["first_line"] - 1]


def test_asking_again_reads_nothing_and_says_the_same(model, book, tmp_path):
    first = ask(model, "-f", book, "--store", tmp_path / "store", "--json")
    again = ask(model, "-f", book, "--store", tmp_path / "store", "--json")
    assert "from the store" not in first.stderr and "from the store" in again.stderr
    assert json.loads(first.stdout)["content"] == json.loads(again.stdout)["content"]


def test_appending_reads_only_the_end(model, book, tmp_path):
    store = tmp_path / "store"
    ask(model, "-f", book, "--store", store)
    book.write_text(book.read_text() + "One more line.\n")
    opened, known = load(model), []
    from perilune.engine.store import PrefixStore

    reading = read_documents(
        opened, collect(book).sources, store=PrefixStore(store, 1 << 30), on_read=lambda *now: known.append(now)
    )
    assert known[-1][0] == reading.length
    assert known[-1][0] - known[-1][1] <= 2 * 128


def test_a_pipe_is_read(model, tmp_path):
    result = ask(model, "--no-store", "--json", stdin="The wind is cold.\n" * 9)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["read_tokens"] > 100
    assert not (tmp_path / "store").exists()


def test_what_a_user_may_do_wrong(model, book, tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "picture").write_bytes(b"\x89PNG\0\0" * 40)
    for arguments, message in (
        (("-f", tmp_path / "none.txt"), "none.txt"),
        (("-f", tmp_path / "empty.txt"), "empty"),
        (("-f", tmp_path / "picture"), "picture is not text"),
        (("-f", book, "--store-size", "lots"), "--store-size"),
        (("-f", book, "--encoding", "klingon"), "klingon"),
    ):
        result = ask(model, *arguments)
        assert result.exit_code == 2, result.output
        assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_one_token_too_many_is_refused_before_any_reading(book):
    small = load_small(600)
    with pytest.raises(ContextError, match="at most 300 tokens"):
        read_documents(small, collect(book).sources)


def load_small(context):
    from perilune.api import Model

    return Model(memory_transformer(context=context, segment=128), TOKENIZER)
