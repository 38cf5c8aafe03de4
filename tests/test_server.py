"""A real server and real clients: OpenAI's SDK and plain HTTP, good requests, bad ones, and those that leave."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from served import served, tiny_model, until

from perilune.engine.scheduler import Sequence
from perilune.errors import RequestError
from perilune.server import guard
from perilune.server.guard import is_loopback, new_key, read_keys

ASKED = [{"role": "user", "content": "hello there"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def address(model):
    with served(model) as at:
        yield at


@pytest.fixture
def client(address):
    with openai.OpenAI(base_url=address + "/v1", api_key="none", max_retries=0) as made:
        yield made


def body(**fields):
    return {"model": "tiny", "messages": ASKED, "max_tokens": 8, "temperature": 0, **fields}


def test_models_are_listed(client):
    assert [one.id for one in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="there is 'tiny'"):
        client.models.retrieve("gpt")


def test_a_whole_reply_is_that_of_the_model(client, model):
    wanted = model.chat(ASKED, max_tokens=12, temperature=0)
    got = client.chat.completions.create(**body(max_tokens=12))
    assert (got.choices[0].message.content, got.choices[0].finish_reason) == (wanted.content, wanted.finish_reason)
    assert (got.choices[0].message.model_extra.get("reasoning_content") or "") == (wanted.reasoning or "")
    assert got.usage.prompt_tokens == wanted.usage.prompt_tokens
    assert got.usage.completion_tokens == wanted.usage.completion_tokens
    assert got.usage.prompt_tokens_details.cached_tokens == got.usage.model_extra["cached_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_spell_the_answer(client, model, stream):
    extra = {"thinking": {"type": "disabled"}}
    asked = body(max_tokens=12, logprobs=True, top_logprobs=3)
    got = client.chat.completions.create(**asked, stream=stream, extra_body=extra)
    choices = [chunk.choices[0] for chunk in got] if stream else [got.choices[0]]
    weighed = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]
    wanted = model.chat(ASKED, max_tokens=12, temperature=0, logprobs=3, thinking=False)
    assert b"".join(bytes(token.bytes) for token in weighed).decode(errors="replace") == wanted.content != ""
    plain = [token.logprob for token in wanted.tokens if model.tokenizer.special_name(token.id) is None]
    assert [token.logprob for token in weighed] == pytest.approx(plain, rel=1e-5)
    for token in weighed:
        best = token.top_logprobs[0]
        assert len(token.top_logprobs) == 3 and (best.bytes, best.logprob) == (token.bytes, token.logprob)


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_to_one_request(client, model, stream):
    """Each is what its own seed gives alone; a prompt is counted once."""
    asked = body(max_tokens=6, temperature=1, seed=5)
    wanted = [model.chat(ASKED, max_tokens=6, temperature=1, seed=5 + i).reasoning for i in range(3)]
    made = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    got = client.chat.completions.create(**asked, n=3, **made)
    if stream:
        chunks = list(got)
        choices, usage = [choice for chunk in chunks for choice in chunk.choices], chunks[-1].usage
        told = {i: "" for i in range(3)}
        for choice in choices:
            told[choice.index] += (choice.delta.model_extra or {}).get("reasoning_content") or ""
        assert sorted(choice.index for choice in choices if choice.finish_reason) == [0, 1, 2]
    else:
        told = {c.index: c.message.model_extra.get("reasoning_content") or "" for c in got.choices}
        usage = got.usage
    assert [told[i] for i in range(3)] == wanted and len(set(wanted)) > 1
    assert usage.completion_tokens == 18
    assert usage.prompt_tokens == model.chat(ASKED, max_tokens=1).usage.prompt_tokens


def test_reasoning_and_those_who_do_not_ask_are_told_none(client):
    got = client.chat.completions.create(**body(max_tokens=4, logprobs=True))
    assert got.choices[0].message.content == "" and got.choices[0].logprobs.content == []
    assert client.chat.completions.create(**body(max_tokens=4)).choices[0].logprobs is None


def test_a_bias_forbids_a_token_and_forces_another(client, model):
    first = model.chat(ASKED, max_tokens=1, temperature=0, thinking=False).tokens[0].id
    extra = {"thinking": {"type": "disabled"}}
    forbidden = client.chat.completions.create(**body(logit_bias={first: -100}, logprobs=True), extra_body=extra)
    spelled = model.tokenizer.decode_bytes([first])
    assert all(bytes(token.bytes) != spelled for token in forbidden.choices[0].logprobs.content)
    forced = client.chat.completions.create(**body(logit_bias={str(first): 100}, max_tokens=5), extra_body=extra)
    assert forced.choices[0].message.content == model.tokenizer.decode([first] * 5)


def test_a_streamed_reply_adds_up_to_the_whole(client, model):
    for thinking in (True, False):
        wanted = model.chat(ASKED, max_tokens=16, temperature=0, thinking=thinking)
        extra = {"thinking": {"type": "enabled" if thinking else "disabled"}}
        stream = client.chat.completions.create(
            **body(max_tokens=16), stream=True, stream_options={"include_usage": True}, extra_body=extra
        )
        chunks = list(stream)
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        assert deltas[0].role == "assistant"
        assert "".join(d.content or "" for d in deltas) == wanted.content
        assert "".join(d.model_extra.get("reasoning_content") or "" for d in deltas) == (wanted.reasoning or "")
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == wanted.finish_reason
        assert chunks[-1].usage.completion_tokens == wanted.usage.completion_tokens
        assert len({chunk.id for chunk in chunks}) == 1


def test_many_at_once_get_what_each_gets_alone(client, model):
    asked = [[{"role": "user", "content": f"number {i}"}] for i in range(6)]
    wanted = [model.chat(one, max_tokens=10, temperature=0).content for one in asked]
    with ThreadPoolExecutor(6) as team:
        got = team.map(lambda one: client.chat.completions.create(**body(messages=one, max_tokens=10)), asked)
    assert [one.choices[0].message.content for one in got] == wanted


def test_answers_and_calls_take_the_form_asked_for(client):
    schema = {"type": "object", "properties": {"n": {"enum": [7, 8]}}, "required": ["n"], "additionalProperties": False}
    plain = {"extra_body": {"thinking": {"type": "disabled"}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    got = client.chat.completions.create(**body(max_tokens=60), response_format=form, **plain)
    assert json.loads(got.choices[0].message.content)["n"] in (7, 8)
    tool = {"type": "function", "function": {"name": "count", "parameters": schema}}
    options = {**body(max_tokens=200, tools=[tool]), "parallel_tool_calls": False, **plain}
    for choice in ("required", {"type": "function", "function": {"name": "count"}}):
        got = client.chat.completions.create(**options, tool_choice=choice).choices[0]
        assert got.finish_reason == "tool_calls" and got.message.tool_calls[0].function.name == "count"
        assert json.loads(got.message.tool_calls[0].function.arguments)["n"] in (7, 8)
    chunks = client.chat.completions.create(**options, tool_choice="required", stream=True)
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert json.loads("".join(call.function.arguments for call in deltas))["n"] in (7, 8)


def test_nothing_of_a_reply_is_kept_by_a_ring(address):
    """Rings wait for the collector, which comes seldom to a process as large as a model's: memory would grow."""
    gc.collect()
    gc.disable()
    try:
        before = sum(type(one) is Sequence for one in gc.get_objects())
        for stream in (True, False) * 3:
            httpx.post(address + "/v1/chat/completions", json=body(stream=stream), timeout=60)
        until(lambda: sum(type(one) is Sequence for one in gc.get_objects()) <= before)
    finally:
        gc.enable()


