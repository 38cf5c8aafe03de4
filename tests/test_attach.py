"""perilune chat with pictures, sounds and clips: their order, what they cost, and errors that name the file."""

import json

import av
import numpy as np
import pytest
from test_session import Typed
from tiny_models import TOKENIZER, tiny_transformer, write_model
from tiny_senses import picture, sensing_model, sound
from typer.testing import CliRunner

from perilune.api.model import Model
from perilune.cli.app import app
from perilune.cli.session import Session


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("attach"))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "photo.png").write_bytes(picture(0))
    (tmp_path / "other.png").write_bytes(picture(128, (90, 40)))
    (tmp_path / "question.wav").write_bytes(sound(440))
    with av.open(tmp_path / "clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=2, width=56, height=40)
        for shade in (0, 80, 160, 240, 250, 10):
            frame = av.VideoFrame.from_ndarray(np.full((40, 56, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return tmp_path


def chat(model, *words):
    fixed = ("-m", model.directory, "--temperature", "0", "--max-tokens", "8", "--no-thinking")
    return CliRunner().invoke(app, ["chat", "What is it?", *map(str, (*fixed, *words))])


def answer(model, *words):
    result = chat(model, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_media_go_in_the_order_of_the_command_line(model, files):
    photo, other, question, clip = (files / name for name in ("photo.png", "other.png", "question.wav", "clip.mp4"))
    told = answer(model, "--image", photo, "--audio", question, f"--image={other}", "--video", clip)
    assert [one["file"] for one in told["media"]] == [str(path) for path in (photo, question, other, clip)]
    assert [one["type"] for one in told["media"]] == ["image", "audio", "image", "video"]
    kinds = (("image", photo), ("audio", question), ("image", other), ("video", clip))
    parts = [{"type": kind, kind: path} for kind, path in kinds]
    asked = [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]
    reply = model.chat(asked, temperature=0, max_tokens=8, thinking=False)
    assert (told["content"], told["usage"]["prompt_tokens"]) == (reply.content, reply.usage.prompt_tokens)
    assert [one["tokens"] for one in told["media"]] == list(reply.media_tokens)
    pads = model.render(asked).ids.count(TOKENIZER.special_id("<|media_pad|>"))
    assert sum(reply.media_tokens) == pads and min(reply.media_tokens) > 0


def test_a_reply_without_media_tells_of_none(model):
    assert "media" not in answer(model)


def test_errors_name_the_file(model, files):
    (files / "torn.wav").write_bytes(sound(440)[:100])
    for option, name, told in (
        ("--image", "none.png", "there is no file"),
        ("--image", "question.wav", "image"),
        ("--audio", "torn.wav", "cut short"),
        ("--video", "photo.png", "video"),
    ):
        result = chat(model, option, files / name)
        assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1
        assert result.stderr.startswith(f"perilune: {files / name}: ") and told in result.stderr


def test_a_model_without_senses_says_so(files, tmp_path):
    blind = Model(tiny_transformer(), TOKENIZER, directory=write_model(tmp_path / "blind", tiny_transformer()))
    for option, name, told in (("--image", "photo.png", "no eyes"), ("--audio", "question.wav", "no ears")):
        result = chat(blind, option, files / name)
        assert result.exit_code == 2 and result.stderr.startswith(f"perilune: {files / name}: this model has {told}")


def test_a_conversation_attaches_files_to_its_next_message(model, files):
    photo, question = files / "photo.png", files / "question.wav"
    lines = (f"/image {photo}", f"/audio {question}", "What?", "And?", "/audio", f"/video {photo}", "/image no.png")
    one = Session(model, {"max_tokens": 4, "temperature": 0, "thinking": False}, console=Typed(*lines))
    one.run()
    first, _, second, _ = one.messages
    assert [part["type"] for part in first["content"]] == ["image", "audio", "text"] and second["content"] == "And?"
    shown = one.console.shown
    ids = [model.render([{"role": "user", "content": [part]}]).ids for part in first["content"][:2]]
    seen, heard = (one.count(TOKENIZER.special_id("<|media_pad|>")) for one in ids)
    assert f"· photo.png {seen} · question.wav {heard}" in shown
    assert "name a file: /audio PATH" in shown and "no.png: the image: there is no file" in shown
    assert f"{photo}: " in shown and one.attached == []


def test_what_is_attached_goes_with_a_message_that_is_taken_back_and_with_a_reset(model, files):
    lines = (f"/image {files / 'photo.png'}", "x" * 5000, f"/image {files / 'photo.png'}", "/reset", "Hello")
    one = Session(model, {"max_tokens": 4, "temperature": 0, "thinking": False}, console=Typed(*lines))
    one.run()
    assert "taken back" in one.console.shown
    assert one.messages[0] == {"role": "user", "content": "Hello"} and len(one.messages) == 2
