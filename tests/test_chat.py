"""The chat template: published goldens, each rule by itself, the loss mask, and what is refused."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_vocab import goldens, published_tokenizer, tiny_tokenizer

from perilune.errors import MessageError, TokenizerError
from perilune.text import specials as sp
from perilune.text.chat import render
from perilune.text.tokenizer import Tokenizer

USER = {"role": "user", "content": "hi"}
HEAD = "<|im_user|>user<|im_middle|>hi<|im_end|>"
ASK = "<|im_assistant|>assistant<|im_middle|>"


def call(arguments="{}", call_id="functions.f:0", name="f"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def text_of(*messages, **options):
    options = {"add_generation_prompt": False, **options}
    return render(list(messages), tokenizer=tiny_tokenizer(), **options).text


def body_of(message, **options):
    """The rendered assistant message without its header."""
    text = text_of(message, **options)
    assert text.startswith(ASK)
    return text[len(ASK) :]


def test_published_goldens():
    for case in goldens("golden_chat.jsonl"):
        options = dict(case["options"])
        media = options.pop("media", None) or case.get("media")
        got = render(case["messages"], case["tools"], tokenizer=published_tokenizer(), media=media, **options)
        assert got.text == case["text"], case["name"]
        assert got.ids == case["ids"], case["name"]
        assert len(got.mask) == len(got.ids)


def test_the_published_first_prompt():
    ids = [163587, 2482, 163601, 9663, 163586, 163588, 69702, 163601, 163606]
    assert render([USER], tokenizer=published_tokenizer()).ids == ids
    assert render([USER], tokenizer=published_tokenizer(), thinking=False).ids == [*ids, 163607]


@pytest.mark.parametrize(
    ("role", "token"),
    [
        ("user", sp.IM_USER),
        ("assistant", sp.IM_ASSISTANT),
        ("system", sp.IM_SYSTEM),
        ("critic", sp.IM_SYSTEM),
    ],
)
def test_role_tokens_and_names(role, token):
    think = "<think></think>" if role == "assistant" else ""
    assert text_of({"role": role, "content": "c"}) == f"{token}{role}<|im_middle|>{think}c<|im_end|>"
    for name, shown in [("bob", "bob"), ("", role), (None, role)]:
        assert text_of({"role": role, "name": name, "content": "c"}).startswith(f"{token}{shown}<|im_middle|>")


def test_no_tools_no_declaration():
    assert text_of(USER, tools=[]) == text_of(USER, tools=None) == HEAD


def test_tools_come_first():
    text = text_of(USER, tools=[{"type": "function", "function": {"name": "f"}}])
    assert text.startswith("<|im_system|>tool_declare<|im_middle|># Tools\n")
    assert text.endswith("}\n<|im_end|>" + HEAD)


@pytest.mark.parametrize(("content", "shown"), [(None, ""), ("", ""), ([], ""), ("x", "x")])
def test_absent_content_is_empty(content, shown):
    assert text_of({"role": "user", "content": content}) == f"<|im_user|>user<|im_middle|>{shown}<|im_end|>"
    assert text_of({"role": "user"}) == "<|im_user|>user<|im_middle|><|im_end|>"


LOOP = [
    {"role": "assistant", "content": "a", "reasoning_content": "r", "tool_calls": [call()]},
    {"role": "tool", "tool_call_id": "functions.f:0", "content": "x"},
]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, True),
        ({"thinking": False}, False),
        ({"thinking": False, "preserve_thinking": True}, False),
        ({"preserve_thinking": True}, True),
    ],
)
def test_a_running_tool_loop_keeps_its_reasoning(options, kept):
    assert ("<think>r</think>" in text_of(USER, *LOOP, **options)) is kept


@pytest.mark.parametrize("calls", [None, [], "absent"])
def test_a_plain_answer_ends_the_history(calls):
    answer = {"role": "assistant", "content": "done", "reasoning_content": "s"}
    if calls != "absent":
        answer["tool_calls"] = calls
    text = text_of(USER, *LOOP, answer, USER, *LOOP)
    assert text.count("<think>r</think>") == 1
    assert "<think></think>done<|im_end|>" in text
    kept = text_of(USER, *LOOP, answer, USER, *LOOP, preserve_thinking=True)
    assert kept.count("<think>r</think>") == 2
    assert "<think>s</think>done<|im_end|>" in kept


@pytest.mark.parametrize("reasoning", [None, "", "absent"])
def test_absent_reasoning_is_empty(reasoning):
    message = {"role": "assistant", "content": "", "tool_calls": [call()]}
    if reasoning != "absent":
        message["reasoning_content"] = reasoning
    assert body_of(message).startswith("<think></think><|tool_calls_section_begin|>")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"b":1}', '{"b":1}'),
        (" not json ", " not json "),
        ("", ""),
        ({}, "{}"),
        ({"b": 1, "a": "é<&>'"}, '{"b": 1, "a": "é<&>\'"}'),
        ({"n": [1.0, 1e-7, 1e22, -0.0, None, True]}, '{"n": [1.0, 1e-07, 1e+22, -0.0, null, true]}'),
        ([1, 2], "[1, 2]"),
        (None, "null"),
    ],
)
def test_arguments(arguments, shown):
    assert body_of({"role": "assistant", "tool_calls": [call(arguments, "any id")]}) == (
        "<think></think><|tool_calls_section_begin|><|tool_call_begin|>any id<|tool_call_argument_begin|>"
        f"{shown}<|tool_call_end|><|tool_calls_section_end|><|im_end|>"
    )


@pytest.mark.parametrize(("call_id", "shown"), [("functions.f:0", "functions.f:0"), (None, ""), ("", "")])
def test_tool_results(call_id, shown):
    message = {"role": "tool", "tool_call_id": call_id, "content": "\nv"}
    assert text_of(message) == f"<|im_system|>tool<|im_middle|>## Return of {shown}\n\nv<|im_end|>"


def test_only_the_role_tool_has_a_return_line():
    assert "Return" not in text_of({"role": "function", "tool_call_id": "x", "content": "v"})


IMAGE = "<|media_begin|>image<|media_content|><|media_pad|><|media_end|>\n"
VIDEO = "<|kimi_k25_video_placeholder|>\n"


def parts_text(*parts, **options):
    text = text_of({"role": "user", "content": list(parts)}, **options)
    return text[len("<|im_user|>user<|im_middle|>") : -len("<|im_end|>")]


def words(text):
    return {"type": "text", "text": text}


def test_parts_without_sizes_are_placeholders():
    assert parts_text(words("a"), words(" b"), words("")) == "a b"
    assert parts_text({"type": "image"}, {"type": "image_url", "image_url": {"url": "u"}}) == IMAGE * 2
    assert parts_text(words("a"), {"type": "video"}, {"type": "video_url"}, words("b")) == f"a{VIDEO}{VIDEO}b"


def test_a_video_placeholder_without_sizes_is_plain_text():
    tokenizer = tiny_tokenizer()
    ids = render([{"role": "user", "content": [{"type": "video"}]}], tokenizer=tokenizer).ids
    start = ids.index(tokenizer.special["<|im_middle|>"]) + 1
    assert ids[start : ids.index(tokenizer.eos)] == tokenizer.encode(VIDEO)


def test_media_are_expanded_in_order():
    chunk = {"timestamp": 3661.9999, "tokens": 2}
    media = [
        {"type": "image", "tokens": 3},
        {"type": "video", "chunks": [{"timestamp": 0, "tokens": 1}, chunk]},
    ]
    block = "<|media_begin|>video<|media_content|>{}<|media_end|>"
    assert parts_text({"type": "image"}, words("x"), {"type": "video_url"}, words("y"), media=media) == (
        f"<|media_begin|>image<|media_content|>{'<|media_pad|>' * 3}<|media_end|>\nx"
        f"00:00:00.000{block.format('<|media_pad|>')}01:01:01.999{block.format('<|media_pad|>' * 2)}\ny"
    )


def test_sounds_stand_like_images_under_their_own_word():
    one = "<|media_begin|>audio<|media_content|>{}<|media_end|>\n"
    parts = [{"type": "audio"}, words("x"), {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]
    assert parts_text(*parts) == one.format("<|media_pad|>") + "x" + one.format("<|media_pad|>")
    media = [{"type": "audio", "tokens": 3}, {"type": "audio", "tokens": 1}]
    pads = "<|media_pad|>" * 3
    assert parts_text(*parts, media=media) == one.format(pads) + "x" + one.format("<|media_pad|>")


def test_text_between_two_specials_is_one_run():
    message = {"role": "user", "content": [{"type": "image"}, words("\nx")]}
    rendered = render([message], tokenizer=tiny_tokenizer())
    assert tiny_tokenizer().encode("\n\nx")[0] in rendered.ids
    result = {"role": "tool", "tool_call_id": "i", "content": "\nx"}
    assert tiny_tokenizer().encode("\n\nx")[0] in render([result], tokenizer=tiny_tokenizer()).ids


@pytest.mark.parametrize(("thinking", "tail"), [(True, "<think>"), (False, "<think></think>")])
def test_generation_prompt(thinking, tail):
    assert text_of(USER, add_generation_prompt=True, thinking=thinking) == HEAD + ASK + tail


def test_continuation_leaves_the_last_message_open():
    answer = {"role": "assistant", "content": "An old \n", "reasoning_content": "r", "partial": True}
    for prompt in (True, False):
        text = text_of(USER, answer, continue_final_message=True, add_generation_prompt=prompt)
        assert text == HEAD + ASK + "<think></think>An old \n"
    kept = text_of(USER, answer, continue_final_message=True, preserve_thinking=True)
    assert kept == HEAD + ASK + "<think>r</think>An old \n"
    with_calls = {**answer, "tool_calls": [call()]}
    assert text_of(USER, with_calls, continue_final_message=True) == HEAD + ASK + "<think>r</think>An old \n"


def test_partial_renders_nothing_by_itself():
    answer = {"role": "assistant", "content": "a"}
    assert text_of(USER, {**answer, "partial": True}) == text_of(USER, answer)


def trained_text(messages, **options):
    tokenizer = tiny_tokenizer()
    got = render(messages, tokenizer=tokenizer, **options)
    return tokenizer.decode([i for i, on in zip(got.ids, got.mask, strict=True) if on])


def test_the_mask_holds_what_the_model_says():
    section = (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}"
        "<|tool_call_end|><|tool_calls_section_end|>"
    )
    assert trained_text([USER, *LOOP]) == f"r</think>a{section}<|im_end|>"
    assert trained_text([USER, *LOOP], thinking=False) == f"a{section}<|im_end|>"
    assert trained_text([USER]) == ""


def test_dropped_reasoning_does_not_teach_to_skip_it():
    answer = {"role": "assistant", "content": "a", "reasoning_content": "r"}
    assert trained_text([USER, answer]) == "a<|im_end|>"
    assert trained_text([USER, {**answer, "reasoning_content": ""}]) == "</think>a<|im_end|>"
    assert trained_text([USER, answer], preserve_thinking=True) == "r</think>a<|im_end|>"


TEXTS = st.text(max_size=20) | st.sampled_from(sorted(sp.OFFSETS.values()))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["user", "assistant", "tool", "system"]), TEXTS, TEXTS, TEXTS),
        min_size=1,
        max_size=4,
    )
)
def test_what_a_caller_wrote_never_becomes_a_special_token(rows):
    tokenizer = tiny_tokenizer()
    messages = []
    for role, a, b, c in rows:
        message = {"role": role, "name": b, "content": [words(a), words(b)], "reasoning_content": c}
        message |= {"tool_call_id": a, "tool_calls": [call({b: c}, a)]}
        messages.append(message)
    tools = [{"type": "function", "function": {"name": rows[0][1], "description": rows[0][2]}}]
    options = {"tokenizer": tokenizer, "preserve_thinking": True}
    got = render(messages, tools, **options)
    for message in messages:
        blank = {"name": "n", "content": "", "reasoning_content": "", "tool_call_id": ""}
        message |= {**blank, "tool_calls": [call("", "")]}
    clean = render(messages, [{"type": "x"}], **options)
    assert [i for i in got.ids if i >= tokenizer.base] == [i for i in clean.ids if i >= tokenizer.base]
    assert tokenizer.decode(got.ids) == got.text


BAD_MESSAGES = [
    ([], "messages is empty"),
    ("hi", "messages must be a list, got a string"),
    ({"role": "user"}, "messages must be a list, got an object"),
    (["hi"], r"messages\[0\] must be an object"),
    ([USER, {"content": "x"}], r"messages\[1\]\.role must be a string, got null"),
    ([{"role": 5}], r"messages\[0\]\.role must be a string, got a number"),
    ([{"role": ""}], r"messages\[0\]\.role is empty"),
    ([{"role": "user", "name": ["x"]}], r"messages\[0\]\.name must be a string, got a list"),
    ([{"role": "user", "content": 5}], r"messages\[0\]\.content must be a string or a list of parts"),
    ([{"role": "user", "content": {"type": "text"}}], r"messages\[0\]\.content must be a string or a list"),
    ([{"role": "user", "content": b"x"}], r"messages\[0\]\.content must be a string or a list"),
    ([{"role": "user", "content": ["x"]}], r"messages\[0\]\.content\[0\] must be an object"),
    ([{"role": "user", "content": [{"type": "text"}]}], r"content\[0\]\.text must be a string, got null"),
    ([{"role": "user", "content": [{"type": "smell"}]}], r"content\[0\]\.type must be one of text, image"),
    ([{"role": "user", "content": [{"type": ["x"]}]}], r"content\[0\]\.type must be one of"),
    ([{"role": "user", "content": "a\ud800"}], r"messages\[0\]\.content has a lone surrogate at character 1"),
    ([{"role": "assistant", "reasoning_content": 1}], r"messages\[0\]\.reasoning_content must be a string"),
    ([{"role": "tool", "tool_call_id": 1}], r"messages\[0\]\.tool_call_id must be a string"),
    ([{"role": "assistant", "tool_calls": {"id": "x"}}], r"messages\[0\]\.tool_calls must be a list"),
    ([{"role": "assistant", "tool_calls": [None]}], r"tool_calls\[0\] must be an object, got null"),
    ([{"role": "assistant", "tool_calls": [{"id": "x"}]}], r"tool_calls\[0\]\.function must be an object"),
    ([{"role": "assistant", "tool_calls": [{"id": "x", "function": {}}]}], r"arguments is missing"),
    ([{"role": "assistant", "tool_calls": [call(call_id=None)]}], r"tool_calls\[0\]\.id must be a string"),
    ([{"role": "assistant", "tool_calls": [call({"a": float("inf")})]}], "arguments holds inf"),
    ([{"role": "assistant", "tool_calls": [call({1: 2})]}], "a key in .* must be a string"),
    ([{"role": "assistant", "tool_calls": [call({"a": {1}})]}], "holds a set"),
]


@pytest.mark.parametrize(("messages", "message"), BAD_MESSAGES)
def test_bad_messages_are_refused_by_name(messages, message):
    with pytest.raises(MessageError, match=message):
        render(messages, tokenizer=tiny_tokenizer())


def test_arguments_nested_beyond_reason_are_refused():
    arguments = json.loads('{"a":' + "[" * 900 + "]" * 900 + "}")
    with pytest.raises(MessageError, match="nested deeper than 100"):
        body_of({"role": "assistant", "tool_calls": [call(arguments)]})


def test_only_an_assistant_message_can_be_continued():
    with pytest.raises(MessageError, match=r"messages\[0\]\.role must be 'assistant'"):
        text_of(USER, continue_final_message=True)


CHUNKS = {"type": "video", "chunks": [{"timestamp": 0.0, "tokens": 1}]}


@pytest.mark.parametrize(
    ("media", "message"),
    [
        ([], "the messages show more"),
        ([{"type": "image", "tokens": 1}] * 2, "the messages show only 1"),
        ([CHUNKS], r"media\[0\]\.type must be 'image' as in messages\[0\]\.content\[0\]"),
        ([{"type": "image"}], r"media\[0\]\.tokens must be a whole number"),
        ([{"type": "image", "tokens": 0}], r"media\[0\]\.tokens must be a whole number"),
        ([{"type": "image", "tokens": True}], r"media\[0\]\.tokens must be a whole number"),
        ([{"type": "image", "tokens": 10**9}], r"media\[0\]\.tokens must be a whole number"),
        ([None], r"media\[0\] must be an object"),
        ("image", "media must be a list"),
    ],
)
def test_media_that_do_not_fit_are_refused(media, message):
    with pytest.raises(MessageError, match=message):
        parts_text({"type": "image"}, media=media)


@pytest.mark.parametrize(
    ("media", "message"),
    [
        ([{"type": "image", "tokens": 1}], r"media\[0\]\.type must be 'audio' as in messages\[0\]\.content\[0\]"),
        ([{"type": "input_audio", "tokens": 1}], r"media\[0\]\.type must be 'audio'"),
        ([{"type": "audio"}], r"media\[0\]\.tokens must be a whole number"),
        ([{"type": "audio", "tokens": 65_537}], r"media\[0\]\.tokens must be a whole number from 1 to 65536"),
    ],
)
def test_sounds_that_do_not_fit_are_refused(media, message):
    with pytest.raises(MessageError, match=message):
        parts_text({"type": "input_audio"}, media=media)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([], "1 to"),
        (None, "must be a list"),
        ([{"tokens": 1}], r"chunks\[0\]\.timestamp must be a number"),
        ([{"tokens": 1, "timestamp": "0"}], "must be a number"),
        ([{"tokens": 1, "timestamp": float("nan")}], "must be a number"),
        ([{"tokens": 1, "timestamp": -1}], "must be from 0"),
        ([{"timestamp": 1}], r"chunks\[0\]\.tokens"),
    ],
)
def test_video_chunks_that_make_no_sense_are_refused(chunks, message):
    with pytest.raises(MessageError, match=message):
        parts_text({"type": "video"}, media=[{"type": "video", "chunks": chunks}])


def test_a_vocabulary_without_chat_tokens_is_refused():
    ranks = {bytes([byte]): byte for byte in range(256)}
    with pytest.raises(TokenizerError, match=r"no special token '<\|im_user\|>'"):
        render([USER], tokenizer=Tokenizer(ranks, {}))


def test_very_many_parts_cost_no_more_than_their_text():
    parts = [{"type": "text", "text": "0123456789"}] * 50_000
    began = time.process_time()
    text = text_of({"role": "user", "content": parts})
    assert "".join(part["text"] for part in parts) in text
    assert time.process_time() - began < 5


def test_the_media_of_a_prompt_are_bounded_in_all():
    media = [{"type": "image", "tokens": 60_000}] * 18
    with pytest.raises(MessageError, match=r"media\[17\]: .* tokens in all"):
        parts_text(*[{"type": "image"}] * 18, media=media)
