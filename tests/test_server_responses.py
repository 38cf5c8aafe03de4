"""OpenAI's responses against a running server, with its SDK: items in, items out, and the events between."""

import json

import openai
import pytest
from served import served, tiny_model

from perilune.api.responses import response_options
from perilune.errors import MessageError

SCHEMA = {"type": "object", "properties": {"n": {"enum": [7, 8]}}, "required": ["n"], "additionalProperties": False}
TOOL = {"type": "function", "name": "count", "description": "Counts.", "parameters": SCHEMA, "strict": True}
PLAIN = {"reasoning": {"effort": "none"}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("responses"))


@pytest.fixture(scope="module")
def client(model):
    with served(model) as at, openai.OpenAI(base_url=at + "/v1", api_key="none", max_retries=0) as made:
        yield made


def asked(**fields):
    return {"model": "tiny", "input": "hello there", "max_output_tokens": 16, "temperature": 0, **fields}


def test_a_whole_response_is_the_reply_of_the_model(client, model):
    for effort, thinking in (("none", False), ("high", True)):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello there"}]
        wanted = model.chat(messages, max_tokens=16, temperature=0, thinking=thinking)
        got = client.responses.create(**asked(instructions="Be brief.", reasoning={"effort": effort}))
        assert got.output_text == wanted.content and got.instructions == "Be brief."
        thoughts = [item.content[0].text for item in got.output if item.type == "reasoning"]
        assert "".join(thoughts) == wanted.reasoning
        assert got.usage.input_tokens == wanted.usage.prompt_tokens
        assert got.usage.output_tokens == wanted.usage.completion_tokens
        assert got.usage.output_tokens_details.reasoning_tokens == wanted.reasoning_tokens
        cut = wanted.finish_reason == "length"
        assert got.status == ("incomplete" if cut else "completed")
        assert (got.incomplete_details.reason if cut else None) == ("max_output_tokens" if cut else None)


@pytest.mark.parametrize("effort", ["none", "high"])
def test_a_streamed_response_adds_up_to_the_whole(client, effort):
    fields = asked(reasoning={"effort": effort})
    wanted = client.responses.create(**fields)
    with client.responses.stream(**fields) as stream:
        events = list(stream)
    final = events[-1].response
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    texts = [[i.content[0].text for i in whole.output] for whole in (wanted, final)]
    assert texts[0] == texts[1] and final.usage.output_tokens == wanted.usage.output_tokens
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == wanted.output_text
    assert events[-1].type == f"response.{wanted.status}"


def test_calls_go_out_and_come_back(client):
    options = asked(max_output_tokens=200, tools=[TOOL], tool_choice="required", parallel_tool_calls=False, **PLAIN)
    got = client.responses.create(**options)
    (call,) = got.output
    assert (call.type, call.name, call.status, got.status) == ("function_call", "count", "completed", "completed")
    assert json.loads(call.arguments)["n"] in (7, 8)
    with client.responses.stream(**options) as stream:
        events = list(stream)
    (told,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert told.arguments == call.arguments
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "7 it is"}
    history = [{"role": "user", "content": "hello there"}, call.to_dict(), result]
    again = client.responses.create(**asked(input=history, tools=[TOOL], **PLAIN))
    assert again.usage.input_tokens > got.usage.input_tokens


def test_functions_of_a_namespace_and_tools_of_a_stranger(client):
    """As agents send them: the model calls the one, and is not offered the other."""
    tools = [{"type": "namespace", "name": "team", "tools": [TOOL]}, {"type": "web_search"}]
    options = asked(max_output_tokens=200, tools=tools, tool_choice="required", parallel_tool_calls=False, **PLAIN)
    got = client.responses.create(**options)
    (call,) = got.output
    assert (call.to_dict()["namespace"], call.name) == ("team", "count")
    assert [tool.type for tool in got.tools] == ["namespace"]
    with client.responses.stream(**options) as stream:
        done = [event.item for event in stream if event.type == "response.output_item.done"]
    assert done[0].to_dict()["namespace"] == "team"
    messages = response_options({"input": [call.to_dict()]})["messages"]
    assert messages[0]["tool_calls"][0]["function"]["name"] == "team.count"


def test_a_form_is_kept(client):
    form = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}
    got = client.responses.create(**asked(max_output_tokens=60, text=form, **PLAIN))
    assert json.loads(got.output_text)["n"] in (7, 8) and got.text.format.name == "n"


def test_items_of_one_reply_are_one_message():
    def call(index):
        return {"type": "function_call", "call_id": f"call_{index}", "name": "count", "arguments": '{"n": 7}'}

    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I count."}]},
        call(0),
        call(1),
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "8"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]},
        {"type": "message", "role": "assistant", "content": "Eight."},
        {"type": "message", "role": "assistant", "content": "Truly."},
    ]
    messages = response_options({"input": items})["messages"]
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "tool", "assistant", "assistant"]
    first, result, second = messages[2], messages[3], messages[4]
    assert (first["reasoning_content"], first["content"]) == ("hm", "I count.")
    assert [c["id"] for c in first["tool_calls"]] == ["functions.count:0", "functions.count:1"]
    assert result == {"role": "tool", "tool_call_id": "functions.count:1", "content": "8"}
    assert (second["reasoning_content"], second["content"]) == ("so", "Eight.")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"input": 5}, "input must be"),
        ({"input": [5]}, r"input\[0\] must be an object"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            r"^Error.*input\[0\].content\[0\].*no eyes",
        ),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        ({"input": [{"role": "king", "content": "x"}]}, "role of user"),
        ({"tools": [{"type": "computer", "name": "x"}]}, "only functions"),
        ({"tools": [{"type": "namespace", "name": "x"}]}, r"tools\[0\].tools must be"),
        ({"previous_response_id": "resp_1"}, "previous_response_id is not there"),
        ({"background": True}, "background is not there"),
        ({"max_output_tokens": 0}, "max_tokens"),
        ({"extra_body": {"surprise": 1}}, "unknown fields surprise"),
        ({"text": {"format": {"type": "xml"}}}, "response_format"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_a_bad_request(client, fields, told, stream):
    with pytest.raises(openai.BadRequestError, match=told):
        client.responses.create(**asked(**fields), stream=stream)


def test_odd_items_are_refused():
    for item in ({"type": "function_call_output"}, {"role": "user"}, {"type": 5}):
        with pytest.raises(MessageError):
            response_options({"input": [item]})
