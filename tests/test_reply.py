"""The reply parser: each published rule, the same answer in any split, and nothing that makes it raise."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_vocab import tiny_tokenizer

from perilune.errors import RequestError, TokenizerError
from perilune.text import specials as sp
from perilune.text.chat import render
from perilune.text.reply import Delta, Reply, ReplyParser, parse
from perilune.text.scan import SINGULAR, SPELLED

BEGIN, END = sp.SECTION_BEGIN, sp.SECTION_END


def call(header="functions.f:0", arguments='{"a": 1}'):
    return f"{sp.CALL_BEGIN}{header}{sp.ARGUMENT_BEGIN}{arguments}{sp.CALL_END}"


def said(text, **options):
    reply = parse(text, **options)
    return reply.reasoning, reply.content, [c.name for c in reply.tool_calls]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", "", [])),
        ("r</think>c", ("r", "c", [])),
        ("<think>r</think>c<|im_end|>", ("r", "c", [])),
        ("\n r \n</think>\n\nc \n", ("\n r \n", "\n\nc \n", [])),
        ("only thoughts", ("only thoughts", "", [])),
        ("</think>c", ("", "c", [])),
        ("r</think>c</think>d", ("r", "cd", [])),
        ("r</think>c<|im_end|>never shown", ("r", "c", [])),
        (f"r</think>c{BEGIN}{call()}{END}<|im_end|>", ("r", "c", ["f"])),
        (f"r{BEGIN}{call()}{END}", ("r", "", ["f"])),
        (f"r{call()}", ("r", "", ["f"])),
        (f"r{BEGIN}{call()}{END}</think>d", ("r", "d", ["f"])),
        (f"</think>a{BEGIN}{call()}{END}b", ("", "ab", ["f"])),
        (f"</think>{BEGIN}{call()}{call('g:1')}{END}", ("", "", ["f", "g"])),
        (f"</think>{BEGIN}\n{call()}\n {call('g:1')}\n{END}", ("", "", ["f", "g"])),
        (f"</think>{BEGIN}{call()}{END}\n{BEGIN}{call('g:1')}{END}", ("", "\n", ["f", "g"])),
        (f"</think>{call()}{call('g:1')}x", ("", "x", ["f", "g"])),
        (f"</think>{call()}{END}x", ("", "x", ["f"])),
        (f"</think>{BEGIN} so {call()} and {END} on", ("", " so  and  on", ["f"])),
        (f"</think>{call(' f:0 ', ' {} ')}", ("", "", ["f"])),
        (f"</think>{BEGIN}{call()}", ("", "", ["f"])),
        (f"</think>a{BEGIN}", ("", "a", [])),
        ("</think>a < b, x[1], <|odd|>", ("", "a < b, x[1], <|odd|>", [])),
        ("</think>a <|tool_calls_sec", ("", "a <|tool_calls_sec", [])),
    ],
)
def test_rules(text, expected):
    assert said(text) == expected
    assert said(text.replace("tool_calls_section_", "tool_call_section_")) == expected


def test_without_thinking_the_reply_starts_with_content():
    assert said("c", thinking=False) == ("", "c", [])
    assert said(f"c{BEGIN}{call()}{END}", thinking=False) == ("", "c", ["f"])
    assert said("<think>r</think>c", thinking=False) == ("r", "c", [])
    assert said("a<think>b</think>c", thinking=False) == ("", "abc", [])


def test_a_call_is_numbered_in_the_reply_and_in_the_conversation():
    first, second = parse(f"</think>{call('f:0')}{call('g:0')}", calls_before=2).tool_calls
    assert (first.id, first.index, first.arguments) == ("functions.f:2", 0, '{"a": 1}')
    assert (second.id, second.index) == ("functions.g:3", 1)
    assert parse(f"</think>{call('g:9')}", keep_ids=True).tool_calls[0].id == "g:9"


def test_a_bare_counter_takes_the_declared_tool():
    tools = [{"type": "function", "function": {"name": "only"}}]
    assert said(f"</think>{call('0')}", tools=tools)[2] == ["only"]
    reply = parse(f"</think>{call('0')}")
    assert (reply.tool_calls, reply.content) == ((), "")
    assert "bare counter" in reply.problems[0].reason


MALFORMED = {
    "broken JSON": (call("f:0", '{"a": '), 'f:0{"a": ', "not JSON"),
    "no object": (call("f:0", "[1]"), "f:0[1]", "not one JSON object"),
    "no arguments": (f"{sp.CALL_BEGIN}f:0{sp.CALL_END}", "f:0", "has no arguments"),
    "section ends inside": (
        f"{sp.CALL_BEGIN}f:0{sp.ARGUMENT_BEGIN}{{}}{END}",
        "f:0{}",
        "section ended inside",
    ),
    "section begins inside": (f"{sp.CALL_BEGIN}f:0{BEGIN}{END}", "f:0", "section began inside"),
    "next call begins inside": (
        f"{sp.CALL_BEGIN}f:0{sp.ARGUMENT_BEGIN}{{}}{call()}",
        "f:0{}",
        "next call began",
    ),
    "reply ends inside": (
        f"{sp.CALL_BEGIN}f:0{sp.ARGUMENT_BEGIN}{{}}<|im_end|>",
        "f:0{}",
        "reply ended inside",
    ),
    "markers inside": (call("f:0", "<|im_user|>{[PAD]"), "f:0{", "not JSON"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_calls_end_as_text_with_a_reason(name):
    text, shown, reason = MALFORMED[name]
    reply = parse(f"r</think>a {BEGIN}{text}")
    assert (reply.reasoning, reply.content) == ("r", "a " + shown)
    assert [problem.text for problem in reply.problems] == [shown]
    assert reason in reply.problems[0].reason


def test_a_good_call_after_a_malformed_one_counts():
    reply = parse(f"</think>{BEGIN}{call('f:0', '{')}{call('g:1')}{END}")
    assert [(c.name, c.index, c.id) for c in reply.tool_calls] == [("g", 0, "functions.g:0")]
    assert len(reply.problems) == 1


def test_a_call_start_in_a_header_discards_the_unfinished_call():
    reply = parse(f"</think>a{BEGIN}{sp.CALL_BEGIN}functions.f:0{call('g:1')}{END}")
    assert (reply.content, [c.name for c in reply.tool_calls]) == ("a", ["g"])
    assert reply.problems[0].text == "functions.f:0"


def test_a_call_with_another_id_is_skipped():
    reply = parse(f"</think>a{BEGIN}{call('call_abc')}{call('g:1')}{END}b")
    assert (reply.content, [c.name for c in reply.tool_calls]) == ("ab", ["g"])
    assert (reply.problems[0].text, len(reply.problems)) == ('call_abc{"a": 1}', 1)


@pytest.mark.parametrize("size", range(len(BEGIN) + 1, len(BEGIN) + len(call())))
def test_a_cut_off_call_is_not_a_call(size):
    reply = parse("</think>a" + (BEGIN + call())[:size])
    assert reply.tool_calls == ()
    assert not reply.content.startswith("a{") and "functions" not in reply.content


def test_arguments_may_spell_markers_that_do_not_end_them():
    arguments = json.dumps({"html": "<think>x</think> [EOS] <|im_user|>"})
    reply = parse(f"</think>{call('f:0', arguments)}")
    assert reply.tool_calls[0].arguments == arguments


def test_no_special_token_of_any_name_is_shown():
    others = [n for n in sp.OFFSETS.values() if n not in (sp.IM_END, BEGIN, sp.CALL_BEGIN, sp.END_THINK)]
    for name in [*others, "<|reserved_token_163700|>", END, *SINGULAR.values()]:
        if name not in (BEGIN, sp.CALL_BEGIN):
            assert said(f"r{name}</think>c{name}d") == ("r", "cd", [])
    assert said("</think>a<|im_<think>end|>b") == ("", "ab", [])


def feed(parser, pieces):
    deltas = []
    for piece in pieces:
        deltas += parser.feed(piece)
    return deltas + parser.finish()


def joined(deltas):
    """What a client has after all deltas."""
    texts = {"reasoning": "", "content": ""}
    calls = []
    for delta in deltas:
        if delta.kind == "tool_call":
            calls.append(delta.call)
        else:
            texts[delta.kind] += delta.text
    return texts["reasoning"], texts["content"], tuple(calls)


def test_deltas_come_as_soon_as_they_are_certain():
    parser = ReplyParser()
    assert parser.feed("Hm") == [Delta("reasoning", "Hm")]
    assert parser.feed(" <") == [Delta("reasoning", " ")]
    assert parser.feed("/think>Hi") == [Delta("content", "Hi")]
    assert parser.feed(f"!{BEGIN}{sp.CALL_BEGIN}f:0{sp.ARGUMENT_BEGIN}") == [Delta("content", "!")]
    assert parser.feed("{}") == []
    (delta,) = parser.feed(sp.CALL_END)
    assert delta.kind == "tool_call" and delta.call is not None and delta.call.name == "f"
    assert not parser.ended
    assert parser.feed(f"{END}<|im_end|>") == []
    assert parser.ended
    assert parser.finish() == []
    assert parser.reply == Reply("Hm ", "Hi!", (delta.call,), ())


SOUP = st.lists(
    st.sampled_from(
        [
            *sp.OFFSETS.values(),
            *SINGULAR,
            BEGIN,
            END,
            sp.CALL_BEGIN,
            sp.ARGUMENT_BEGIN,
            sp.CALL_END,
            call(),
            call("0"),
        ]
    )
    | st.sampled_from(["functions.f:0", "g:1", "{}", '{"a": ', "<|im_", "end|>", "<", " ", "\n", "é", "[E", "|>"])
    | st.text(max_size=4),
    max_size=14,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(SOUP, st.booleans(), st.data())
def test_any_split_of_any_soup_gives_the_same_reply(text, thinking, draw):
    whole = parse(text, thinking=thinking)
    pieces, rest = [], text
    while rest:
        size = draw.draw(st.integers(1, len(rest)))
        pieces.append(rest[:size])
        rest = rest[size:]
    parser = ReplyParser(thinking=thinking)
    deltas = feed(parser, pieces)
    assert parser.reply == whole
    assert joined(deltas) == (whole.reasoning, whole.content, whole.tool_calls)
    for shown in (whole.reasoning, whole.content, *(problem.text for problem in whole.problems)):
        assert SPELLED.search(shown) is None
    for made in whole.tool_calls:
        assert isinstance(json.loads(made.arguments), dict)


@settings(deadline=None)
@given(st.text(), st.text())
def test_letter_by_letter(reasoning, content):
    text = f"{reasoning}</think>{content}{BEGIN}{call()}{END}<|im_end|>"
    parser = ReplyParser()
    feed(parser, text)
    assert parser.reply == parse(text)


@settings(deadline=None)
@given(SOUP, st.data())
def test_ids_in_any_split_give_the_same_reply(text, draw):
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode(text, special=True)
    whole = parse(ids, tokenizer=tokenizer)
    parser, start = ReplyParser(tokenizer=tokenizer), 0
    while start < len(ids):
        size = draw.draw(st.integers(1, len(ids) - start))
        parser.feed(ids[start : start + size])
        start += size
    parser.finish()
    assert parser.reply == whole


PLAIN = st.text(max_size=12) | st.sampled_from([*sp.OFFSETS.values(), "{", "functions.f:0"])


@settings(deadline=None)
@given(PLAIN, PLAIN, st.dictionaries(st.text(max_size=5), PLAIN, max_size=2))
def test_what_render_writes_ids_read_back(reasoning, content, arguments):
    tokenizer = tiny_tokenizer()
    made = {"id": "functions.f:0", "function": {"name": "f", "arguments": json.dumps(arguments)}}
    message = {"role": "assistant", "content": content, "reasoning_content": reasoning, "tool_calls": [made]}
    ids = render([message], tokenizer=tokenizer, add_generation_prompt=False).ids
    reply = parse(ids[ids.index(tokenizer.special[sp.THINK]) + 1 :], tokenizer=tokenizer)
    assert (reply.reasoning, reply.content) == (reasoning, content)
    assert [(c.id, c.name, c.arguments) for c in reply.tool_calls] == [("functions.f:0", "f", json.dumps(arguments))]
    assert reply.problems == ()


def test_ids_tell_a_token_from_its_spelling():
    tokenizer = tiny_tokenizer()
    plain = tokenizer.encode("BERT has [PAD], Kimi has <|im_end|> and </think>.")
    ids = [tokenizer.special[sp.END_THINK], *plain, tokenizer.special["[PAD]"], tokenizer.eos]
    assert parse(ids, tokenizer=tokenizer).content == tokenizer.decode(plain)
    assert parse([*plain, tokenizer.special[sp.EOS], 65], tokenizer=tokenizer).reasoning == tokenizer.decode(plain)


def test_a_character_that_never_ended_shows_as_replacement():
    tokenizer = tiny_tokenizer()
    ids = [0xE6, tokenizer.special[sp.END_THINK], 65, 0xF0]
    assert parse(ids, tokenizer=tokenizer) == Reply("\ufffd", "A\ufffd")


def test_wrong_inputs_are_refused():
    with pytest.raises(RequestError, match="ids need the tokenizer"):
        parse([1, 2])
    with pytest.raises(RequestError, match="takes ids, not text"):
        ReplyParser(tokenizer=tiny_tokenizer()).feed("text")
    with pytest.raises(TokenizerError, match="not in the vocabulary"):
        parse([10**6], tokenizer=tiny_tokenizer())
    assert parse("r", tokenizer=tiny_tokenizer()).reasoning == "r"
