"""Needles in long texts: a reader that looks at the right place scores 1, one that fails 0, and all of it adds up."""

import json
from dataclasses import replace

import numpy as np
import pytest
from long_readers import Stub, failing, oracle
from tiny_models import TOKENIZER, tiny_transformer
from tiny_vocab import tiny_tokenizer
from typer.testing import CliRunner

from perilune.api.model import Model
from perilune.cli.score import score_app
from perilune.config import LinearAttentionConfig, MemoryConfig
from perilune.errors import RequestError
from perilune.model.model import Transformer
from perilune.presets import preset
from perilune.score import needle
from perilune.score.long_reading import run, share_found, stands_alone, stands_in
from perilune.score.needle import Plan, haystacks, parse_lengths, score_needles
from perilune.score.opened import Opened

ENCODE = tiny_tokenizer().encode
PLAN = Plan((8_192, 32_768), count=40, depths=5, filler="noise")


def scored(answer, plan=PLAN, **options):
    model = Stub(answer)
    return model, score_needles(model, "stub", plan, ENCODE, None, **options)


def test_lengths_are_read_and_refused():
    assert parse_lengths("4k, 2M,1000") == (1_000, 4_096, 2_097_152)
    for wrong in ("", "4g", "k", "-4k", "100", "999999999m", "4k,,8k", "²k"):
        with pytest.raises(RequestError, match="--lengths"):
            parse_lengths(wrong)


def test_filler_that_is_none_is_refused():
    with pytest.raises(RequestError, match="text, code, noise"):
        Plan((4_096,), filler="needles")


def test_an_oracle_is_always_right_and_a_failing_reader_never():
    model, right = scored(oracle)
    _, wrong = scored(failing)
    assert model.reads == 3  # 32 and 8 needles in the short texts, 40 in the long one
    for length in PLAN.lengths:
        best, worst = right.length_dict(length), wrong.length_dict(length)
        assert (best["right"], best["total"], best["exact_match"]) == (40, 40, 1.0)
        assert best["low"] == pytest.approx(0.912, abs=0.001) and best["high"] == 1.0
        assert (worst["right"], worst["low"]) == (0, 0.0) and worst["high"] == pytest.approx(0.088, abs=0.001)
        assert best["recall"] == {"layer 4": 1.0, "layer 5": 0.5} and worst["recall"] == {"layer 4": 0.0}
        assert length - 800 < best["tokens"] <= length
        assert best["read_tokens_per_second"] > 0 and best["peak_bytes"] > 1e6
        assert best["decode_seconds_per_token"] == 0.25 and best["ask_seconds"] >= 0
        assert sum(row["total"] for row in best["by_depth"]) == sum(row["total"] for row in best["by_task"]) == 40


def test_depths_are_even_and_all_rows_are_asked():
    _, report = scored(oracle)
    for length in PLAN.lengths:
        assert [row.total for row in report.by_depth(report.trials(length))] == pytest.approx([8] * 5, abs=1)


def test_the_strict_way_reads_one_text_for_each_needle():
    plan = Plan((4_096,), count=10, depths=5, strict=True, filler="noise")
    model, report = scored(oracle, plan)
    assert model.reads == 10 and all(len(run.trials) == 1 for run in report.runs)
    assert [row.total for row in report.by_depth(report.trials())] == [2] * 5
    assert "one needle in each text" in report.notes


def test_needles_of_one_text_share_no_question_and_stand_in_order():
    made = next(haystacks(PLAN, 32_768, ENCODE, None))
    questions = [asked.question for asked in made.asked]
    assert len(set(questions)) == len(questions) == 40
    starts = [asked.gold[0][0] for asked in made.asked]
    assert starts == sorted(starts)
    again = next(haystacks(PLAN, 32_768, ENCODE, None))
    assert np.array_equal(made.ids, again.ids) and made.asked == again.asked
    other = next(haystacks(Plan(PLAN.lengths, 40, 5, filler="noise", seed=1), 32_768, ENCODE, None))
    assert other.asked != made.asked


