"""Responses that are kept: a conversation goes on by the name of its last response, for its own key alone."""

import httpx
import openai
import pytest
from served import KEYS, client_of, served, tiny_model

from perilune.server.kept import Kept
from perilune.server.stored import KIND, Stored

PLAIN = {"reasoning": {"effort": "none"}, "model": "tiny", "max_output_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("stored"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on_by_its_last_response(address, model, stream):
    client = client_of(address)

    def respond(**fields):
        if not stream:
            return client.responses.create(**PLAIN, **fields)
        with client.responses.stream(**PLAIN, **fields) as events:
            return list(events)[-1].response

    first = respond(input="hello", instructions="Be brief.")
    second = respond(input="and now?", previous_response_id=first.id)
    third = respond(input=[{"role": "user", "content": "more"}], previous_response_id=second.id)
    said = [
        *({"role": "user", "content": "hello"}, {"role": "assistant", "content": first.output_text}),
        *({"role": "user", "content": "and now?"}, {"role": "assistant", "content": second.output_text}),
        {"role": "user", "content": "more"},
    ]
    wanted = model.chat(said, max_tokens=8, temperature=0, thinking=False)
    assert third.output_text == wanted.content and third.usage.input_tokens == wanted.usage.prompt_tokens
    assert (third.store, third.previous_response_id, third.instructions) == (True, second.id, None)
    kept = client.responses.retrieve(third.id)
    assert kept.output_text == third.output_text and kept.usage == third.usage
    assert [item.content for item in client.responses.input_items.list(second.id).data] == ["and now?"]


def test_a_response_belongs_to_its_key_and_can_be_deleted(address):
    client, other = client_of(address), client_of(address, KEYS[1])
    made = client.responses.create(**PLAIN, input="hello")
    for call in (other.responses.retrieve, other.responses.delete, other.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    with pytest.raises(openai.BadRequestError, match="names no response that is kept here"):
        other.responses.create(**PLAIN, input="go on", previous_response_id=made.id)
    client.responses.delete(made.id)
    with pytest.raises(openai.BadRequestError, match="names no response"):
        client.responses.create(**PLAIN, input="go on", previous_response_id=made.id)


def test_what_shall_not_be_stored_is_not(address, place):
    client = client_of(address)
    made = client.responses.create(**PLAIN, input="a secret", store=False)
    assert made.store is False and not list(place.everyones(KIND))
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


@pytest.mark.parametrize("name", [5, {}, "", "resp_1", "x" * 100_000], ids=["5", "{}", "empty", "unknown", "long"])
def test_names_of_nothing_are_refused(address, name):
    headers = {"authorization": f"Bearer {KEYS[0]}"}
    told = {**PLAIN, "input": "go on", "previous_response_id": name}
    answer = httpx.post(address + "/v1/responses", json=told, headers=headers, timeout=60)
    assert answer.status_code == 400 and len(answer.text) < 500


def test_a_conversation_outlives_the_server(model, tmp_path):
    for turn in range(2):
        place = Kept(tmp_path / "state")
        with served(model, kept=place, keys=KEYS) as address:
            client = client_of(address)
            if turn == 0:
                name = client.responses.create(**PLAIN, input="hello").id
            else:
                assert client.responses.create(**PLAIN, input="on", previous_response_id=name).output_text
        place.close()


def test_the_oldest_leave_for_the_newest(tmp_path):
    place = Kept(tmp_path / "state")
    for i in range(20):
        place.put_newest(KIND, "me", {"id": f"r{i}", "text": "x" * 1000}, 5000)
    assert [told["id"] for _, told in place.everyones(KIND)] == ["r16", "r17", "r18", "r19"]
    place.put_newest(KIND, "me", {"id": "huge", "text": "x" * 9000}, 5000)
    assert place.get(KIND, "me", "huge") is None and place.get(KIND, "me", "r19")
    place.close()
    place = Kept(tmp_path / "state")
    place.put_newest(KIND, "me", {"id": "new", "text": "x" * 1000}, 5000)
    assert [told["id"] for _, told in place.everyones(KIND)] == ["r17", "r18", "r19", "new"]
    place.close()


def test_a_chain_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("perilune.server.stored.LONGEST_CHAIN", 5)
    place, before = Kept(tmp_path / "state"), None
    stored = Stored(place)
    for i in range(5):
        response = {"id": f"resp_{i}", "output": [], "previous_response_id": before}
        before = stored.keep("me", {"input": str(i)}, response)["id"]
    said = stored.continued("me", {"input": "now", "previous_response_id": "resp_3"})["input"]
    assert [item["content"] for item in said] == ["0", "1", "2", "3", "now"]
    with pytest.raises(Exception, match="too long"):
        stored.continued("me", {"input": "now", "previous_response_id": "resp_4"})
    place.close()
