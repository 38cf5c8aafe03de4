"""Ids to text to replies: stop strings, split characters, calls, and what is left after a stop."""

from __future__ import annotations

import gc

import pytest
from tiny_models import TOKENIZER, chain_transformer

from perilune.api import Model
from perilune.api.streams import ReplyStream
from perilune.engine.types import Request, SamplingParams
from perilune.text import specials as sp
from perilune.text.reply import ReplyParser

ASK = [{"role": "user", "content": "?"}]


def reciting(*chains: str) -> Model:
    return Model(chain_transformer(*chains), TOKENIZER, defaults={"temperature": 0})


def said(stream) -> list[tuple[str, str]]:
    return [(delta.kind, delta.text) for delta in stream]


def test_reasoning_then_content():
    reply = reciting(f"{sp.THINK}abc{sp.END_THINK}xyz").chat(ASK)
    assert (reply.reasoning, reply.content, reply.finish_reason) == ("abc", "xyz", "stop")
    assert reply.usage.completion_tokens == 7


def test_without_thinking_the_reply_is_content():
    reply = reciting(f"{sp.END_THINK}xyz").chat(ASK, thinking=False)
    assert (reply.reasoning, reply.content) == ("", "xyz")


def test_deltas_add_up_to_the_reply():
    stream = reciting(f"{sp.THINK}abc{sp.END_THINK}xyz").stream(ASK)
    deltas = said(stream)
    assert "".join(text for kind, text in deltas if kind == "reasoning") == stream.reply.reasoning == "abc"
    assert "".join(text for kind, text in deltas if kind == "content") == stream.reply.content == "xyz"


def test_a_character_of_several_tokens_is_never_split():
    stream = reciting(f"{sp.THINK}{sp.END_THINK}aé").stream(ASK)
    assert said(stream) == [("content", "a"), ("content", "é")]


def test_a_tool_call_is_read_and_numbered():
    call = f"{sp.SECTION_BEGIN}{sp.CALL_BEGIN}f:0{sp.ARGUMENT_BEGIN}{{}}{sp.CALL_END}{sp.SECTION_END}"
    model = reciting(f"{sp.THINK}{sp.END_THINK}x{call}")
    reply = model.chat(ASK)
    assert reply.finish_reason == "tool_calls" and reply.content == "x"
    assert [(c.id, c.name, c.arguments) for c in reply.tool_calls] == [("functions.f:0", "f", "{}")]
    history = [*ASK, {"role": "assistant", "tool_calls": [_call("functions.g:0")]}]
    again = model.chat([*history, {"role": "tool", "tool_call_id": "functions.g:0", "content": "1"}])
    assert again.tool_calls[0].id == "functions.f:1"


def _call(call_id: str) -> dict:
    return {"id": call_id, "type": "function", "function": {"name": "g", "arguments": "{}"}}


def test_a_stop_string_ends_the_answer_and_frees_the_engine():
    model = reciting(f"{sp.THINK}abc{sp.END_THINK}uvwxyz")
    stream = model.stream(ASK, stop=["wx"])
    deltas = said(stream)
    assert "".join(text for kind, text in deltas if kind == "content") == "uv"
    assert stream.reply.content == "uv" and stream.finish_reason == "stop"
    assert stream.usage.completion_tokens == 8
    assert not model.engine.has_work


def test_stop_strings_leave_the_reasoning_alone():
    reply = reciting(f"{sp.THINK}abc{sp.END_THINK}xyz").chat(ASK, stop="b")
    assert (reply.reasoning, reply.content) == ("abc", "xyz")


def test_what_was_held_back_for_a_stop_comes_at_the_end():
    assert reciting(f"{sp.THINK}{sp.END_THINK}abc").chat(ASK, stop=["bcd"]).content == "abc"


def test_a_stop_string_that_is_complete_only_at_the_end_is_why_it_ended():
    # The reader holds "<|im" back, for it may become a special token, until max_tokens ends the reply.
    reply = reciting(f"{sp.THINK}{sp.END_THINK}ab<|im").chat(ASK, stop="<|im", max_tokens=8)
    assert (reply.content, reply.finish_reason) == ("ab", "stop")


def test_raw_text_stops_and_streams_too():
    model = reciting("abcdef")
    stream = model.generate_stream("a", stop=["de"])
    assert "".join(stream) == "bc" == stream.completion.text
    assert stream.completion.finish_reason == "stop"
    assert model.generate("a").text == "bcdef"


def test_a_closed_stream_is_cancelled_and_keeps_what_came():
    model = reciting(f"{sp.THINK}{sp.END_THINK}abcdef")
    with model.stream(ASK) as stream:
        next(iter(stream))
        next(iter(stream))
    assert stream.finish_reason == "cancelled" and stream.reply.content == "ab"
    assert not model.engine.has_work


@pytest.mark.parametrize("started", [False, True], ids=["never read", "half read"])
def test_a_lost_stream_is_cancelled(started):
    model = reciting(f"{sp.THINK}{sp.END_THINK}abcdef")
    stream = model.stream(ASK)
    if started:
        next(iter(stream))
    del stream
    gc.collect()
    assert not model.engine.has_work


def test_an_interrupt_leaves_a_usable_model():
    model = reciting(f"{sp.THINK}{sp.END_THINK}abcdef")

    def interrupt(done, total):
        raise KeyboardInterrupt

    stream = model.stream(ASK, on_prefill=interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert stream.finish_reason == "cancelled" and not model.engine.has_work
    assert model.chat(ASK).content == "abcdef"


def test_a_stream_is_an_iterator_and_may_be_closed_from_inside():
    model = reciting(f"{sp.THINK}{sp.END_THINK}abcdef")
    with model.stream(ASK) as stream:
        assert next(stream).text == "a" and next(stream).text == "b"
    stream = model.stream(ASK, on_prefill=lambda done, total: stream.close())
    assert said(stream) == [] and stream.finish_reason == "cancelled"
    assert not model.engine.has_work


def test_the_space_that_a_copied_answer_begins_with_is_taken_off():
    model = reciting(f"{sp.END_THINK} xyz")
    parser = ReplyParser(tokenizer=TOKENIZER, thinking=False)
    params = SamplingParams.from_options({}, model.defaults)
    request = Request(tuple(model.render(ASK, thinking=False).ids), params, model.stop_ids)
    stream = ReplyStream(model.engine, request, parser, trim=True)
    assert "".join(text for _, text in said(stream)) == stream.reply.content == "xyz"
    assert len(stream.tokens) == 4
