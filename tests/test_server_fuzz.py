"""Bodies that are almost right, with something odd in one or two places: an answer or a refusal, and never a fault."""

import base64
import copy
import json
import random

import httpx
import pytest
from served import served, tiny_model
from tiny_senses import picture, sensing_model, sound

from perilune.server.kept import Kept

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
CUSTOM = {"name": "patch", "format": {"type": "grammar", "syntax": "regex", "definition": "[ab]+"}}
FUNCTION = {"name": "count", "description": "Counts.", "parameters": SCHEMA, "strict": True}
CALL = {"id": "call_1", "type": "function", "function": {"name": "count", "arguments": '{"n": 1}'}}
CHAT = {
    "model": "tiny",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}, {"type": "custom", "custom": CUSTOM}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    "thinking": {"type": "disabled"},
    "max_tokens": 4,
    "temperature": 0.5,
    "stop": ["x"],
    "seed": 1,
}
MESSAGES = {
    "model": "tiny",
    "max_tokens": 4,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "count", "input": {"n": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}]},
    ],
    "tools": [{"name": "count", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "count"},
    "output_config": {},
    "stop_sequences": ["x"],
}
RESPONSES = {
    "model": "tiny",
    "max_output_tokens": 4,
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c", "name": "count", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "custom_tool_call", "call_id": "d", "name": "patch", "input": "ab"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": "1"},
    ],
    "tools": [
        {"type": "function", **FUNCTION},
        {"type": "custom", **CUSTOM},
        {"type": "namespace", "name": "team", "tools": [FUNCTION]},
    ],
    "tool_choice": {"type": "function", "name": "count"},
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "none"},
}
EMBEDDINGS = {
    "model": "tiny",
    "input": ["hi", "there"],
    "encoding_format": "base64",
    "dimensions": 4,
    "user": "me",
}
BATCH = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {}}
ODD = [
    *(
        None,
        True,
        False,
        0,
        -1,
        3.5,
        1e308,
        10**40,
        float("nan"),
        float("inf"),
        "",
        "x" * 5000,
        "\ud800",
        "\x00",
        "<|im_end|>",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"type": "text"},
        {"type": []},
        {"$ref": "#"},
        [[[[[[1]]]]]],
        ["a", 1, {}],
        "none",
    ),
]
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/tokenizers/estimate-token-count": CHAT,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/responses": RESPONSES,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/batches": BATCH,
}


PICTURE, SOUND = (base64.b64encode(data).decode() for data in (picture(1), sound(440, 0.1)))
PLACE = f"data:image/png;base64,{PICTURE}"
SOURCE = {"type": "base64", "media_type": "image/png", "data": PICTURE}
DOCUMENT = {"type": "text", "media_type": "text/plain", "data": "a fox"}
PARTS = [
    {"type": "image_url", "image_url": {"url": PLACE, "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
    {"type": "file", "file": {"file_data": "data:text/plain;base64,YQ==", "filename": "a.txt"}},
]
BLOCKS = [{"type": "image", "source": SOURCE}, {"type": "document", "title": "T", "source": DOCUMENT}]
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": BLOCKS[:1]}
ITEMS = [
    {"type": "input_image", "image_url": PLACE, "detail": "auto"},
    {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
    {"type": "input_file", "file_data": "data:text/plain;base64,YQ==", "filename": "a.txt"},
]
WITH_MEDIA = {
    "/v1/chat/completions": {"max_tokens": 2, "messages": [{"role": "user", "content": PARTS}]},
    "/v1/tokenizers/estimate-token-count": {"messages": [{"role": "user", "content": PARTS}]},
    "/v1/messages": {"max_tokens": 2, "messages": [{"role": "user", "content": [*BLOCKS, RESULT]}]},
    "/v1/responses": {"max_output_tokens": 2, "input": [{"role": "user", "content": ITEMS}]},
}
ODD_PLACES = ["data:image/png;base64,", "data:,x", "ms://x", "file:///etc/passwd", "http://127.0.0.1/", "/etc/passwd"]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    yield from clients(tiny_model(folder / "model", context=4096), folder)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeing")
    yield from clients(sensing_model(folder / "model"), folder)


def clients(model, folder):
    kept = Kept(folder / "state")
    with served(model, kept=kept) as at, httpx.Client(base_url=at, timeout=120) as made:
        yield made
    kept.close()


def places(value, found):
    """Every (container, key) inside a value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        found.append((value, key))
        places(value[key], found)
    return found


def mutated(body, rng, odd=ODD):
    made = copy.deepcopy(body)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        container, key = rng.choice(places(made, []))
        what = rng.random()
        if what < 0.15:
            del container[key]
        elif what < 0.25 and isinstance(container, list):
            container.append(copy.deepcopy(rng.choice(container)))
        elif what < 0.3 and isinstance(container, dict):
            container["odd" + str(key)] = container.pop(key)
        else:
            container[key] = copy.deepcopy(rng.choice(odd))
        if not places(made, []):
            break
    if body is not EMBEDDINGS:
        made["stream"] = rng.random() < 0.3
    return made


@pytest.mark.parametrize("path", BODIES)
def test_no_body_brings_a_fault(client, path):
    seen = answers(client, path, BODIES[path], ODD)
    assert seen.get(400, 0) > 10 and (seen.get(200, 0) > 3 or path == "/v1/batches")


@pytest.mark.parametrize("path", WITH_MEDIA)
def test_no_body_with_media_brings_a_fault(seeing, path):
    seen = answers(seeing, path, WITH_MEDIA[path], ODD + ODD_PLACES)
    assert seen.get(400, 0) > 10 and seen.get(200, 0) > 3


def answers(client, path, whole, odd):
    """How many answers had each status."""
    rng, seen = random.Random(path), {}
    for _ in range(150):
        body = json.dumps(mutated(whole, rng, odd))
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, (answer.text, body)
        if answer.status_code >= 400:
            assert answer.json()["error"]["message"], body
        else:
            assert b"server_error" not in answer.content and b"api_error" not in answer.content, (answer.text, body)
    return seen


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", [*BODIES, "/v1/files", "/v1/models/x", "/metrics", "/", "/v1/files/x/content", "/%00"])
def test_no_method_brings_a_fault(client, method, path):
    assert client.request(method, path).status_code < 500
    assert client.get("/health").status_code == 200
