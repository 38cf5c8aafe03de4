"""Whatever a client can size has a cap: one over it is refused with what is allowed, and the server goes on."""

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from served import served, tiny_model

from perilune.api.embeddings import MOST_TEXTS
from perilune.api.openai import MOST_CHOICES
from perilune.api.responses import LONGEST_NAME, LONGEST_VALUE, MOST_PAIRS
from perilune.engine import types
from perilune.media.parts import MAX_ITEMS
from perilune.server import batches, files
from perilune.server.guard import LONGEST_TARGET, MOST_BODY_BYTES, MOST_HEADER_BYTES, MOST_HEADERS
from perilune.server.kept import MOST_LISTED, Kept
from perilune.text.chat import MAX_CALLS, MAX_MESSAGES, MAX_PARTS
from perilune.text.checks import MAX_DEPTH
from perilune.text.declare import MAX_TOOLS
from perilune.text.shape import MAX_CHOICES, MAX_GRAMMAR

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
USER = {"role": "user", "content": "hi"}
PART = {"type": "text", "text": ""}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ITEM_CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
IMAGE = {"type": "image", "source": {"type": "file", "file_id": "f"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OVER = "x" * (MAX_GRAMMAR + 1)


def nested(depth):
    schema = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def calls(count):
    return [USER, {"role": "assistant", "content": "", "tool_calls": [CALL] * count}]


def blocks(count, part=PART):
    return [{"role": "user", "content": [part] * count}]


# What is sent beside the least that a request needs, and what the refusal says.
CHATS = {
    "messages": ({"messages": [USER] * (MAX_MESSAGES + 1)}, "the limit is 65536"),
    "parts": ({"messages": blocks(MAX_PARTS + 1)}, "the limit is 65536"),
    "media": ({"messages": blocks(MAX_ITEMS + 1, {"type": "image", "image": "ms://f"})}, "may have 256 media"),
    "calls": ({"messages": calls(MAX_CALLS + 1)}, "the limit is 4096"),
    "tools": ({"tools": [TOOL] * (MAX_TOOLS + 1)}, "the limit is 1024"),
    "depth of a tool": ({"tools": [{**TOOL, "function": nested(MAX_DEPTH + 1)}]}, "deeper than 100 levels"),
    "stop strings": ({"stop": ["x"] * (types.MAX_STOP_STRINGS + 1)}, "at most 16 strings"),
    "stop string": ({"stop": "x" * (types.MAX_STOP_CHARACTERS + 1)}, "1 to 256 characters"),
    "biases": ({"logit_bias": {str(i): 0 for i in range(types.MAX_BIASED + 1)}}, "at most 1024 tokens"),
    "bias": ({"logit_bias": {"1": types.MAX_BIAS + 1}}, "from -100 to 100"),
    "n": ({"n": MOST_CHOICES + 1}, "from 1 to 16"),
    "best_of": ({"best_of": 2}, "unknown fields best_of"),
    "top_logprobs": ({"logprobs": True, "top_logprobs": types.MAX_TOP_LOGPROBS + 1}, "from 0 to 20"),
    "max_tokens": ({"max_tokens": types.MAX_NEW_TOKENS + 1}, "from 1 to 10000000"),
    "max_tokens of a context": ({"max_tokens": 512}, "context holds 512"),
    "prompt": ({"messages": [{"role": "user", "content": "x" * 512}]}, "context holds 512"),
    "seed": ({"seed": types.MAX_SEED + 1}, "seed must be"),
    "top_k": ({"top_k": 2**31}, "top_k must be"),
    "temperature": ({"temperature": 2.01}, "from 0 to 2"),
    "priority": ({"priority": types.MAX_PRIORITY + 1}, "from 0 to 100"),
    "choices": ({"structured_outputs": {"choice": ["x"] * (MAX_CHOICES + 1)}}, "1 to 1024 texts"),
    "regular expression": ({"structured_outputs": {"regex": OVER}}, "at most 128 KiB"),
    "grammar": ({"structured_outputs": {"grammar": f'start: "{OVER}"'}}, "more than 128 KiB"),
    "schema": ({"structured_outputs": {"json": {"const": OVER}}}, "more than 128 KiB"),
    "depth of a schema": ({"structured_outputs": {"json": nested(MAX_DEPTH + 1)}}, "deeper than 100 levels"),
    "model": ({"model": "x" * 10_000}, "no model is called"),
}
BLOCKS = {
    "messages": ({"messages": [USER] * (MAX_MESSAGES + 1)}, "the limit is 65536"),
    "blocks": ({"messages": blocks(MAX_PARTS + 1)}, "the limit is 65536"),
    "media": ({"messages": blocks(MAX_ITEMS + 1, IMAGE)}, "may have 256 media"),
    "system": ({"system": [PART] * (MAX_PARTS + 1)}, "the limit is 65536"),
    "stop sequences": ({"stop_sequences": ["x"] * (types.MAX_STOP_STRINGS + 1)}, "at most 16 strings"),
    "tools": ({"tools": [{"name": "f", "input_schema": {}}] * (MAX_TOOLS + 1)}, "the limit is 1024"),
    "max_tokens": ({"max_tokens": types.MAX_NEW_TOKENS + 1}, "from 1 to 10000000"),
}
ITEMS = {
    "items": ({"input": [USER] * (MAX_MESSAGES + 1)}, "the limit is 65536"),
    "calls": ({"input": [ITEM_CALL] * (MAX_CALLS + 1)}, "the limit is 4096"),
    "parts": ({"input": [{"role": "user", "content": [PART] * (MAX_PARTS + 1)}]}, "the limit is 65536"),
    "media": ({"input": blocks(MAX_ITEMS + 1, {"type": "input_image", "file_id": "f"})}, "may have 256 media"),
    "tools": ({"tools": [{"type": "function", "name": "f"}] * (MAX_TOOLS + 1)}, "the limit is 1024"),
    "metadata": ({"metadata": {str(i): "" for i in range(MOST_PAIRS + 1)}}, "16 names"),
    "name in metadata": ({"metadata": {"x" * (LONGEST_NAME + 1): ""}}, "up to 64 characters"),
    "value in metadata": ({"metadata": {"x": "x" * (LONGEST_VALUE + 1)}}, "up to 512"),
    "metadata of another kind": ({"metadata": {"x": ["x"]}}, "an object of texts"),
    "max_output_tokens": ({"max_output_tokens": types.MAX_NEW_TOKENS + 1}, "from 1 to 10000000"),
}
OTHERS = {
    "texts": ("/v1/embeddings", {"input": ["x"] * (MOST_TEXTS + 1)}, "1 to 2048 texts"),
    "metadata of a batch": (
        "/v1/batches",
        {"endpoint": CHAT, "completion_window": "24h", "metadata": {"x": "x" * (1 << 16)}},
        "small object",
    ),
}
CASES = {
    **{f"{name} (chat)": (CHAT, {"messages": [USER], **fields}, told) for name, (fields, told) in CHATS.items()},
    **{
        f"{name} (messages)": (MESSAGES, {"messages": [USER], "max_tokens": 4, **fields}, told)
        for name, (fields, told) in BLOCKS.items()
    },
    **{f"{name} (responses)": (RESPONSES, {"input": "hi", **fields}, told) for name, (fields, told) in ITEMS.items()},
    **OTHERS,
}

COUNTED = [f"{what} (chat)" for what in ("messages", "parts", "calls", "tools", "depth of a tool")]
COUNTED += [f"{what} (messages)" for what in ("messages", "blocks", "system", "tools")]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    kept = Kept(folder / "state")
    with served(tiny_model(folder / "model"), kept=kept) as at, httpx.Client(base_url=at, timeout=120) as made:
        yield made
    kept.close()


def lives(client):
    good = client.post(CHAT, json={"messages": [USER], "max_tokens": 1, "temperature": 0})
    return good.status_code == 200 and good.json()["usage"]["completion_tokens"] == 1


def refused(answer, told, *statuses):
    assert answer.status_code in statuses, answer.text[:300]
    message = answer.json()["error"]["message"]
    assert told in message and len(message) < 2000
    return True


@pytest.mark.parametrize("name", CASES)
def test_one_over_a_cap_is_refused(client, name):
    path, body, told = CASES[name]
    assert refused(client.post(path, json=body), told, 404 if name.startswith("model ") else 400) and lives(client)


@pytest.mark.parametrize("name", COUNTED)
def test_counting_tokens_has_the_same_caps(client, name):
    path, body, told = CASES[name]
    counts = {CHAT: "/v1/tokenizers/estimate-token-count", MESSAGES: "/v1/messages/count_tokens"}
    assert refused(client.post(counts[path], json=body), told, 400) and lives(client)


def test_the_caps_themselves_are_allowed(client):
    body = {
        "messages": [USER],
        "max_tokens": 1,
        "n": MOST_CHOICES,
        "stop": ["x" * types.MAX_STOP_CHARACTERS] * types.MAX_STOP_STRINGS,
        "logit_bias": {str(i): types.MAX_BIAS for i in range(200)},
        "logprobs": True,
        "top_logprobs": types.MAX_TOP_LOGPROBS,
        "priority": types.MAX_PRIORITY,
        "seed": types.MAX_SEED,
    }
    assert client.post(CHAT, json=body).status_code == 200
    metadata = {f"{i:064}": "x" * LONGEST_VALUE for i in range(MOST_PAIRS)}
    got = client.post(RESPONSES, json={"input": "hi", "max_output_tokens": 1, "metadata": metadata})
    assert got.status_code == 200 and got.json()["metadata"] == metadata


@pytest.mark.parametrize(
    ("request_of", "status", "told"),
    [
        (lambda: {"url": "/v1/models", "headers": {f"x-{i}": "1" for i in range(MOST_HEADERS + 1)}}, 431, "headers"),
        (lambda: {"url": "/v1/models", "headers": {"x-long": "x" * MOST_HEADER_BYTES}}, 431, "headers"),
        (lambda: {"url": "/v1/files", "params": {"after": "x" * LONGEST_TARGET}}, 414, "path and its query"),
        (lambda: {"url": "/v1/models/" + "x" * LONGEST_TARGET}, 414, "path and its query"),
        (lambda: {"url": "/v1/models/" + "x" * (LONGEST_TARGET - 100)}, 404, "no model is called"),
        (lambda: {"url": "/v1/files", "params": {"limit": MOST_LISTED + 1}}, 400, "from 1 to 1000"),
        (lambda: {"url": "/v1/files", "params": {"limit": "9" * 5000}}, 400, "from 1 to 1000"),
    ],
    ids=["headers", "header bytes", "query", "path", "a long path", "files on a page", "digits"],
)
def test_heads_have_caps(client, request_of, status, told):
    assert refused(client.get(**request_of()), told, status) and lives(client)


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (lambda: b" " * (MOST_BODY_BYTES + 1), 413, "larger than 64 MiB"),
        (lambda: b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "not JSON"),
        (lambda: b'{"seed": ' + b"9" * 5000 + b"}", 400, "not JSON"),
        (lambda: json.dumps({f"x{i}": 0 for i in range(100_000)}).encode(), 400, "unknown fields"),
    ],
    ids=["bytes", "depth", "digits", "fields"],
)
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES, "/v1/embeddings"])
def test_bodies_have_caps(client, path, content, status, told):
    answer = client.post(path, content=content(), headers={"content-type": "application/json"})
    assert refused(answer, told, status) and lives(client)