def test_a_partial_message_is_gone_on_with(address, model):
    messages = [*ASKED, {"role": "assistant", "content": "It is", "partial": True}]
    plain = [*ASKED, {"role": "assistant", "content": "It is"}]
    wanted = model.chat(plain, max_tokens=8, temperature=0, continue_final_message=True)
    got = httpx.post(address + "/v1/chat/completions", json=body(messages=messages), timeout=60).json()
    assert got["choices"][0]["message"]["content"] == wanted.content


def test_a_reply_without_a_limit_ends_with_the_context(model):
    with served(model):
        request = model._request(range(500), {})
        assert request.params.max_tokens == model.context_length - 500
        assert model._request(range(5), {"max_tokens": 3}).params.max_tokens == 3


def test_tokens_are_estimated_as_they_are_counted(address, client):
    told = httpx.post(address + "/v1/tokenizers/estimate-token-count", json={"model": "tiny", "messages": ASKED}).json()
    assert told["data"]["total_tokens"] == client.chat.completions.create(**body()).usage.prompt_tokens


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"messages": "hello"}, "messages must be a list"),
        ({"messages": [{"role": "user", "content": 5}]}, "content"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 100_000}, "context"),
        ({"n": 0}, "n must be an integer from 1 to 16, got 0"),
        ({"n": 17}, "n must be"),
        ({"n": "2"}, "n must be"),
        ({"surprise": 1}, "unknown fields surprise"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"if": {}}}}}, "cannot be used"),
        ({"structured_outputs": {"regex": "("}}, "cannot be used"),
        ({"tool_choice": "required"}, "there are no tools"),
        ({"tools": [TOOL], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"logprobs": 3}, "logprobs must be true or false"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "logprobs must be an integer from 0 to 20"),
        ({"logit_bias": {"hello": 1}}, "logit_bias names tokens by their ids"),
        ({"logit_bias": {"99999": 1}}, "outside this model's vocabulary"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_said_before_any_token(address, fields, told, stream):
    answer = httpx.post(address + "/v1/chat/completions", json={**body(**fields), "stream": stream}, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"{}", "text/plain", 400),
        (b'{"model": "gpt", "messages": []}', "application/json", 404),
    ],
)
def test_bodies_that_are_none(address, content, kind, status):
    answer = httpx.post(address + "/v1/chat/completions", content=content, headers={"content-type": kind})
    assert answer.status_code == status and answer.json()["error"]["message"]


