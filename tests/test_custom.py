"""Custom tools: functions with one string to the model, free text to the client, in both of OpenAI's spellings."""

import json
import re

import openai
import pytest
from served import served, tiny_model

from perilune.api.custom import custom_names, input_of
from perilune.api.openai import chat_options
from perilune.api.responses import response_options
from perilune.errors import MessageError, RequestError
from perilune.text.calls import ToolCall

REGEX = 'say "[a-c]{2}\\\\"\\n(end|END)'  # quotes, a backslash and a new line, which JSON spells in its own way
LARK = 'start: "*** Begin" LF\n%import common.LF'
PLAIN = {"reasoning": {"effort": "none"}}
MESSAGES = [{"role": "user", "content": "hello there"}]


def grammar(definition=REGEX, syntax="regex"):
    return {"type": "grammar", "syntax": syntax, "definition": definition}


def tool(name="patch", **fields):
    return {"type": "custom", "name": name, "description": "Edits files.", **fields}


def chat_tool(name="patch", syntax="regex", definition=REGEX):
    inner = {"syntax": syntax, "definition": definition}
    return {"type": "custom", "custom": {"name": name, "format": {"type": "grammar", "grammar": inner}}}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    model = tiny_model(tmp_path_factory.mktemp("custom"), context=2048)
    with served(model) as at, openai.OpenAI(base_url=at + "/v1", api_key="none", max_retries=0) as made:
        yield made


def asked(**fields):
    return {"model": "tiny", "input": "hello there", "max_output_tokens": 300, "temperature": 0, **PLAIN, **fields}


def forced(**fields):
    return asked(tools=[tool(format=grammar())], tool_choice={"type": "custom", "name": "patch"}, **fields)


def test_a_forced_call_keeps_to_the_regular_expression(client):
    got = client.responses.create(**forced(parallel_tool_calls=False))
    (call,) = got.output
    assert (call.type, call.name, got.status) == ("custom_tool_call", "patch", "completed")
    assert re.fullmatch(REGEX, call.input) and call.id.startswith("ctc_") and call.call_id.startswith("functions.")
    assert got.tools[0].type == "custom" and got.tools[0].format.definition == REGEX
    assert got.tool_choice.name == "patch"


def test_events_of_a_call_add_up_to_it(client):
    with client.responses.stream(**forced(parallel_tool_calls=False)) as stream:
        events = list(stream)
    (call,) = events[-1].response.output
    kinds = [event.type for event in events]
    assert kinds[2:6] == [
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
    ]
    added, delta, done, ended = events[2:6]
    assert added.item.input == "" and re.fullmatch(REGEX, call.input)
    assert delta.delta == done.input == ended.item.input == call.input
    assert {added.item.id, delta.item_id, done.item_id, ended.item.id} == {call.id}
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_calls_and_their_results_come_back(client):
    first = client.responses.create(**forced(parallel_tool_calls=False))
    (call,) = first.output
    result = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"}
    items = [{"role": "user", "content": "hello there"}, call.to_dict(), result]
    again = client.responses.create(**asked(input=items, tools=[tool()]))
    assert again.usage.input_tokens > first.usage.input_tokens
    _, message, answer = response_options({"input": items})["messages"]
    function = message["tool_calls"][0]["function"]
    assert function["name"] == "patch" and json.loads(function["arguments"]) == {"input": call.input}
    assert answer == {"role": "tool", "tool_call_id": call.call_id, "content": "done"}


def test_any_text_will_do_where_there_is_no_grammar():
    for form in ({}, {"format": {"type": "text"}}):
        made = response_options({"input": "x", "tools": [tool(**form)]})["tools"][0]["function"]
        assert made["description"] == "Edits files." and made["strict"] is True
        assert made["parameters"]["properties"] == {"input": {"type": "string"}}


def test_a_lark_grammar_is_told_to_the_model_and_not_promised(client):
    tools = [tool(format=grammar(LARK, "lark")), tool("shell")]
    made = response_options({"input": "x", "tools": tools})["tools"]
    assert made[0]["function"]["description"] == f"Edits files.\n\nThe input is a text of this Lark grammar:\n{LARK}"
    assert client.responses.create(**asked(tools=tools, max_output_tokens=8)).tools[0].format.syntax == "lark"
    for choice in ("required", {"type": "custom", "name": "patch"}, {"type": "function", "name": "patch"}):
        with pytest.raises(openai.BadRequestError, match=r"tools\[0\].format: a Lark grammar cannot be held to"):
            client.responses.create(**asked(tools=tools, tool_choice=choice))
    response_options({"input": "x", "tools": tools, "tool_choice": {"type": "custom", "name": "shell"}})


