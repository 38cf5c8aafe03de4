"""Anthropic's SDK against a real server, and their conversations in our form."""

import json

import anthropic
import pytest
from served import served, tiny_model

from perilune import load
from perilune.api.anthropic import call_input, message_options, use_block
from perilune.api.call_ids import foreign, normalised
from perilune.errors import MessageError, RequestError
from perilune.server.messages import MessageEvents
from perilune.text.calls import ToolCall
from perilune.text.reply import Delta

ASKED = [{"role": "user", "content": "hello there"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
GREEDY = {"temperature": 0}
TOOLS = [{"name": "look", "description": "looks", "input_schema": SCHEMA}]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("messages"))


@pytest.fixture(scope="module")
def client(model):
    with served(model) as at, anthropic.Anthropic(base_url=at, api_key="none", max_retries=0) as made:
        yield made


def test_a_whole_message_is_the_model_s(client, model):
    for thinking in (True, False):
        wanted = model.chat(ASKED, max_tokens=12, temperature=0, thinking=thinking)
        extra = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if thinking else {}
        got = client.messages.create(model="tiny", max_tokens=12, messages=ASKED, extra_body=GREEDY, **extra)
        told = {block.type: block for block in got.content}
        assert (told["text"].text if "text" in told else "") == wanted.content
        assert (told["thinking"].thinking if "thinking" in told else "") == (wanted.reasoning or "")
        assert got.stop_reason == {"stop": "end_turn", "length": "max_tokens"}[wanted.finish_reason]
        assert got.usage.input_tokens + got.usage.cache_read_input_tokens == wanted.usage.prompt_tokens


def test_a_stream_adds_up_to_the_message(client, model):
    for thinking in ({"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}):
        given = dict(
            model="tiny", max_tokens=20, extra_body=GREEDY, messages=ASKED, system="Be brief.", thinking=thinking
        )
        whole = client.messages.create(**given)
        with client.messages.stream(**given) as stream:
            kinds = [event.type for event in stream]
            got = stream.get_final_message()
        plain = [block.model_dump(exclude={"parsed_output", "citations"}) for block in got.content]
        assert plain == [block.model_dump(exclude={"parsed_output", "citations"}) for block in whole.content]
        assert got.stop_reason == whole.stop_reason and got.usage.output_tokens == whole.usage.output_tokens
        assert kinds[0] == "message_start" and kinds[-1] == "message_stop"


def test_tokens_are_counted(client, model):
    told = client.messages.count_tokens(model="tiny", messages=ASKED, system="Be brief.", tools=TOOLS)
    whole = client.messages.create(model="tiny", max_tokens=1, messages=ASKED, system="Be brief.", tools=TOOLS)
    assert told.input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens


def test_what_is_wrong_is_a_bad_request(client):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    for messages, told in (([{"role": "user", "content": [image]}], "no eyes"), ([{"role": "x"}], "role")):
        with pytest.raises(anthropic.BadRequestError, match=told):
            client.messages.create(model="tiny", max_tokens=4, messages=messages)
    with pytest.raises(anthropic.BadRequestError, match="tool_choice"):
        client.messages.create(model="tiny", max_tokens=4, messages=ASKED, tools=TOOLS, tool_choice={"type": "all"})
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="claude", max_tokens=4, messages=ASKED)


def test_answers_and_calls_take_the_form_asked_for(client):
    schema = {"type": "object", "properties": {"n": {"enum": [7, 8]}}, "required": ["n"], "additionalProperties": False}
    given = {"model": "tiny", "max_tokens": 300, "messages": ASKED, "extra_body": {"temperature": 0}}
    form = {"format": {"type": "json_schema", "schema": schema}}
    got = client.messages.create(**given, output_config=form)
    assert json.loads(got.content[0].text)["n"] in (7, 8)
    tools = [{"name": "count", "input_schema": schema, "strict": True}, *TOOLS]
    for choice in ({"type": "any"}, {"type": "tool", "name": "count"}):
        once = {**choice, "disable_parallel_tool_use": True}
        got = client.messages.create(**given, tools=tools[:1], tool_choice=once)
        assert got.stop_reason == "tool_use" and got.content[0].input["n"] in (7, 8)


def test_a_conversation_with_tools_comes_in_our_form():
    said = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Ulm"}},
                {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sun"}]},
                {"type": "text", "text": "go on"},
            ],
        },
    ]
    options = message_options(
        {"messages": said, "system": "S", "tools": TOOLS, "max_tokens": 5, "stop_sequences": ["x"]}
    )
    system, first, calls, rain, sun, last = options["messages"]
    assert system == {"role": "system", "content": "S"} and first["content"] == "a\nb" and last["content"] == "go on"
    assert calls["content"] == "I look." and calls["reasoning_content"] == "hm"
    assert [call["id"] for call in calls["tool_calls"]] == ["functions.look:0", "functions.look:1"]
    assert json.loads(calls["tool_calls"][0]["function"]["arguments"]) == {"city": "Ulm"}
    assert (rain["tool_call_id"], rain["content"]) == ("functions.look:1", "rain")
    assert (sun["tool_call_id"], sun["content"]) == ("functions.look:0", "sun")
    assert options["tools"][0]["function"] == {"name": "look", "parameters": SCHEMA, "description": "looks"}
    assert options["stop"] == ["x"] and options["thinking"] is False


