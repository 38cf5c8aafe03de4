"""Pictures and sounds through all three protocols, whatever they come from, and what no client gets at."""

import base64
import json
from ipaddress import ip_network

import anthropic
import httpx
import pytest
from raw_server import Server, whole
from served import KEYS, client_of, served, tiny_model, until
from tiny_senses import picture, sensing_model, sound
from typer.testing import CliRunner

from perilune.cli.app import app
from perilune.media.fetch import Remote
from perilune.server import gate
from perilune.server.kept import Kept

QUESTION = "What is it?"
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("seeing"))


@pytest.fixture(scope="module")
def web():
    with Server() as made:
        made.answers["/a.png"] = whole(picture(1))
        yield made


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    made = Kept(tmp_path_factory.mktemp("gate") / "state")
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(model, kept, web):
    hosts = [f"pictures.example:{web.port}"]
    remote = Remote(hosts, resolve=lambda host, port: ["127.0.0.1"], allowed=[ip_network("127.0.0.1/32")])
    with served(model, keys=KEYS, kept=kept, remote=remote) as at:
        yield at


@pytest.fixture(scope="module")
def places(address, web):
    """One picture in every way that a client may name it."""
    made = client_of(address).files.create(file=("a.png", picture(1)), purpose="vision")
    return {"data": inline(picture(1)), "file": made.id, "url": web.url("/a.png")}


def inline(data, kind="image/png"):
    return f"data:{kind};base64,{plain(data)}"


def plain(data):
    return base64.b64encode(data).decode()


def chat(address, *parts, key=KEYS[0], path="/v1/chat/completions", **fields):
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [*parts, text("text")]}]
    body = {"messages": said, "max_tokens": 8, "thinking": {"type": "disabled"}, **GREEDY, **fields}
    return httpx.post(address + path, json=body, headers={"x-api-key": key}, timeout=60)


def text(kind):
    return {"type": kind, "text": QUESTION}


def refusal(answer):
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]["message"]


def wanted(model, *parts, system=True):
    said = [{"role": "system", "content": "Be brief."}] * system + [{"role": "user", "content": [*parts, text("text")]}]
    return model.chat(said, max_tokens=8, temperature=0, thinking=False)


def test_chats_show_a_picture_in_every_way(address, model, places):
    right = wanted(model, {"type": "image", "image": picture(1)})
    for part in (
        {"type": "image_url", "image_url": {"url": places["data"], "detail": "high"}},
        {"type": "image_url", "image_url": places["data"]},
        {"type": "image_url", "image_url": {"url": f"ms://{places['file']}"}},
        {"type": "image_url", "image_url": {"url": places["url"]}},
        {"type": "file", "file": {"file_id": places["file"]}},
        {"type": "file", "file": {"file_data": places["data"], "filename": "a.png"}},
    ):
        got = chat(address, part).json()
        assert got["choices"][0]["message"]["content"] == right.content
        assert got["usage"]["prompt_tokens"] == right.usage.prompt_tokens
        told = chat(address, part, path="/v1/tokenizers/estimate-token-count").json()
        assert told["data"]["total_tokens"] == right.usage.prompt_tokens


def test_chats_carry_sound(address, model):
    right = wanted(model, {"type": "audio", "audio": sound(440)})
    got = chat(address, {"type": "input_audio", "input_audio": {"data": plain(sound(440)), "format": "wav"}}).json()
    assert got["choices"][0]["message"]["content"] == right.content
    assert got["usage"]["prompt_tokens"] == right.usage.prompt_tokens


def test_responses_show_a_picture_in_every_way(address, model, places):
    right = wanted(model, {"type": "image", "image": picture(1)}, system=False)
    client = client_of(address)
    for part in (
        {"type": "input_image", "image_url": places["data"], "detail": "auto"},
        {"type": "input_image", "file_id": places["file"], "detail": "auto"},
        {"type": "input_image", "image_url": places["url"], "detail": "auto"},
        {"type": "input_file", "file_id": places["file"]},
        {"type": "input_file", "file_data": places["data"], "filename": "a.png"},
    ):
        said = [{"role": "user", "content": [part, text("input_text")]}]
        got = client.responses.create(
            model="tiny", input=said, max_output_tokens=8, temperature=0, reasoning={"effort": "none"}
        )
        assert (got.output_text, got.usage.input_tokens) == (right.content, right.usage.prompt_tokens)
        more = [{"role": "user", "content": "And now?"}]
        again = client.responses.create(
            model="tiny", input=more, previous_response_id=got.id, max_output_tokens=8, temperature=0
        )
        assert again.usage.input_tokens > right.usage.prompt_tokens


