"""perilune listen on a small model that hears, with sounds that play on a clock that tests move."""

import json

import numpy as np
import pytest
import soundfile
from sounds import noise
from test_incoming import Clock
from tiny_models import tiny_transformer, write_model
from tiny_senses import sensing_model
from typer.testing import CliRunner

from perilune.cli.app import app
from perilune.media import incoming

SILENCE = np.zeros(16_000, np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("listen"))


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    path = tmp_path_factory.mktemp("sounds") / "talk.wav"
    soundfile.write(path, np.concatenate([noise(9_600), SILENCE, noise(12_345, seed=1)]), 16_000, subtype="FLOAT")
    return path


def run(model, *words):
    fixed = ("-m", model, "--temperature", "0", "--max-tokens", "6")
    return CliRunner().invoke(app, ["listen", *map(str, (*fixed, *words))])


def answers(model, *words):
    result = run(model.directory, *words, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def test_every_pause_and_the_end_are_answered(model, talk):
    told, aside = answers(model, "--file", talk, "--fast", "--prompt", "What is said?")
    assert [(one["heard"]["begin"], one["heard"]["end"]) for one in told] == [(0.0, 1.1), (1.1, 2.37)]
    assert all(one["media"][0]["file"] == str(talk) and one["media"][0]["tokens"] > 0 for one in told)
    assert all(one["heard"]["real_time_factor"] > 0 for one in told)
    assert told[1]["usage"]["prompt_tokens"] > told[0]["usage"]["prompt_tokens"]
    assert "2 turns answered, 0.0 s of silence left out" in aside and "warning" not in aside


def test_a_turn_is_answered_as_its_sound_is_in_a_chat(model, tmp_path):
    path = tmp_path / "one.wav"
    soundfile.write(path, noise(12_345, seed=1), 16_000, subtype="FLOAT")
    told, _ = answers(model, "--file", path, "--fast", "--prompt", "What is it?")
    words = ["chat", "What is it?", "--audio", path, "-m", model.directory, "--temperature", "0", "--max-tokens", "6"]
    chat = json.loads(CliRunner().invoke(app, [*map(str, words), "--no-thinking", "--json"]).stdout)
    assert [(one["content"], one["usage"]["prompt_tokens"]) for one in told] == [
        (chat["content"], chat["usage"]["prompt_tokens"])
    ]


def test_at_the_pace_of_the_sound_it_says_the_same(model, talk, monkeypatch):
    clock = Clock(monkeypatch)
    told, aside = answers(model, "--file", talk)
    assert clock.now >= 50 + 2.37 and "warning" not in aside
    assert [one["content"] for one in told] == [one["content"] for one in answers(model, "-f", talk, "--fast")[0]]


def test_falling_behind_is_told_with_its_size_and_nothing_is_lost(model, talk, monkeypatch):
    clock = Clock(monkeypatch)

    def late():
        clock.now += 0.3
        return clock.now

    monkeypatch.setattr(incoming, "monotonic", late)
    told, aside = answers(model, "--file", talk)
    assert aside.count("s behind the sound, which waits") == 1 and "hearing was up to 2.0 s" in aside
    assert [one["heard"]["end"] for one in told] == [1.1, 2.37]


def test_ctrl_c_ends_cleanly_and_says_what_is_left(model, talk, monkeypatch):
    clock, sleep = Clock(monkeypatch), incoming.sleep

    def interrupted(seconds):
        if clock.now > 50.4:
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(incoming, "sleep", interrupted)
    result = run(model.directory, "--file", talk)
    assert result.exit_code == 130 and "Traceback" not in result.output
    assert "stopped; 0.5 s of sound stay unanswered" in result.stderr and "0 turns answered" in result.stderr


def test_without_json_the_answer_is_the_output(model, talk):
    told, _ = answers(model, "--file", talk, "--fast")
    shown = run(model.directory, "--file", talk, "--fast")
    assert shown.stdout == "".join(one["content"] + "\n" for one in told)
    assert "heard 0.0 to 1.1 s, real-time factor" in shown.stderr


def test_silence_is_no_question(model, tmp_path):
    soundfile.write(tmp_path / "still.wav", SILENCE, 16_000)
    told, aside = answers(model, "--file", tmp_path / "still.wav", "--fast")
    assert told == [] and "0 turns answered, 1.0 s of silence left out" in aside


def test_what_a_user_may_do_wrong(model, talk, tmp_path):
    deaf = write_model(tmp_path / "deaf", tiny_transformer())
    (tmp_path / "notes.txt").write_text("no sound, by no means")
    for where, words, told in (
        (deaf, ("--file", talk), "no ears"),
        (model.directory, ("--file", tmp_path / "none.wav"), "none.wav is not a file"),
        (model.directory, ("--file", tmp_path / "notes.txt"), "notes.txt is no sound"),
        (model.directory, ("--fast",), "--fast goes with --file"),
        (model.directory, ("--file", talk, "--pause", "0"), "a pause must be from 0.1"),
    ):
        result = run(where, *words)
        assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1 and told in result.stderr