def test_a_head_without_an_end_is_not_held(client):
    """It never becomes a request; what is sent stays bounded all the same."""
    at = urlsplit(str(client.base_url))
    with socket.create_connection((at.hostname, at.port), timeout=60) as sent:
        sent.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
        answer = b""
        try:
            for _ in range(1000):
                sent.sendall(b"x: " + b"y" * 4096 + b"\r\n")
            answer = sent.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            answer = answer or b"HTTP/1.1 400 closed"
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")) and lives(client)


def part(name, value, more=""):
    return f'--cut\r\ncontent-disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


FILE = part("file", "{}", '; filename="a.jsonl"')
FORMS = {
    "fields": part("x", "1") * 17 + FILE,
    "files": FILE * 2,
    "a field": part("purpose", "x" * (files.FORM_BYTES + 1)) + FILE,
    "headers of a part": part("file", "{}", '; filename="a"\r\n' + "\r\n".join(f"x-{i}: 1" for i in range(100))),
    "a header of a part": part("file", "{}", f'; filename="{"x" * (1 << 20)}"'),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_have_caps(client, name):
    form = (FORMS[name] + part("purpose", "batch") + "--cut--\r\n").encode()
    headers = {"content-type": "multipart/form-data; boundary=cut"}
    assert refused(client.post("/v1/files", content=form, headers=headers), "cannot be read", 400) and lives(client)


def test_uploads_and_what_batches_read_have_caps(client, monkeypatch):
    form = {"data": {"purpose": "batch"}, "files": {"file": ("x" * 1000, b"x" * 2000)}}
    made = client.post("/v1/files", **form).json()
    assert len(made["filename"]) == files.MOST_NAME
    monkeypatch.setattr(batches, "MOST_INPUT_BYTES", 1999)
    body = {"input_file_id": made["id"], "endpoint": CHAT, "completion_window": "24h"}
    assert refused(client.post("/v1/batches", json=body), "a batch reads files of up to", 400)
    monkeypatch.setattr(files, "MOST_FILE_BYTES", 1000)
    monkeypatch.setattr(files, "FORM_BYTES", 500)
    assert refused(client.post("/v1/files", **form), "larger than", 413) and lives(client)
