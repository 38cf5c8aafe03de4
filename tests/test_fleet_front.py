"""The front of two replicas: what clients see of one server, they see of several, whoever of them dies in between."""

import asyncio
import json
import threading
from contextlib import contextmanager

import anthropic
import httpx
import openai
import pytest
import uvicorn
from fleet_local import KEY, LocalFleet
from served import KEYS, client_of, tiny_model, until

from perilune.fleet import lines, replicas
from perilune.fleet.front import make_front
from perilune.server.answers import Answers
from perilune.server.app import make_app
from perilune.server.kept import Kept

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
ASKED = [{"role": "user", "content": "hello there"}]
KEYED = {"x-api-key": KEYS[0]}
BODIES = {
    CHAT: {"messages": ASKED, "max_tokens": 2000, "temperature": 0, "ignore_eos": True},
    MESSAGES: {"messages": ASKED, "max_tokens": 2000, "temperature": 0},
    RESPONSES: {"input": "hello there", "max_output_tokens": 2000, "temperature": 0},
}
ENDED = {CHAT: b"[DONE]", MESSAGES: b"event: error", RESPONSES: b"event: response.failed"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One for each replica, with the same weights."""
    return [tiny_model(tmp_path_factory.mktemp("fleet"), context=4096) for _ in range(2)]


@contextmanager
def fronted(models, **options):
    """The address of a front, and its fleet; who comes after a dead replica has the same model."""
    made = iter(())

    def app():
        nonlocal made
        model = next(made, None)
        if model is None:
            made = iter(models)
            model = next(made)
        return make_app(model, "tiny", keys=(KEY,), fronted=True)

    local = LocalFleet(app, len(models))
    front = make_front(local.fleet, "tiny", **options)
    server = uvicorn.Server(uvicorn.Config(front, "127.0.0.1", 0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", local
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def keyed(models, tmp_path_factory):
    kept = Kept(tmp_path_factory.mktemp("fleet") / "state")
    with fronted(models, keys=KEYS, kept=kept) as (address, local):
        yield address, local
    kept.close()


@pytest.fixture
def address(keyed):
    return keyed[0]


@pytest.fixture
def slow(models, monkeypatch):
    """Every step takes its time, until it is let go."""
    let_go = threading.Event()
    for model in models:

        def step(before=model.engine.step):
            let_go.wait(0.05)
            return before()

        monkeypatch.setattr(model.engine, "step", step)
    yield let_go
    let_go.set()


def running(models):
    return sum(len(model.engine.scheduler.running) for model in models)


@pytest.mark.parametrize("stream", [False, True])
def test_replies_are_those_of_the_model(address, models, stream):
    wanted = models[0].chat(ASKED, max_tokens=12, temperature=0, thinking=False)
    with client_of(address) as client:
        given = {"model": "tiny", "messages": ASKED, "max_tokens": 12, "temperature": 0, "stream": stream}
        got = client.chat.completions.create(**given, extra_body={"thinking": {"type": "disabled"}})
        parts = [chunk.choices[0].delta for chunk in got] if stream else [got.choices[0].message]
        assert "".join(part.content or "" for part in parts) == wanted.content
    with anthropic.Anthropic(base_url=address, api_key=KEYS[0], max_retries=0) as client:
        given = {"model": "tiny", "messages": ASKED, "max_tokens": 12, "extra_body": {"temperature": 0}}
        if stream:
            with client.messages.stream(**given) as events:
                assert events.get_final_text() == wanted.content
        else:
            assert client.messages.create(**given).content[0].text == wanted.content


def test_a_conversation_goes_on_where_it_is_cached(address):
    with httpx.Client(base_url=address, headers=KEYED, timeout=60) as client:
        said = {who: [{"role": "user", "content": f"I am {who}. " + who * 200}] for who in ("ann", "bob", "cid", "dan")}
        where = {who: set() for who in said}
        for _ in range(3):
            for who, messages in said.items():
                answer = client.post(CHAT, json={"messages": messages, "max_tokens": 4})
                where[who].add(answer.headers["x-perilune-replica"])
                usage = answer.json()["usage"]
                assert (usage["cached_tokens"] > usage["prompt_tokens"] / 2) == (len(messages) > 1)
                messages += [answer.json()["choices"][0]["message"], {"role": "user", "content": "go on"}]
    assert all(len(one) == 1 for one in where.values()) and len(set.union(*where.values())) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_kept_by_the_front_and_gone_on_with_anywhere(address, stream):
    with client_of(address) as client, client_of(address, KEYS[1]) as other:

        def ask(**fields):
            got = client.responses.create(model="tiny", max_output_tokens=6, stream=stream, **fields)
            if not stream:
                return got
            events = list(got)
            assert [event.sequence_number for event in events] == list(range(len(events)))
            assert events[0].response.previous_response_id == fields.get("previous_response_id")
            return events[-1].response

        first = ask(input="hello")
        second = ask(input="and now?", previous_response_id=first.id)
        assert second.previous_response_id == first.id and second.store and first.store
        whole = [{"role": "user", "content": "hello"}, *(one.model_dump() for one in first.output)]
        plain = ask(input=[*whole, {"role": "user", "content": "and now?"}], store=False)
        assert plain.usage.input_tokens == second.usage.input_tokens and not plain.store
        assert client.responses.retrieve(second.id).output == second.output
        for name in (second.id, plain.id):
            with pytest.raises(openai.NotFoundError):
                (other if name == second.id else client).responses.retrieve(name)
        client.responses.delete(second.id)
        with pytest.raises(openai.BadRequestError, match="names no response"):
            ask(input="more", previous_response_id=second.id)


def batch(client, bodies):
    """A batch of these requests, once it is completed."""
    made = [{"custom_id": name, "url": CHAT, "method": "POST", "body": one} for name, one in bodies.items()]
    source = client.files.create(file=("in.jsonl", "\n".join(map(json.dumps, made)).encode()), purpose="batch")
    begun = client.batches.create(input_file_id=source.id, endpoint=CHAT, completion_window="24h")
    until(lambda: client.batches.retrieve(begun.id).status == "completed")
    return client.batches.retrieve(begun.id)


def told_in(client, name):
    return [json.loads(line) for line in client.files.content(name).text.splitlines()]


def test_a_batch_goes_through_replicas(address, models):
    bodies = {
        "good": {"model": "a name of its own", "messages": ASKED, "max_tokens": 5, "temperature": 0},
        "bad": {"messages": ASKED, "temperature": 9},
        "long": {"messages": ASKED, "max_tokens": 4096},
    }
    with client_of(address) as client:
        done = batch(client, bodies)
        (good,) = told_in(client, done.output_file_id)
        bad = {one["custom_id"]: one["error"] for one in told_in(client, done.error_file_id)}
    wanted = models[0].chat(ASKED, max_tokens=5, temperature=0)
    told = good["response"]["body"]
    assert good["custom_id"] == "good" and told["model"] == "a name of its own"
    assert told["choices"][0]["message"]["reasoning_content"] == wanted.reasoning
    assert bad["bad"]["code"] == "RequestError" and "temperature" in bad["bad"]["message"]
    assert bad["long"]["code"] == "ContextError" and len(bad) == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        (CHAT, {"messages": ASKED, "temperature": 9}, 400, "temperature"),
        (CHAT, {"messages": ASKED, "model": "gpt"}, 404, "there is 'tiny'"),
        (CHAT, {"messages": ASKED, "n": 999}, 400, "answers are asked for"),
        (MESSAGES, {"messages": ASKED, "max_tokens": -1}, 400, "max_tokens"),
        (RESPONSES, {"input": 5}, 400, "input"),
        (RESPONSES, {"input": "x", "previous_response_id": "resp_none"}, 400, "names no response"),
        ("/v1/nowhere", {}, 404, "there is no POST"),
    ],
)
def test_what_is_wrong_is_said_as_one_server_says_it(address, path, body, status, told):
    answer = httpx.post(address + path, json=body, headers=KEYED, timeout=60)
    assert answer.status_code == status and told in answer.json()["error"]["message"]


def test_only_keys_of_clients_come_in(keyed):
    address, local = keyed
    assert httpx.get(address + "/v1/models").status_code == 401
    assert httpx.get(address + "/v1/models", headers={"x-api-key": KEY}).status_code == 401
    assert httpx.get(address + "/v1/models", headers=KEYED).json()["data"][0]["id"] == "tiny"
    assert httpx.get(local.made[0].url + "/v1/models", headers=KEYED).status_code == 401
    assert httpx.get(address + "/ready").status_code == 200


def test_odd_names_of_models_reach_a_replica(address):
    for name, spelled in (("?a=b", "%3Fa=b"), ("a b/%", "a%20b/%25"), ("ä", "%C3%A4")):
        answer = httpx.get(f"{address}/v1/models/{spelled}", headers=KEYED)
        assert answer.status_code == 404 and f"no model is called {name!r}" in answer.json()["error"]["message"]


def test_keys_share_no_cached_prompts(address):
    """What a client says of its owner is not believed."""
    body = {"messages": [{"role": "user", "content": "a secret of the first key " * 20}], "max_tokens": 1}

    def cached(key, **headers):
        answer = httpx.post(address + CHAT, json=body, headers={"x-api-key": key, **headers}, timeout=60)
        return answer.json()["usage"]["cached_tokens"]

    assert cached(KEYS[0]) == 0 and cached(KEYS[0]) > 0
    assert cached(KEYS[1], **{"x-perilune-owner": ""}) == 0


def test_the_front_describes_what_one_server_does(address, models, place):
    told = httpx.get(address + "/openapi.json", headers=KEYED).json()
    one = {route.path.replace(":path", "") for route in make_app(models[0], "tiny", kept=place).routes}
    assert set(told["paths"]) == one


def test_tokens_are_counted(address, models):
    wanted = len(models[0].render(ASKED).ids)
    with httpx.Client(base_url=address, headers=KEYED, timeout=60) as client:
        told = client.post("/v1/tokenizers/estimate-token-count", json={"messages": ASKED})
    assert told.json()["data"]["total_tokens"] == wanted


def test_operators_see_every_replica(keyed):
    address, local = keyed
    httpx.post(address + CHAT, json={"messages": ASKED, "max_tokens": 2}, headers=KEYED, timeout=60)
    lines = httpx.get(address + "/metrics", headers=KEYED).text.splitlines()
    assert "perilune:fleet_replicas_ready 2.0" in lines
    for name in local.fleet.ready():
        assert any(line.startswith(f'perilune:generation_tokens_total{{replica="{name}"}}') for line in lines)
    assert len([line for line in lines if line.startswith("# TYPE perilune:generation_tokens_total")]) == 1


def test_what_the_hosted_service_refuses_is_refused_but_in_batches(models, place):
    with fronted(models, kept=place, strict_k2=True) as (address, _), client_of(address) as client:
        answer = httpx.post(address + CHAT, json={"messages": ASKED, "temperature": 0}, timeout=60)
        assert answer.status_code == 400 and "temperature 1.0 only" in answer.json()["error"]["message"]
        assert httpx.post(address + CHAT, json={"messages": ASKED, "max_tokens": 2}, timeout=60).status_code == 200
        assert batch(client, {"1": {"messages": ASKED, "max_tokens": 2}}).request_counts.completed == 1


def test_places_are_counted_over_all_replicas(models, slow):
    with fronted(models, most=2) as (address, _), httpx.Client(base_url=address, timeout=60) as client:
        with client.stream("POST", CHAT, json={**BODIES[CHAT], "stream": True, "n": 2}) as told:
            heard = told.iter_lines()  # hangs up when it is dropped
            next(heard)
            refused = client.post(CHAT, json={"messages": ASKED})
            assert refused.status_code == 429 and refused.headers["retry-after"]
        until(lambda: client.post(CHAT, json={"messages": ASKED, "max_tokens": 1}).status_code == 200)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place_in_the_replica(models, slow, stream):
    with fronted(models) as (address, local):
        with httpx.Client(base_url=address, timeout=httpx.Timeout(60, read=60 if stream else 1)) as client:
            if stream:
                with client.stream("POST", CHAT, json={**BODIES[CHAT], "stream": True}) as told:
                    heard = told.iter_lines()
                    next(heard)
                    until(lambda: running(models) == 1)
            else:
                with pytest.raises(httpx.ReadTimeout):
                    client.post(CHAT, json=BODIES[CHAT])
        until(lambda: not running(models) and not any(one.open for one in local.fleet.ready().values()))


@pytest.mark.parametrize("path", BODIES)
def test_a_reply_that_breaks_off_says_so_and_later_ones_are_answered(models, slow, path, monkeypatch):
    monkeypatch.setattr(replicas, "FIRST_DELAY", 0.01)
    with fronted(models) as (address, local), httpx.Client(base_url=address, timeout=60) as client:
        with client.stream("POST", path, json={**BODIES[path], "stream": True}) as told:
            name, parts = told.headers["x-perilune-replica"], told.iter_raw()
            heard = next(parts)
            local.of(name).die()
            heard += b"".join(parts)
        events = heard.decode().split("\n\n")
        assert ENDED[path] in heard and events[-1] == "" and "was lost" in heard.decode()
        slow.set()
        if path == RESPONSES:
            told = [json.loads(one.split("data: ", 1)[1]) for one in events if "data: " in one]
            assert [one["sequence_number"] for one in told] == list(range(len(told)))
            assert told[-1]["response"]["id"] == told[0]["response"]["id"]
            assert told[-1]["response"]["status"] == "failed"
        short = {**BODIES[path], "max_output_tokens" if path == RESPONSES else "max_tokens": 2}
        assert client.post(path, json=short).headers["x-perilune-replica"] != name
        until(lambda: len(local.fleet.ready()) == 2 and name not in local.fleet.ready())


def test_a_batch_outlives_its_replicas(models, slow, place, monkeypatch):
    monkeypatch.setattr(replicas, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(lines, "RETRY_SECONDS", 0.01)
    with fronted(models, kept=place) as (address, local), client_of(address) as client:
        bodies = {str(i): {"messages": ASKED, "max_tokens": 8, "ignore_eos": True, "seed": i} for i in range(12)}

        def kill():
            until(lambda: running(models))
            for replica in tuple(local.made):
                replica.die()
            slow.set()

        killing = threading.Thread(target=kill)
        killing.start()
        done = batch(client, bodies)
        killing.join()
        assert (done.request_counts.completed, done.request_counts.failed) == (12, 0)
        assert {one["custom_id"] for one in told_in(client, done.output_file_id)} == set(bodies)
        assert local.fleet.restarts >= 2


def test_a_line_that_kills_whoever_has_it_ends_with_an_error(models, place, monkeypatch):
    async def die(self, request):
        request.app.state.replica.die()
        await asyncio.sleep(60)

    monkeypatch.setattr(Answers, "__call__", die)
    monkeypatch.setattr(replicas, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(lines, "RETRY_SECONDS", 0.01)
    with fronted(models, kept=place) as (address, local), client_of(address) as client:
        done = batch(client, {"1": {"messages": ASKED}})
        (told,) = told_in(client, done.error_file_id)
        assert "died whenever they had this line" in told["error"]["message"]
        until(lambda: local.fleet.restarts >= 2)


def test_with_no_replica_left_clients_are_told_to_come_back(models):
    with fronted(models) as (address, local), httpx.Client(base_url=address, timeout=60) as client:
        for replica in local.made:
            replica.die()
        until(lambda: client.get("/ready").status_code == 503)
        answer = client.post(CHAT, json={"messages": ASKED})
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        assert answer.json()["error"]["code"] == "no_replica" and client.get("/health").status_code == 200
        until(lambda: client.get("/ready").status_code == 200)
        assert client.post(CHAT, json={"messages": ASKED, "max_tokens": 2}).status_code == 200