def test_progress_tells_of_every_token():
    told = []

    def on_haystack(haystack):
        told.append([len(haystack.ids)])
        return told[-1].append

    scored(oracle, Plan((8_192,), 4, filler="noise"), on_haystack=on_haystack)
    assert len(told) == 1 and told[0][-1] == told[0][0] and len(told[0]) == 5


def test_the_report_is_json_and_a_table():
    _, report = scored(oracle)
    told = json.loads(report.to_json())
    assert told["kind"] == "needle" and len(told["lengths"]) == 2 and len(told["trials"]) == 80
    assert "distractors" in told["notes"][0] and "held out" in told["notes"][1]
    assert report.table().row_count == 2 and report.task_table().row_count == len(report.tasks)


def test_a_value_must_stand_alone():
    assert stands_alone("12", "It is 12.") and stands_alone("12", "_12_") and not stands_alone("12", "4123")
    assert stands_in("12", "4123") and stands_in("Red Owl", "the red owl")
    assert share_found(("a", "b"), "only a", stands_alone) == 0.5


def test_a_long_text_is_made_piece_by_piece():
    """No string is longer than a paragraph, whatever the length of the text."""
    longest = 0

    def encode(text):
        nonlocal longest
        longest = max(longest, len(text))
        return ENCODE(text)

    made = next(haystacks(Plan((1 << 19,), 20, filler="noise"), 1 << 19, encode, None))
    assert longest < 2_000 and len(made.ids) > (1 << 19) - 500
    assert sum(len(segment) for segment in made.segments()) == len(made.ids)
    assert needle.MOST_TOKENS >= 1 << 21


VERBS = (["needle", "--strict"], ["ruler", "--tasks", "vt,niah_multikey_1"])


@pytest.mark.parametrize("verb", VERBS, ids=["needle", "ruler"])
def test_the_command_prints_maps_json_and_a_picture(verb, monkeypatch, tmp_path):
    stub = Stub(oracle)
    stub.encode = ENCODE
    monkeypatch.delenv("PERILUNE_SHARED", raising=False)
    monkeypatch.setattr("perilune.cli.options.open_model", lambda *given: "a model")
    monkeypatch.setattr("perilune.score.opened.Opened", lambda model: stub)
    common = [*verb, "--lengths", "4k,6k", "--count", "3"]
    png = tmp_path / "map.png"
    told = CliRunner().invoke(score_app, [*common, "--json", "--png", str(png)])
    assert told.exit_code == 0, told.output
    assert [row["exact_match"] for row in json.loads(told.stdout)["lengths"]] == [1.0, 1.0]
    assert png.read_bytes().startswith(b"\x89PNG")
    shown = CliRunner().invoke(score_app, common)
    assert shown.exit_code == 0 and "100" in shown.stdout and "by task" in shown.stdout


def test_a_model_that_cannot_read_ahead_is_refused(monkeypatch):
    monkeypatch.setattr("perilune.cli.options.open_model", lambda *given: Model(tiny_transformer(), TOKENIZER))
    refused = CliRunner().invoke(score_app, ["needle"])
    assert isinstance(refused.exception, RequestError) and "chunk memory" in str(refused.exception)


def test_a_real_model_reads_and_is_asked():
    """Untrained, so it knows nothing; what counts is that ids, spans and options arrive."""
    config = replace(
        preset("tiny"),
        model_type="perilune",
        quantization=None,
        dtype="float32",
        num_hidden_layers=2,
        max_position_embeddings=1 << 14,
        linear_attention=LinearAttentionConfig((1,), (2,), num_heads=2, head_dim=32, gate="sigmoid"),
        memory=MemoryConfig(num_read_layers=1),
    )
    transformer = Transformer(config)
    transformer.init_weights(1)
    opened = Opened(Model(transformer.eval(), TOKENIZER))
    told = []
    made = next(haystacks(Plan((4_096,), 2, filler="noise"), 4_096, opened.encode, None))
    done = run(opened, made, max_tokens=3, on_read=told.append)
    assert done.tokens == told[-1] == len(made.ids) and told[0] == 2_048
    assert len(done.trials) == 2 and all(trial.recall and 1 <= trial.tokens <= 3 for trial in done.trials)
