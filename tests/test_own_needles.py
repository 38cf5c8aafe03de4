"""Needles and texts that a user brings: laid, asked and counted like ours; each fault of the file is named."""

import json
import random

import pytest
from long_readers import Stub, oracle
from tiny_vocab import tiny_tokenizer
from typer.testing import CliRunner

from perilune.cli.score import score_app
from perilune.errors import DocumentError, RequestError
from perilune.score.needle import Plan, haystacks
from perilune.score.own import WRITTEN, own_filler, read_needles
from perilune.tasks.lookup import LOOKUPS

ENCODE = tiny_tokenizer().encode
GOOD = '{"needle": "The key lies under the mat.", "question": "Where does the key lie?", "answer": "the mat"}'


def test_the_written_needles_are_many_that_answer_only_their_own_question():
    written = read_needles(WRITTEN)
    assert len(written) == 283
    asked = [lookup.questions[0] for lookup in written]
    assert len({one.text for one in asked}) == 283
    for i, one in enumerate(asked):
        (value,) = one.values
        others = [lookup.needles[0] for k, lookup in enumerate(written) if k != i]
        assert value.lower() not in one.text.lower() and (len(value) < 4 or not any(value in n for n in others))


def test_the_written_needles_are_never_trained_on():
    written = {lookup.needles[0].lower() for lookup in read_needles(WRITTEN)}
    for name, make in LOOKUPS.items():
        for seed in range(20):
            assert not written & {needle.lower() for needle in make(random.Random(seed), 8, False).needles}, name


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[1]", "line 2 is no JSON object"),
        ("{" * 5_000, "line 2 is no JSON object"),
        ('{"needle": "The key lies.", "question": "Where?"}', "needs 'answer'"),
        ('{"needle": "The key lies.", "question": "Where?", "answer": []}', "needs 'answer'"),
        ('{"needle": "The key lies.", "question": 3, "answer": "key"}', "needs 'question'"),
        ('{"needle": "The key lies.", "question": "Where?", "answer": "mat"}', "'mat' does not stand in the needle"),
        (json.dumps({"needle": "x" * 2_001, "question": "Where?", "answer": "x"}), "2,000 characters"),
    ],
)
def test_a_wrong_line_is_named(line, told, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(RequestError, match=told):
        read_needles(str(path))


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read"), (b"\n\n", "is empty"), (b"\xff\xfe", "no UTF-8")]
)
def test_a_file_without_needles_is_refused(content, told, tmp_path):
    path = tmp_path / "mine.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=told):
        read_needles(str(path))


def test_own_texts_come_round_again_in_their_own_pieces(tmp_path):
    (tmp_path / "a.txt").write_text("One came. Two went.\nThree stayed.")
    (tmp_path / "b.py").write_text("def f():\n    return 1\n\n\ndef g():\n    return 2\n")
    pieces = own_filler(str(tmp_path))
    first = [next(pieces) for _ in range(5)]
    assert first[:3] == ["\n\nOne came.", " Two went.", "\nThree stayed."]
    assert first[3] == "\n\ndef f():\n    return 1" and "def g()" in first[4]
    assert [next(pieces) for _ in range(5)] == first


def test_texts_of_nothing_are_refused(tmp_path):
    (tmp_path / "blank.txt").write_text("\n\n  \n")
    with pytest.raises(RequestError, match="no text to lay"):
        next(own_filler(str(tmp_path / "blank.txt")))
    (tmp_path / "other").mkdir()
    with pytest.raises(DocumentError, match="holds no text to read"):
        next(own_filler(str(tmp_path / "other")))
    with pytest.raises(RequestError, match="a file or a folder"):
        Plan((4_096,), filler=str(tmp_path / "none"))


def test_own_needles_stand_where_they_are_asked_for(tmp_path):
    (tmp_path / "book.txt").write_text("The wind blew over the moor all night. Nobody was on the road. " * 40)
    own = read_needles(WRITTEN)
    plan = Plan((8_192,), count=40, filler=str(tmp_path / "book.txt"), own=own)
    tokenizer = tiny_tokenizer()
    seen = []
    for haystack in haystacks(plan, 8_192, tokenizer.encode, None):
        for asked in haystack.asked:
            ((start, end),) = asked.gold
            assert asked.values[0] in tokenizer.decode(haystack.ids[start:end].tolist())
            seen.append(asked.question)
    assert len(set(seen)) == 40 and "held out" not in plan.notes()[1]
    with pytest.raises(RequestError, match="283 needles"):
        Plan((8_192,), count=284, own=own)


def test_the_command_takes_both(monkeypatch, tmp_path):
    stub = Stub(oracle)
    stub.encode = ENCODE
    monkeypatch.setattr("perilune.cli.options.open_model", lambda *given: "a model")
    monkeypatch.setattr("perilune.score.opened.Opened", lambda model: stub)
    (tmp_path / "mine.jsonl").write_text(GOOD + "\n")
    (tmp_path / "book.md").write_text("Rain fell on the roof. " * 30)
    given = ["needle", "--needles", str(tmp_path / "mine.jsonl"), "--filler", str(tmp_path / "book.md")]
    told = CliRunner().invoke(score_app, [*given, "--lengths", "1k", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["lengths"][0]["total"] == 1
