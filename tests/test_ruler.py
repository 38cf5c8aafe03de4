"""RULER's tasks made anew: right wording, solvable by search, of the length asked for."""

import random
import re

import pytest
from long_readers import Reply, Stub, failing, oracle
from tiny_vocab import tiny_tokenizer

from perilune.errors import RequestError
from perilune.score.ruler import TASKS, Niah, haystack, parse_tasks, score_ruler

ENCODE = tiny_tokenizer().encode
NAMES = pytest.mark.parametrize("task", list(TASKS))


def text_of(ids):
    return tiny_tokenizer().decode(ids.tolist())


def searching(ids, question, gold):
    """Answers by looking for the key of the question in what was read; it is told nothing else."""
    keys = re.split(r", and |, ", re.search(r"for (.+) mentioned", question).group(1))
    text = text_of(ids)
    return Reply(", ".join(v for key in keys for v in re.findall(rf"for {re.escape(key)} is: (\S+)\.", text)))


@NAMES
def test_an_oracle_is_always_right_and_a_failing_reader_never(task):
    for answer, share in ((oracle, 1.0), (failing, 0.0)):
        report = score_ruler(Stub(answer), "stub", [task], [8_192], 10, ENCODE, None)
        told = report.length_dict(8_192)
        assert told["exact_match"] == share and told["values_found"] == share and told["total"] >= 10
        assert [row["task"] for row in told["by_task"]] == [task]


@pytest.mark.parametrize("task", [name for name, made in TASKS.items() if isinstance(made, Niah)])
def test_a_reader_that_searches_is_right_without_knowing_where(task):
    report = score_ruler(Stub(searching), "stub", [task], [6_000], 8, ENCODE, None, seed=3)
    assert all(trial.right for trial in report.trials()), [t for t in report.trials() if not t.right][:1]


@NAMES
@pytest.mark.parametrize("length", [4_096, 20_000])
def test_texts_have_the_length_asked_for_and_are_seeded(task, length):
    first, again, other = (haystack(random.Random(s), task, length, ENCODE, None) for s in (1, 1, 2))
    assert 0.9 * length < len(first.ids) <= length
    assert (first.ids == again.ids).all() and first.asked == again.asked != other.asked


def test_the_wording_is_that_of_ruler():
    made = haystack(random.Random(0), "niah_multivalue", 6_000, ENCODE, None)
    text, asked = text_of(made.ids), made.asked[0]
    assert text.startswith("Some special magic numbers are hidden within the following text. Make sure to memorize it.")
    assert len(asked.values) == len(asked.gold) == 4 and all(re.fullmatch(r"\d{7}", value) for value in asked.values)
    assert re.fullmatch(
        r"What are all the special magic numbers for [\w-]+ mentioned in the provided text\?", asked.question
    )
    one = haystack(random.Random(0), "niah_single_3", 6_000, ENCODE, None)
    assert text_of(one.ids).startswith("A special magic uuid is hidden within the following text.")
    assert one.asked[0].question.startswith("What is the special magic uuid for ")
    start, end = one.asked[0].gold[0]
    assert re.fullmatch(r" ?One of the special magic uuids for .+ is: .+\.", text_of(one.ids[start:end]))


def test_the_chain_of_variables_has_four_hops():
    made = haystack(random.Random(4), "vt", 4_096, ENCODE, None)
    assert len(made.asked[0].values) == 5
    assert text_of(made.ids).count("VAR ") == 9


def test_texts_of_needles_hold_nothing_else():
    made = haystack(random.Random(4), "niah_multikey_3", 9_000, ENCODE, None)
    lines = text_of(made.ids).split("\n")[1:]
    assert len(lines) > 50 and all(re.fullmatch(r"One of the special magic uuids for .+ is: .+\.", s) for s in lines)
    assert len({asked.values for asked in made.asked}) == 10


def test_task_names_are_read_and_refused():
    assert parse_tasks("all") == tuple(TASKS)
    assert parse_tasks("vt, niah_single") == ("vt", "niah_single_1", "niah_single_2", "niah_single_3")
    for wrong in ("", "qa_1", "vt,"):
        with pytest.raises(RequestError, match="niah_single_1"):
            parse_tasks(wrong)
    with pytest.raises(RequestError, match="cwe needs a text of at least"):
        haystack(random.Random(0), "cwe", 300, ENCODE, None)