@pytest.mark.parametrize(
    "body",
    [
        {"messages": 3},
        {"messages": [3]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": "user", "content": [3]}]},
        {"messages": ASKED, "tools": 3},
        {"messages": ASKED, "tools": [{"type": "web_search", "name": "web_search"}]},
        {"messages": ASKED, "system": [{"type": "image"}]},
        {"messages": ASKED, "extra": 1},
    ],
)
def test_bad_bodies_are_named(body):
    with pytest.raises((MessageError, RequestError)):
        message_options(body)


def test_ids_of_others_become_ours_and_ours_stay():
    def call(name, of):
        return {"id": of, "type": "function", "function": {"name": name, "arguments": "{}"}}

    said = [
        {"role": "assistant", "content": "", "tool_calls": [call("a", "call_9"), call("b", "functions.b:1")]},
        {"role": "tool", "tool_call_id": "call_9", "content": "1"},
        {"role": "tool", "tool_call_id": "nobody", "content": "2"},
        {"role": "assistant", "content": "", "tool_calls": [call("a", "call_9"), "no call"]},
        {"role": "tool", "tool_call_id": "call_9", "content": "3"},
        "no message",
    ]
    made = normalised(said)
    assert [c["id"] for c in made[0]["tool_calls"]] == ["functions.a:0", "functions.b:1"]
    assert made[1]["tool_call_id"] == "functions.a:0" and made[2]["tool_call_id"] == "nobody"
    assert made[3]["tool_calls"][0]["id"] == "functions.a:2" and made[4]["tool_call_id"] == "functions.a:2"
    assert made[3]["tool_calls"][1] == "no call" and made[5] == "no message"
    assert said[1]["tool_call_id"] == "call_9"
    assert foreign("functions.a.b:12") == "toolu_a_b_12" and len(foreign("functions." + "x" * 99 + ":0")) <= 64


def test_calls_stream_as_blocks_of_their_own():
    calls = [ToolCall(f"functions.look:{i}", "look", '{"city": "Ulm"}', i) for i in range(2)]
    events = MessageEvents({}, "m")
    raw = b"".join(
        [
            events.delta(Delta("reasoning", "hm")),
            events.delta(Delta("content", "I ")),
            events.delta(Delta("content", "look")),
            *(events.delta(Delta("tool_call", call=call)) for call in calls),
        ]
    )
    told = [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: ")]
    starts = [one["content_block"]["type"] for one in told if one["type"] == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use", "tool_use"]
    filled = [one["delta"] for one in told if one["type"] == "content_block_delta" and one["index"] == 3]
    assert json.loads("".join(d["partial_json"] for d in filled)) == {"city": "Ulm"}
    assert [one["index"] for one in told if one["type"] == "content_block_stop"] == [0, 1, 2]
    assert use_block(calls[0])["input"] == {"city": "Ulm"} and call_input(ToolCall("i", "n", "[1", 0)) == {
        "arguments": "[1"
    }


def test_a_call_of_nano_reaches_the_client_and_its_result_the_model():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"name": "get_weather", "description": "Get the weather in a city.", "input_schema": schema}]
    said = [{"role": "user", "content": "What is the weather in Paris?"}]
    given = {"model": "tiny", "max_tokens": 100, "extra_body": GREEDY, "tools": tools}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with served(load("nano")) as at, anthropic.Anthropic(base_url=at, api_key="none", max_retries=0) as client:
        whole = client.messages.create(**given, messages=said, thinking=thinking)
        with client.messages.stream(**given, messages=said, thinking=thinking) as stream:
            streamed = stream.get_final_message()
        assert whole.stop_reason == streamed.stop_reason == "tool_use"
        (call,) = (block for block in whole.content if block.type == "tool_use")
        (again,) = (block for block in streamed.content if block.type == "tool_use")
        assert call.name == "get_weather" and (again.input, again.id) == (call.input, call.id)
        result = {"type": "tool_result", "tool_use_id": call.id, "content": '{"weather": "sunny"}'}
        said += [{"role": "assistant", "content": whole.model_dump()["content"]}, {"role": "user", "content": [result]}]
        assert client.messages.create(**given, messages=said).content[0].text
