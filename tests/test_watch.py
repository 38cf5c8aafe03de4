"""perilune watch on a small model that sees, with clips that play on a clock that tests move."""

import json
import os
import pty
import sys
import time

import pytest
from test_incoming_frames import DRAWN, Clock, clip_of
from test_video import with_empty_packets
from tiny_models import tiny_transformer, write_model
from tiny_senses import sensing_model
from typer.testing import CliRunner

from perilune.cli import watch as verb
from perilune.cli.app import app
from perilune.media import incoming_frames

QUESTION = "What is it?"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("watch"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    path.write_bytes(clip_of(130))  # 13 frames of 6.5 s
    return path


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(verb, "monotonic", lambda: clock.now)
    return clock


def run(model, *words):
    fixed = ("-m", model, "--temperature", "0", "--max-tokens", "6")
    return CliRunner().invoke(app, ["watch", QUESTION, *map(str, (*fixed, *words))])


def answers(model, *words):
    result = run(model.directory, *words, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def test_a_clip_is_answered_at_its_end_as_it_is_in_a_chat(model, clip, clock):
    (told,), aside = answers(model, "--file", clip)
    words = ["chat", QUESTION, "--video", clip, "-m", model.directory, "--temperature", "0", "--max-tokens", "6"]
    chat = json.loads(CliRunner().invoke(app, [*map(str, words), "--no-thinking", "--json"]).stdout)
    assert told["content"] == chat["content"] and told["media"] == chat["media"]
    assert told["usage"]["prompt_tokens"] == chat["usage"]["prompt_tokens"]
    assert told["usage"]["cached_tokens"] > 0.6 * told["usage"]["prompt_tokens"]
    watched = told["watched"]
    assert (watched["begin"], watched["end"], watched["frames"]) == (0.0, 6.45, 13)
    assert (watched["skipped"], watched["let_go"]) == (0, 0) and watched["real_time_factor"] > 0
    # On this clock work takes no time, so the answer begins at the last frame.
    assert watched["delay"] == 0 and clock.now == pytest.approx(50 + 6.45)
    assert "6.5 s of the clip, 13 frames seen, real-time factor" in aside and "warning" not in aside
    assert "1 question answered, begun within 0.0 s" in aside


def test_every_so_many_seconds_it_is_asked_about_those(model, clip, clock):
    told, aside = answers(model, "--file", clip, "--every", "2.5")
    spans = [(one["watched"]["begin"], one["watched"]["end"], one["watched"]["frames"]) for one in told]
    assert spans == [(0.0, 2.15, 5), (2.7, 4.85, 5), (5.4, 6.45, 3)]
    assert "3 questions answered" in aside and "warning" not in aside
    fast, _ = answers(model, "--file", clip, "--every", "2.5", "--fast")
    assert [one["content"] for one in fast] == [one["content"] for one in told]


def test_questions_that_come_due_during_an_answer_are_asked_as_one(model, clip, clock, monkeypatch):
    catch_up = verb._Watch._watching_on

    def slow(self, stream, began):
        for delta in catch_up(self, stream, began):
            clock.now += 2.0 if self.answers == 0 else 0.0
            yield delta

    monkeypatch.setattr(verb._Watch, "_watching_on", slow)
    told, aside = answers(model, "--file", clip, "--every", "1")
    assert sum(one["watched"]["frames"] for one in told) == 13 and len(told) < 6
    assert "questions came due while an answer was written" in aside


def test_where_seeing_is_too_slow_frames_are_skipped_and_told(model, clip, clock, monkeypatch):
    look = type(model.senses).look

    def slow(*given):
        clock.now += 6.0
        return look(*given)

    monkeypatch.setattr(type(model.senses), "look", slow)
    (told,), aside = answers(model, "--file", clip)
    skipped = told["watched"]["skipped"]
    assert skipped > 0 and told["watched"]["frames"] + skipped == 13
    assert aside.count("seeing takes longer than the clip: frames are skipped") == 1
    assert f"warning: {skipped} frames were skipped" in aside and told["watched"]["delay"] >= 6.0


def test_a_full_window_is_told(model, clip):
    (told,), aside = answers(model, "--file", clip, "--fast", "--window", "3")
    gone = told["watched"]["let_go"]
    assert gone > 0 and told["watched"]["frames"] + gone == 13 and told["watched"]["begin"] > 2
    assert "the older half of it is let go" in aside and f"warning: {gone} frames were let go" in aside


def test_packets_without_a_picture_are_told(model, tmp_path):
    (tmp_path / "clip.avi").write_bytes(with_empty_packets())
    _, aside = answers(model, "--file", tmp_path / "clip.avi", "--fast")
    assert "warning: packets of the clip hold no picture" in aside


def test_a_camera_is_watched_for_as_long_as_was_said(model, monkeypatch):
    monkeypatch.setattr(incoming_frames, "CAMERAS", {sys.platform: ("lavfi", {}, "{}")})
    (told,), _ = answers(model, "--camera", DRAWN, "--seconds", "1")
    assert told["watched"]["end"] <= 0.5 and told["watched"]["frames"] >= 1
    assert told["media"][0]["file"] == f"camera {DRAWN}"


def test_without_json_the_answer_is_the_output(model, clip):
    told, _ = answers(model, "--file", clip, "--fast")
    shown = run(model.directory, "--file", clip, "--fast")
    assert shown.stdout == told[0]["content"] + "\n"
    assert "asked about 13 frames, 0.0 to 6.5 s, real-time factor" in shown.stderr
    assert "answered 0." in shown.stderr and "s after the question" in shown.stderr


def test_a_line_is_asked_at_once_and_enter_asks_the_question(model, clip, clock, monkeypatch, capsys):
    keyboard, terminal = pty.openpty()
    typing, sleep = {50.9: b"And now?\n", 53.9: b"\n"}, incoming_frames.sleep
    lines = []

    def typed(seconds):
        sleep(seconds)
        for moment in [moment for moment in typing if moment < clock.now]:
            os.write(keyboard, typing.pop(moment))
            while not lines[0].typed:
                time.sleep(0.001)

    asked = []
    answer, make = verb._Watch._answer, verb._Lines.__init__
    monkeypatch.setattr(verb._Lines, "__init__", lambda self, stream: (lines.append(self), make(self, stream))[1])
    monkeypatch.setattr(verb._Watch, "_answer", lambda self, *given: (asked.append(given[0]), answer(self, *given)))
    monkeypatch.setattr(incoming_frames, "sleep", typed)
    with open(terminal, "r+b", buffering=0) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        words = ("watch", QUESTION, "-m", model.directory, "--file", clip, "--max-tokens", "4", "--json")
        app([*map(str, words)], standalone_mode=False)
    os.close(keyboard)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert asked == ["And now?", QUESTION, QUESTION]
    assert [one["watched"]["frames"] for one in told] == [2, 8, 13]
    assert all(one["watched"]["begin"] == 0 for one in told)


def test_ctrl_c_ends_cleanly(model, clip, clock, monkeypatch):
    sleep = incoming_frames.sleep

    def interrupted(seconds):
        if clock.now > 52:
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(incoming_frames, "sleep", interrupted)
    result = run(model.directory, "--file", clip)
    assert result.exit_code == 130 and "Traceback" not in result.output
    assert "stopped" in result.stderr and "4 frames seen" in result.stderr and "0 questions answered" in result.stderr


def test_what_a_user_may_do_wrong(model, clip, tmp_path):
    blind = write_model(tmp_path / "blind", tiny_transformer())
    (tmp_path / "notes.txt").write_text("no clip, by no means")
    for where, words, told in (
        (blind, ("--file", clip), "no eyes"),
        (model.directory, (), "watch one thing: --file CLIP or --camera DEVICE"),
        (model.directory, ("--file", clip, "--camera", "0"), "watch one thing"),
        (model.directory, ("--file", tmp_path / "none.mp4"), "there is no file"),
        (model.directory, ("--file", tmp_path / "notes.txt"), "this is no video"),
        (model.directory, ("--file", clip, "--every", "0.5"), "--every must be from 1 s"),
        (model.directory, ("--file", clip, "--every", "200"), "to the window of 120 s, got 200"),
        (model.directory, ("--file", clip, "--window", "0"), "a window must be from 1"),
        (model.directory, ("--file", clip, "--seconds", "0"), "--seconds must be above 0"),
        (model.directory, ("--camera", "0", "--fast", "--seconds", "1"), "--fast goes with --file"),
        (model.directory, ("--camera", "0"), "give --seconds or --every"),
        (model.directory, ("--camera", tmp_path / "none", "--seconds", "1"), "none cannot be read"),
    ):
        result = run(where, *words)
        assert result.exit_code == 2 and told in result.stderr, result.output
        assert result.stderr.strip().splitlines()[-1].startswith("perilune: ")