def test_a_body_has_a_most(address, monkeypatch):
    monkeypatch.setattr(guard.read_json, "__defaults__", (1000,))
    answer = httpx.post(address + "/v1/chat/completions", json=body(messages=[{"role": "user", "content": "x" * 2000}]))
    assert answer.status_code == 413


def test_unknown_routes_answer_in_json(address):
    assert httpx.get(address + "/nowhere").json()["error"]["message"] == "there is no GET /nowhere here"
    assert httpx.get(address + "/v1/chat/completions").status_code == 405
    assert httpx.get(address + "/version").json()["version"]


def test_operators_see_what_was_done(model, tmp_path, monkeypatch):
    monkeypatch.setattr("perilune.api.energy.POWERCAP", tmp_path)
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("5\n")
    with served(model) as at:
        assert httpx.post(at + "/v1/chat/completions", json=body(), timeout=60).status_code == 200
        assert httpx.post(at + "/v1/chat/completions", json=body(n=0), timeout=60).status_code == 400
        assert httpx.post(at + "/v1/chat/completions", json=body(model="gpt"), timeout=60).status_code == 404
        assert httpx.get(at + "/health", headers={"host": "evil.example"}).status_code == 403

        def seen():
            lines = httpx.get(at + "/metrics").text.splitlines()
            return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}

        until(lambda: seen().get("perilune:e2e_request_latency_seconds_count") == 1)
        found = seen()
        usage = model.chat(ASKED, max_tokens=8, temperature=0).usage
        assert found["perilune:prompt_tokens_total"] == usage.prompt_tokens
        assert found["perilune:generation_tokens_total"] == usage.completion_tokens
        for status in (400, 403, 404):
            assert found[f'perilune:request_refused_total{{status="{status}"}}'] == 1
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("3000005\n")
        assert seen()["perilune:energy_joules_total"] == 3.0
        assert found["perilune:num_requests_running"] == found["perilune:num_requests_waiting"] == 0


def test_keys_share_no_cached_prompts(model):
    asked = body(messages=[{"role": "user", "content": "a long secret " * 9}], max_tokens=2)
    keys = ("key-one-1", "key-two-2")
    with served(model, keys=keys) as at:
        cached = []
        for key in (keys[0], keys[1], keys[0]):
            headers = {"authorization": f"Bearer {key}"}
            answer = httpx.post(at + "/v1/chat/completions", json=asked, headers=headers, timeout=60)
            cached.append(answer.json()["usage"]["cached_tokens"])
    assert cached[0] == cached[1] < cached[2]


def test_keys_are_asked_for(model, tmp_path):
    (tmp_path / "keys").write_text("# two of them\nfirst-key-1\n\nsecond-key-2\n")
    keys = read_keys(None, tmp_path / "keys")
    with served(model, keys=keys) as at:
        assert httpx.get(at + "/health").status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong-key-1"}, {"authorization": "first-key-1"}):
            refused = httpx.get(at + "/v1/models", headers=headers)
            assert refused.status_code == 401 and refused.json()["error"]["code"] == "invalid_api_key"
        for headers in ({"authorization": "Bearer first-key-1"}, {"x-api-key": "second-key-2", "host": "any.example"}):
            assert httpx.get(at + "/v1/models", headers=headers).status_code == 200


