"""OpenAI's embeddings against a running server, with its SDK: every form of input, both formats, limits, clients that
leave."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import httpx
import numpy as np
import openai
import pytest
from served import KEYS, client_of, served, tiny_model, until
from tiny_models import TOKENIZER

from perilune.api import embeddings
from perilune.api.embeddings import MOST_TEXTS, TOGETHER
from perilune.server import guard

TEXTS = ["The cat sleeps.", "<|im_end|> is text here", "Rain.", "x" * 300]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="module")
def at(model):
    with served(model) as made:
        yield made


@pytest.fixture
def client(at):
    with openai.OpenAI(base_url=at + "/v1", api_key="none", max_retries=0) as made:
        yield made


def same(given, wanted):
    """But for the last bit: torch multiplies this model's float32 weights, in as many threads as it is given."""
    return given.dtype == wanted.dtype and given.shape == wanted.shape and np.allclose(given, wanted, atol=1e-6)


def vectors(told):
    assert [one.index for one in told.data] == list(range(len(told.data)))
    return np.array([one.embedding for one in told.data], np.float32)


@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}], ids=str)
def test_vectors_are_those_of_the_model_in_every_format(client, model, form):
    """Left to itself the SDK asks for base64."""
    told = client.embeddings.create(model="tiny", input=TEXTS, user="me", **form)
    if form.get("encoding_format") == "base64":  # asked for by name, it comes as it was sent
        rows = [np.frombuffer(base64.b64decode(one.embedding), "<f4") for one in told.data]
        assert same(np.stack(rows), model.embed(TEXTS))
    else:
        assert same(vectors(told), model.embed(TEXTS))
    tokens = sum(len(TOKENIZER.encode(text)) for text in TEXTS)
    assert (told.usage.prompt_tokens, told.usage.total_tokens, told.model) == (tokens, tokens, "tiny")


def test_ids_and_one_text_are_input_too(client, model):
    ids = [TOKENIZER.encode(text) for text in TEXTS]
    wanted = model.embed(TEXTS)
    assert same(vectors(client.embeddings.create(model="tiny", input=ids)), wanted)
    for one in (TEXTS[0], ids[0], [TEXTS[0]], [ids[0]]):
        assert same(vectors(client.embeddings.create(model="tiny", input=one)), wanted[:1])


def test_dimensions_are_cut(client, model):
    told = client.embeddings.create(model="tiny", input=TEXTS, dimensions=5)
    assert same(vectors(told), model.embed(TEXTS, dimensions=5))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"input": ""}, r"input\[0\] is empty"),
        ({"input": []}, "1 to 2048 texts"),
        ({"input": [[]]}, "is empty"),
        ({"input": ["a"] * (MOST_TEXTS + 1)}, "got 2049"),
        ({"input": "x" * 513}, "has 513 tokens, but this model's context holds 512"),
        ({"input": [[1] * 300] * 1001}, "more than 300,000 tokens"),
        ({"input": {"text": "a"}}, "input must be a text"),
        ({"input": [True]}, "must be an integer"),
        ({"input": "a", "dimensions": 65}, "from 1 to 64"),
        ({"input": "a", "encoding_format": "int8"}, "float, base64"),
        ({"input": "a", "stream": True}, "unknown fields stream"),
        ({}, "input is missing"),
    ],
)
def test_what_is_wrong_is_a_bad_request(at, fields, told):
    got = httpx.post(at + "/v1/embeddings", json={"model": "tiny", **fields})
    assert got.status_code == 400
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(got.json()["error"]["message"])
    code = "context_length_exceeded" if "tokens" in told else None
    assert got.json()["error"]["code"] == code


def test_another_model_is_not_there(client):
    with pytest.raises(openai.NotFoundError, match="there is 'tiny'"):
        client.embeddings.create(model="text-embedding-3-small", input="a")


def test_a_client_that_leaves_frees_the_engine(at, model, monkeypatch):
    monkeypatch.setattr(embeddings, "MOST_TOKENS", 10**7)
    finish, ended = model.engine._finish, []
    monkeypatch.setattr(model.engine, "_finish", lambda one, why: (ended.append(why), finish(one, why)))
    connection = HTTPConnection(at.removeprefix("http://"))
    body = json.dumps({"model": "tiny", "input": ["x" * 400] * 2000})
    connection.request("POST", "/v1/embeddings", body, {"content-type": "application/json"})
    until(lambda: len(ended) > 2)
    connection.close()
    until(lambda: not model.engine.has_work)
    assert 0 < ended.count("cancelled") <= TOGETHER and len(ended) < 2000
    assert httpx.post(at + "/v1/embeddings", json={"input": "a"}).status_code == 200


def test_keys_and_places_count_for_vectors(model, monkeypatch):
    entered, held, real = threading.Event(), threading.Event(), model.embed_stream

    def slow(**options):
        entered.set()
        held.wait(20)
        return real(**options)

    def ask(key=KEYS[0]):
        return client_of(address, key).embeddings.create(model="tiny", input=TEXTS)

    with served(model, keys=KEYS, most=2, most_of_key=1) as address, ThreadPoolExecutor(1) as team:
        with pytest.raises(openai.AuthenticationError):
            ask("another-key")
        monkeypatch.setattr(model, "embed_stream", slow)
        first = team.submit(ask)
        try:
            assert entered.wait(20)
            with pytest.raises(openai.RateLimitError, match="1 requests of this key are open"):
                ask()
        finally:
            held.set()
        assert len(first.result().data) == len(ask(KEYS[1]).data) == len(TEXTS)


def test_operators_see_what_was_embedded(model):
    with served(model) as address:
        httpx.post(address + "/v1/embeddings", json={"input": ["ab", "cde"]}).raise_for_status()
        counts = httpx.get(address + "/metrics").text.splitlines()
    assert "perilune:embedded_texts_total 2.0" in counts and "perilune:prompt_tokens_total 5.0" in counts
    assert "perilune:time_to_first_token_seconds_count 0.0" in counts


def test_a_body_has_a_most(at, monkeypatch):
    monkeypatch.setattr(guard.read_json, "__defaults__", (1 << 10,))
    assert httpx.post(at + "/v1/embeddings", json={"input": "x" * 2000}).status_code == 413