def test_custom_tools_of_a_namespace(client):
    tools = [{"type": "namespace", "name": "team", "tools": [tool(format=grammar())]}]
    got = client.responses.create(**asked(tools=tools, tool_choice="required", parallel_tool_calls=False))
    (call,) = got.output
    assert (call.type, call.name, call.namespace) == ("custom_tool_call", "patch", "team")
    assert re.fullmatch(REGEX, call.input) and custom_names(tools) == {"team.patch"}
    message = response_options({"input": [call.to_dict()]})["messages"][0]
    assert message["tool_calls"][0]["function"]["name"] == "team.patch"


@pytest.mark.parametrize("stream", [False, True])
def test_chat_completions_speak_of_custom_tools_in_their_own_way(client, stream):
    got = client.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        tools=[chat_tool()],
        tool_choice={"type": "custom", "custom": {"name": "patch"}},
        parallel_tool_calls=False,
        max_tokens=300,
        stream=stream,
        extra_body={"thinking": {"type": "disabled"}},
    )
    if stream:
        calls = [call for chunk in got if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
        (call,) = [call.to_dict() for call in calls]
        assert call.pop("index") == 0
    else:
        (call,) = [call.to_dict() for call in got.choices[0].message.tool_calls]
    assert call["type"] == "custom" and call["custom"]["name"] == "patch"
    assert re.fullmatch(REGEX, call["custom"]["input"])
    history = [*MESSAGES, {"role": "assistant", "tool_calls": [call]}]
    history.append({"role": "tool", "tool_call_id": call["id"], "content": "done"})
    again = client.chat.completions.create(model="tiny", messages=history, tools=[chat_tool()], max_tokens=4)
    assert again.usage.prompt_tokens > 0


def test_a_chat_without_custom_tools_is_left_as_it_is():
    function = {"type": "function", "function": {"name": "look"}}
    options = chat_options({"messages": MESSAGES, "tools": [function], "tool_choice": "auto"})
    assert options["tools"] == [function] and options["messages"] == MESSAGES


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "a\\n\\"b\\""}', 'a\n"b"'),
        ('{"input": "x\\ud800"}', "x?"),  # half of a pair is no text
        ('{"other": 1}', '{"other": 1}'),
        ('{"input": 1e999}', '{"input": 1e999}'),
    ],
)
def test_the_text_of_a_call(arguments, text):
    assert input_of(ToolCall("functions.patch:0", "patch", arguments, 0)) == text


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"format": {"type": "xml"}}, r"tools\[0\].format must be"),
        ({"format": "text"}, r"tools\[0\].format must be"),
        ({"format": grammar(syntax="ebnf")}, "a syntax of regex or lark, got 'ebnf'"),
        ({"format": grammar(5)}, r"tools\[0\].format.definition must be a string"),
        ({"format": grammar("")}, "1 to 131072 characters, got 0"),
        ({"format": grammar("x" * 131_073, "lark")}, "got 131073"),
        ({"format": grammar("(")}, "cannot be used"),
        ({"description": 5}, r"tools\[0\].description must be a string"),
        ({"name": 5}, r"tools\[0\].name must be a string"),
        ({"name": "two words"}, "names of the form"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_a_bad_request(client, fields, told, stream):
    with pytest.raises(openai.BadRequestError, match=told):
        client.responses.create(**asked(tools=[tool(**fields)]), stream=stream)
    both = [{"type": "custom", "custom": {"name": "patch", **fields}}]
    with pytest.raises(openai.BadRequestError, match=told):
        client.chat.completions.create(model="tiny", messages=MESSAGES, tools=both, stream=stream)


def test_odd_items_are_refused():
    for item in ({"type": "custom_tool_call", "call_id": "c", "name": "patch"}, {"type": "custom_tool_call_output"}):
        with pytest.raises(MessageError, match=r"input\[0\]\.(input|output) must be"):
            response_options({"input": [item]})
    call = {"id": "c", "type": "custom", "custom": {"name": "patch"}}
    with pytest.raises(MessageError, match=r"messages\[0\].tool_calls\[0\].custom.input must be a string"):
        chat_options({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    with pytest.raises(MessageError, match="list of objects"):
        chat_options({"messages": MESSAGES, "tools": [chat_tool(), 5]})
    with pytest.raises(RequestError, match="Lark"):
        chat_options({"messages": MESSAGES, "tools": [chat_tool(syntax="lark")], "tool_choice": "required"})