def test_messages_show_a_picture_in_every_way(address, model, places):
    right = wanted(model, {"type": "image", "image": picture(1)})
    with anthropic.Anthropic(base_url=address, api_key=KEYS[0], max_retries=0) as client:
        for kind, source in (
            ("image", {"type": "base64", "media_type": "image/png", "data": plain(picture(1))}),
            ("image", {"type": "file", "file_id": places["file"]}),
            ("image", {"type": "url", "url": places["url"]}),
            ("document", {"type": "file", "file_id": places["file"]}),
        ):
            said = [{"role": "user", "content": [{"type": kind, "source": source}, text("text")]}]
            given = {"model": "tiny", "system": "Be brief.", "messages": said}
            got = client.messages.create(**given, max_tokens=8, extra_body=GREEDY)
            assert "".join(block.text for block in got.content) == right.content
            count = got.usage.input_tokens + got.usage.cache_read_input_tokens
            assert count == client.messages.count_tokens(**given).input_tokens == right.usage.prompt_tokens


def test_tools_return_pictures(address, places):
    schema = {"type": "object", "properties": {}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    source = {"type": "base64", "media_type": "image/png", "data": plain(picture(1))}

    def tokens(content):
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
        said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [call]}]
        body = {
            "messages": [*said, {"role": "user", "content": [result]}],
            "tools": [{"name": "look", "input_schema": schema}],
        }
        answer = httpx.post(
            address + "/v1/messages/count_tokens", json=body, headers={"x-api-key": KEYS[0]}, timeout=60
        )
        return answer.json()["input_tokens"]

    seen = tokens([text("text"), {"type": "image", "source": source}]) - tokens(QUESTION)
    calls = [{"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}]
    output = [text("input_text"), {"type": "input_image", "file_id": places["file"]}]
    client = client_of(address)

    def input_tokens(output):
        said = [*calls, {"type": "function_call_output", "call_id": "c", "output": output}]
        return client.responses.create(model="tiny", input=said, max_output_tokens=1).usage.input_tokens

    assert seen == input_tokens(output) - input_tokens(QUESTION) > 6


def test_documents_that_are_text_become_text(address, model):
    right = wanted(model, {"type": "text", "text": "It was a fox.\n"})
    for source in (
        {"type": "text", "media_type": "text/plain", "data": "It was a fox."},
        {"type": "base64", "media_type": "text/plain", "data": plain(b"It was a fox.\n")},
    ):
        said = [{"role": "user", "content": [{"type": "document", "source": source}, text("text")]}]
        body = {"system": "Be brief.", "messages": said, "max_tokens": 8, **GREEDY}
        answer = httpx.post(address + "/v1/messages", json=body, headers={"x-api-key": KEYS[0]}, timeout=60).json()
        assert answer["usage"]["input_tokens"] + answer["usage"]["cache_read_input_tokens"] == right.usage.prompt_tokens
    made = client_of(address).files.create(file=("a.txt", b"It was a fox.\n"), purpose="user_data")
    got = chat(address, {"type": "file", "file": {"file_id": made.id}}).json()
    assert got["usage"]["prompt_tokens"] == right.usage.prompt_tokens
    pdf = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": plain(b"%PDF-1\xff")},
    }
    body = {"messages": [{"role": "user", "content": [pdf]}], "max_tokens": 8}
    answer = httpx.post(address + "/v1/messages", json=body, headers={"x-api-key": KEYS[0]}, timeout=60)
    assert "messages[0].content[0]: the file is neither a picture" in refusal(answer)


def test_another_key_s_file_is_no_file(address, places):
    part = {"type": "image_url", "image_url": {"url": f"ms://{places['file']}"}}
    for given in (part, {"type": "file", "file": {"file_id": places["file"]}}):
        told = refusal(chat(address, given, key=KEYS[1]))
        assert told == f"messages[1].content[0]: no file is called {places['file']!r} here"
    assert refusal(chat(address, {"type": "image_url", "image_url": "ms://file-0"})).endswith("'file-0' here")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/tokenizers/estimate-token-count"])
@pytest.mark.parametrize(
    "place",
    [
        "{0}",
        "file://{0}",
        "FILE://{0}",
        "file:{0}",
        "ms://{0}",
        "ms://../../{0}",
        "ms://..",
        "ms://",
        "~",
        "//{0}",
        "{0}\0",
    ],
)
def test_no_client_reads_a_path(address, tmp_path, path, place):
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(3))
    for part in (
        {"type": "image_url", "image_url": place.format(secret)},
        {"type": "image", "image": {"url": place.format(secret)}},
        {"type": "file", "file": {"file_id": place.format(secret)}},
    ):
        told = refusal(chat(address, part, path=path))
        assert "paths are not read" in told or "no file is called" in told