def test_other_names_and_pages_of_other_sites_are_refused(address):
    assert httpx.get(address + "/v1/models", headers={"host": "evil.example"}).status_code == 403
    assert httpx.get(address + "/v1/models", headers={"origin": "http://evil.example"}).status_code == 403
    assert httpx.get(address + "/v1/models", headers={"origin": address}).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(address, model, monkeypatch, stream):
    step, finished = model.engine.step, []

    def slow():
        time.sleep(0.05)
        step()

    monkeypatch.setattr(model.engine, "step", slow)
    finish = model.engine._finish
    monkeypatch.setattr(model.engine, "_finish", lambda one, why: (finished.append(why), finish(one, why)))
    asked = {**body(max_tokens=400, stream=stream, stop=None), "temperature": 1.0, "seed": 4}
    with httpx.Client(base_url=address) as http:
        if stream:
            with http.stream("POST", "/v1/chat/completions", json=asked, timeout=60) as answer:
                next(answer.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=asked, timeout=0.5)
    until(lambda: not model.engine.has_work, seconds=5)
    assert finished == ["cancelled"]
    monkeypatch.undo()
    assert httpx.post(address + "/v1/chat/completions", json=body(), timeout=60).status_code == 200


def test_too_many_are_told_to_come_back(model, monkeypatch):
    entered, held = threading.Event(), threading.Event()
    real = model.stream

    def slow(*given, **options):
        entered.set()
        held.wait(20)
        return real(*given, **options)

    monkeypatch.setattr(model, "stream", slow)
    with served(model, most=1) as at, ThreadPoolExecutor(1) as team:
        first = team.submit(httpx.post, at + "/v1/chat/completions", json=body(), timeout=60)
        try:
            assert entered.wait(20)
            busy = httpx.post(at + "/v1/chat/completions", json=body(), timeout=60)
            assert busy.status_code == 429 and busy.headers["retry-after"]
            assert busy.json()["error"]["code"] == "busy"
        finally:
            held.set()
        assert first.result().status_code == 200
        until(lambda: httpx.post(at + "/v1/chat/completions", json=body(), timeout=60).status_code == 200)


def test_one_key_cannot_take_every_place(model, monkeypatch):
    entered, held = threading.Event(), threading.Event()
    real = model.stream

    def slow(*given, **options):
        if not entered.is_set():
            entered.set()
            held.wait(20)
        return real(*given, **options)

    def post(key, **fields):
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(at + "/v1/chat/completions", json=body(**fields), headers=headers, timeout=60)

    monkeypatch.setattr(model, "stream", slow)
    with served(model, keys=("key-one-1", "key-two-2"), most=3, most_of_key=1) as at, ThreadPoolExecutor(1) as team:
        first = team.submit(post, "key-one-1")
        try:
            assert entered.wait(20)
            busy = post("key-one-1")
            assert busy.status_code == 429 and "1 requests of this key are open" in busy.json()["error"]["message"]
            assert post("key-two-2").status_code == 200
            assert "writes 1 at a time" in post("key-two-2", n=2).json()["error"]["message"]
        finally:
            held.set()
        assert first.result().status_code == 200


def test_a_fault_of_ours_is_one_answer_and_the_server_lives(model, monkeypatch):
    def broken(*given, **options):
        raise ZeroDivisionError("secret detail")

    with served(model) as at:
        monkeypatch.setattr(model, "stream", broken)
        answer = httpx.post(at + "/v1/chat/completions", json=body(), timeout=60)
        assert answer.status_code == 500 and "secret" not in answer.text
        monkeypatch.undo()
        assert httpx.post(at + "/v1/chat/completions", json=body(), timeout=60).status_code == 200


def test_keys_must_be_keys(tmp_path):
    (tmp_path / "none").write_text("# nothing\n")
    for key, file in (
        ("short", None),
        ("with space here", None),
        (None, tmp_path / "none"),
        (None, tmp_path / "absent"),
    ):
        with pytest.raises(RequestError):
            read_keys(key, file)
    assert read_keys(new_key(), None) and new_key() != new_key()
    assert is_loopback("127.0.0.1") and is_loopback("[::1]") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")


def test_the_command_serves_nano_and_ends_when_told(tmp_path):
    command = [sys.executable, "-m", "perilune", "serve", "--port", "0", "--state", str(tmp_path)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"})
    try:
        told = running.stderr.readline()
        at = told.split()[-1]
        assert told.startswith("nano is served at http://127.0.0.1:")
        answer = httpx.post(at + "/chat/completions", json={**body(), "model": "nano"}, timeout=120)
        assert answer.status_code == 200 and json.loads(answer.text)["choices"][0]["message"]["content"] is not None
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) in (0, -signal.SIGTERM)
    finally:
        running.kill()
        running.stderr.close()