def test_the_other_protocols_and_batches_read_no_path_either(address, tmp_path):
    (tmp_path / "a.png").write_bytes(picture(3))
    place, key = str(tmp_path / "a.png"), {"x-api-key": KEYS[0]}
    source = {"type": "image", "source": {"type": "url", "url": place}}
    body = {"messages": [{"role": "user", "content": [source]}], "max_tokens": 8}
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        assert "paths are not read" in refusal(httpx.post(address + path, json=body, headers=key, timeout=60))
    body = {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": place}]}]}
    told = refusal(httpx.post(address + "/v1/responses", json=body, headers=key, timeout=60))
    assert told.startswith("input[0].content[0]: ") and "paths are not read" in told

    client, part = client_of(address), {"type": "image_url", "image_url": place}
    messages = [{"role": "user", "content": [part]}]
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": messages}}
    made = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    given = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = client.batches.create(input_file_id=made.id, **given)
    until(lambda: client.batches.retrieve(batch.id).status == "completed", 60)
    failed = client.files.content(client.batches.retrieve(batch.id).error_file_id).text
    assert "paths are not read" in failed


def test_batches_show_pictures_that_are_kept(address, places):
    client = client_of(address)
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": f"ms://{places['file']}"}]}]
    body = {"messages": messages, "max_tokens": 4}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    made = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h")
    until(lambda: client.batches.retrieve(batch.id).status == "completed", 60)
    assert client.batches.retrieve(batch.id).request_counts.completed == 1


def test_an_address_is_asked_once_for_several_answers_and_also_when_it_fails(address, web):
    web.answers["/once.png"] = whole(picture(5))
    for path, status in (("/once.png", 200), ("/missing.png", 400)):
        web.answers.setdefault(path, [b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"])
        before = len(web.asked)
        part = {"type": "image_url", "image_url": web.url(path)}
        assert chat(address, part, n=4, temperature=1).status_code == status
        assert len(web.asked) == before + 1


def test_what_is_fetched_for_a_request_is_bounded_in_all(address, web, monkeypatch):
    web.answers |= {"/x.png": whole(picture(6)), "/y.png": whole(picture(7))}
    parts = [{"type": "image_url", "image_url": web.url(path)} for path in ("/x.png", "/y.png")]
    assert chat(address, *parts).status_code == 200
    monkeypatch.setattr(gate, "MAX_FETCH_SECONDS", 0.0)
    assert "did not answer in full within 0 seconds" in refusal(chat(address, *parts))
    monkeypatch.undo()
    monkeypatch.setattr(gate, "MAX_FETCHED_TOTAL", len(picture(6)) + 10)
    assert "messages[1].content[1]: the image is larger than 10 bytes" in refusal(chat(address, *parts))


def test_other_hosts_are_not_asked(address):
    for place in ("https://other.example/a.png", "http://127.0.0.1/a.png", "http://169.254.169.254/latest"):
        assert "does not allow that host" in refusal(chat(address, {"type": "image_url", "image_url": place}))


def test_without_leave_nothing_is_fetched_and_without_a_folder_there_are_no_files(model, web):
    before = len(web.asked)
    with served(model, keys=KEYS) as at:
        assert "fetches nothing" in refusal(chat(at, {"type": "image_url", "image_url": web.url("/a.png")}))
        assert "no file is called" in refusal(chat(at, {"type": "image_url", "image_url": "ms://file-1"}))
        assert chat(at, {"type": "image_url", "image_url": inline(picture(1))}).status_code == 200
    assert len(web.asked) == before


def test_a_model_without_senses_refuses_before_anything_is_fetched(tmp_path, web):
    before, remote = len(web.asked), Remote([f"pictures.example:{web.port}"])
    place = web.url("/a.png")
    with served(tiny_model(tmp_path / "blind"), keys=KEYS, remote=remote) as at:
        key = {"x-api-key": KEYS[0]}
        for part, lacks in (
            ({"type": "image_url", "image_url": place}, "eyes"),
            ({"type": "video_url", "video_url": {"url": place}}, "eyes"),
            ({"type": "input_audio", "input_audio": {"data": "no base64", "format": "wav"}}, "ears"),
        ):
            assert f"messages[1].content[0]: this model has no {lacks}" in refusal(chat(at, part))
        source = {"type": "image", "source": {"type": "url", "url": place}}
        body = {"system": "S", "messages": [{"role": "user", "content": [source]}], "max_tokens": 8}
        told = refusal(httpx.post(at + "/v1/messages", json=body, headers=key, timeout=60))
        assert told.startswith("messages[0].content[0]: this model has no eyes")
        body = {
            "instructions": "I",
            "input": [{"role": "user", "content": [{"type": "input_image", "image_url": place}]}],
        }
        told = refusal(httpx.post(at + "/v1/responses", json=body, headers=key, timeout=60))
        assert told.startswith("input[0].content[0]: this model has no eyes")
        listed = httpx.get(at + "/v1/models", headers=key).json()["data"][0]
        assert (listed["supports_image_in"], listed["supports_video_in"]) == (False, False)
    assert len(web.asked) == before


def test_serve_names_a_host_that_is_none():
    result = CliRunner().invoke(app, ["serve", "--allow-remote-media", "https://pictures.example/"])
    assert result.exit_code != 0 and "is no host" in str(result.exception) + result.output
