"""Replies are written whoever listens, can be joined again, stopped and hurried, and outlive the server."""

import re
import signal
import subprocess
import sys

import pytest
import torch
from app_page import GREEDY, Browser, events_of, paged, refused
from served import KEYS, tiny_model, until
from tiny_models import chain_transformer, write_model

from perilune import load
from perilune.api import energy
from perilune.app import live, replies, writing
from perilune.engine.types import MAX_NEW_TOKENS
from perilune.text import specials as sp

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
LONG = 60_000  # tokens that a reply may have where it should still be running


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("replies"), context=2000)


def endless(after, *chains):
    """A model that says the alphabet again and again."""
    made = chain_transformer(f"{after}{ALPHABET}", *chains, context=LONG + 1000)
    with torch.no_grad():
        made.lm_head.weight[:, ord("z")] = 0.0
        made.lm_head.weight[ord("a"), ord("z")] = 2.0
    return made


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    return load(write_model(tmp_path_factory.mktemp("endless"), endless(sp.END_THINK)))


@pytest.fixture(scope="module")
def talking(talker, tmp_path_factory):
    with paged(talker, tmp_path_factory.mktemp("state"), most=4) as at, Browser(at) as made:
        yield made


@pytest.fixture(scope="module")
def address(model, tmp_path_factory):
    with paged(model, tmp_path_factory.mktemp("state"), most=4) as at:
        yield at


@pytest.fixture
def one(address):
    with Browser(address) as made:
        yield made


def asked(one, text="hi"):
    chat = one.made("/chats")["id"]
    return chat, one.said(chat, text)["id"]


def text_of(message):
    return "".join(part["text"] for part in message["content"])


def shown(told, kind):
    return "".join(event["delta"] for event in told if event["type"] == kind)


def test_a_reply_is_what_the_model_says_and_is_in_the_history(one, model):
    chat, parent = asked(one)
    message, told = one.replied(chat, parent, max_tokens=20)
    wanted = model.chat([{"role": "user", "content": "hi"}], max_tokens=20, temperature=0, thinking=False)
    assert text_of(message) == shown(told, "text") == wanted.content
    assert (message["role"], message["state"], message["parent"]) == ("assistant", "done", parent)
    whole = one.get(f"/chats/{chat}").json()
    assert whole["leaf"] == message["id"] and whole["messages"][-1] == message
    meter = message["meta"]["meter"]
    usage = wanted.usage
    assert (meter["prompt_tokens"], meter["reply_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert meter["first_token_seconds"] > 0 and message["meta"]["finish"] == wanted.finish_reason
    assert told[0]["type"] == "progress" and [event["type"] for event in told].count("done") == 1


@pytest.fixture
def counter(tmp_path, monkeypatch):
    """Sets the energy counter of the machine's one processor, in joules."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "powercap")
    package = tmp_path / "powercap" / "intel-rapl:0"
    package.mkdir(parents=True)

    def write(joules):
        (package / "new").write_text(f"{joules * 1_000_000}\n")
        (package / "new").replace(package / "energy_uj")  # whoever reads it finds a number

    return write


def test_a_reply_tells_its_joules_and_those_of_a_token(talking, counter, monkeypatch):
    monkeypatch.setattr(writing, "METER_SECONDS", 0.0)
    counter(100)
    chat, parent = asked(talking)
    reply = talking.made(f"/chats/{chat}/replies", parent=parent, **GREEDY, max_tokens=LONG)["id"]
    meters = []
    with talking.stream("GET", f"/replies/{reply}/events") as answer:
        for _, event in events_of(answer):
            if event["type"] == "text":
                counter(107)
            elif event["type"] == "meter":
                meters.append(event)
                if event["joules"] == 7.0:
                    break
    assert meters[0]["joules"] == 0.0
    last = meters[-1]
    assert 7.0 / last["reply_tokens"] <= last["joules_per_token"] + 0.0001 <= 7.0001
    talking.post(f"/replies/{reply}/stop")
    until(lambda: talking.get(f"/chats/{chat}").json()["messages"][-1]["state"] == "stopped")
    kept = talking.get(f"/chats/{chat}").json()["messages"][-1]["meta"]["meter"]
    assert kept["joules"] == 7.0 and 0 < kept["joules_per_token"] <= last["joules_per_token"]


def test_where_no_energy_is_counted_none_is_told(one, tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "nowhere")
    message, told = one.replied(*asked(one), max_tokens=8)
    meters = [message["meta"]["meter"], *(event for event in told if event["type"] == "meter")]
    assert len(meters) > 1 and not [name for meter in meters for name in meter if "joules" in name]


def test_a_conversation_goes_on_with_the_branch_it_answers(one, model):
    chat, parent = asked(one, "first")
    first, _ = one.replied(chat, parent, max_tokens=8)
    other, _ = one.replied(chat, parent, max_tokens=3)  # a second try, which the next message does not follow
    message = one.said(chat, "second", first["id"])
    again, _ = one.replied(chat, message["id"], max_tokens=8, system="Be brief.")
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": text_of(first)},
        {"role": "user", "content": "second"},
    ]
    assert text_of(again) == model.chat(said, max_tokens=8, temperature=0, thinking=False).content
    assert first["parent"] == other["parent"] and text_of(first).startswith(text_of(other))


def test_whoever_comes_later_or_again_is_told_the_rest(one):
    chat, parent = asked(one)
    made = one.made(f"/chats/{chat}/replies", parent=parent, **GREEDY, max_tokens=30)
    assert made["state"] == "writing" and made["content"] == []
    whole = one.events(made["id"])
    numbers = [number for number, _ in whole]
    assert numbers == list(range(1, len(whole) + 1))
    assert one.events(made["id"], after=5) == whole[5:]
    with one.stream("GET", f"/replies/{made['id']}/events", headers={"last-event-id": "7"}) as answer:
        assert next(answer.iter_lines()) == "id: 8"
        assert answer.headers["content-type"].startswith("text/event-stream")
    assert one.events(made["id"], after=10**6) == []


def test_nobody_has_to_listen(one):
    chat, parent = asked(one)
    made = one.made(f"/chats/{chat}/replies", parent=parent, **GREEDY, max_tokens=40)
    until(lambda: one.get(f"/chats/{chat}").json()["messages"][-1]["state"] == "done")
    assert len(one.get(f"/chats/{chat}").json()["messages"]) == 2 and one.events(made["id"])


def test_a_reply_is_stopped_and_keeps_what_it_had(talking):
    one = talking
    chat, parent = asked(one)
    made = one.made(f"/chats/{chat}/replies", parent=parent, **GREEDY, max_tokens=LONG)
    with one.stream("GET", f"/replies/{made['id']}/events") as answer:
        lines = answer.iter_lines()
        while '"type": "text"' not in next(lines):
            pass
        assert one.post(f"/replies/{made['id']}/stop").json()["stopping"]
        last = [line for line in lines if line.startswith("data: ")][-1]
    assert '"state": "stopped"' in last
    message = one.get(f"/chats/{chat}").json()["messages"][-1]
    assert message["state"] == "stopped" and text_of(message)
    assert not one.post(f"/replies/{made['id']}/stop").json()["stopping"]


def test_reasoning_is_ended_and_the_answer_follows_it(tmp_path):
    """The model reasons on and on; it only ever answers behind a reasoning that was closed for it."""
    made = load(write_model(tmp_path / "model", endless(sp.THINK, f"{sp.END_THINK}ANSWER")))
    with paged(made, tmp_path / "state") as at, Browser(at) as one:
        chat, parent = asked(one)
        reply = one.made(f"/chats/{chat}/replies", parent=parent, thinking=True, temperature=0, max_tokens=LONG - 100)
        with one.stream("GET", f"/replies/{reply['id']}/events") as answer:
            lines = answer.iter_lines()
            while '"type": "reasoning"' not in next(lines):
                pass
        assert one.post(f"/replies/{reply['id']}/answer").json()["answering"]
        message = one.events(reply["id"])[-1][1]["message"]
        assert (message["state"], text_of(message)) == ("done", "ANSWER")
        assert (ALPHABET * LONG).startswith(message["reasoning"]) and message["meta"]["reasoning_seconds"] >= 0


def test_single_tokens_come_with_alternatives_and_the_experts_they_passed(one, model):
    chat, parent = asked(one)
    message, told = one.replied(chat, parent, max_tokens=6, alternatives=3, routing=True)
    tokens = [event for event in told if event["type"] == "token"]
    assert len(tokens) == message["meta"]["meter"]["reply_tokens"] == 6
    config = model.config
    for token in tokens:
        assert token["part"] == "text" and token["top"][0] == [token["text"], token["logprob"]]
        assert len(token["top"]) == 3 and token["logprob"] <= 0
        assert [layer for layer, _, _ in token["experts"]] == [1, 2]
        for _, ids, weights in token["experts"]:
            assert len(set(ids)) == len(weights) == config.num_experts_per_tok
            assert all(0 <= id < config.n_routed_experts for id in ids)
    plain, untold = one.replied(chat, parent, max_tokens=6)
    assert text_of(plain) == text_of(message) and not [event for event in untold if event["type"] == "token"]


def test_the_room_for_single_tokens_is_bounded(one, monkeypatch):
    monkeypatch.setattr(live, "MOST_BYTES", 500)
    chat, parent = asked(one)
    message, told = one.replied(chat, parent, max_tokens=20, alternatives=5)
    count = len([event for event in told if event["type"] == "token"])
    assert 0 < count < 20 and message["meta"]["tokens_not_told"] == 20 - count
    assert text_of(message) == shown(told, "text")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": MAX_NEW_TOKENS + 1}, "max_tokens"),
        ({"alternatives": replies.MOST_ALTERNATIVES + 1}, "from 0 to 10"),
        ({"alternatives": True}, "from 0 to 10"),
        ({"routing": 1}, "true or false"),
        ({"thinking": "yes"}, "true or false"),
        ({"system": "x" * (replies.LONGEST_SYSTEM + 1)}, "system"),
        ({"parent": None}, "parent is missing"),
        ({"parent": 5}, "parent must be"),
        ({"tools": []}, "unknown field 'tools'"),
    ],
)
def test_wrong_wishes_are_refused_and_leave_nothing(one, wanted, told):
    chat, parent = asked(one)
    refused(one.post(f"/chats/{chat}/replies", json={"parent": parent, **wanted}), 400, told)
    assert len(one.get(f"/chats/{chat}").json()["messages"]) == 1


def test_only_messages_of_the_user_are_answered(one):
    chat, parent = asked(one)
    message, _ = one.replied(chat, parent, max_tokens=2)
    refused(one.post(f"/chats/{chat}/replies", json={"parent": message["id"]}), 400, "message of the user")
    refused(one.post(f"/chats/{chat}/replies", json={"parent": "none"}), 404)
    _, elsewhere = asked(one)
    refused(one.post(f"/chats/{chat}/replies", json={"parent": elsewhere}), 404)
    refused(one.get(f"/replies/{message['id']}/events", params={"after": "-1"}), 400, "number of an event")


def test_what_does_not_fit_is_told_with_both_numbers(tmp_path):
    with paged(tiny_model(tmp_path / "model"), tmp_path / "state") as at, Browser(at) as one:
        chat, parent = asked(one, "x" * 600)
        message, told = one.replied(chat, parent)
        assert message["state"] == "failed" and told[-2]["type"] == "error"
        assert "512" in told[-2]["message"] and message["meta"]["error"] == told[-2]["message"]


def test_no_more_are_written_at_a_time_than_there_are_places(talking):
    one = talking
    began = []
    chat, parent = asked(one)
    try:
        for _ in range(4):
            began.append(one.made(f"/chats/{chat}/replies", parent=parent, **GREEDY, max_tokens=LONG)["id"])
        refused(one.post(f"/chats/{chat}/replies", json={"parent": parent}), 429, "later")
        assert len(one.get(f"/chats/{chat}").json()["messages"]) == 5
        assert one.get(f"/chats/{chat}").json()["leaf"] in (*began, parent)
    finally:
        for reply in began:
            one.post(f"/replies/{reply}/stop")

    def answered():
        """A place is free when its reply has left the engine, a moment after it was told to stop."""
        answer = one.post(f"/chats/{chat}/replies", json={"parent": parent, "max_tokens": 1})
        return answer.status_code == 201 and one.events(answer.json()["id"])[-1][1]["message"]["state"] == "done"

    until(answered)


def test_deleting_a_chat_ends_what_is_written_in_it(talking):
    one = talking
    chat, parent = asked(one)
    made = one.made(f"/chats/{chat}/replies", parent=parent, **GREEDY, max_tokens=LONG)
    assert one.delete(f"/chats/{chat}").status_code == 200
    refused(one.get(f"/replies/{made['id']}/events"), 404)


def test_a_server_that_ends_leaves_replies_with_what_they_had(talker, tmp_path):
    with paged(talker, tmp_path) as at, Browser(at) as one:
        chat, parent = asked(one)
        one.made(f"/chats/{chat}/replies", parent=parent, **GREEDY, max_tokens=LONG)
        until(lambda: one.get(f"/chats/{chat}").json()["messages"][-1]["content"])
    with paged(talker, tmp_path) as at, Browser(at) as one:
        message = one.get(f"/chats/{chat}").json()["messages"][-1]
        assert message["state"] == "stopped" and text_of(message)


def started(directory, state):
    words = [sys.executable, "-m", "perilune", "serve", "--model", str(directory), "--port", "0", "--state", str(state)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if found := re.search(r"the page is at (http://\S+)/", line):
            return process, found.group(1)
    raise AssertionError("the server did not start")


def test_a_server_that_is_killed_has_what_was_written_before(tmp_path):
    write_model(tmp_path / "model", endless(sp.END_THINK))
    process, at = started(tmp_path / "model", tmp_path / "state")
    try:
        with Browser(at) as one:
            chat, parent = asked(one, "a word before the fall")
            made = one.made(f"/chats/{chat}/replies", parent=parent, **GREEDY, max_tokens=LONG)
            until(lambda: one.get(f"/chats/{chat}").json()["messages"][-1]["content"])
            had = text_of(one.get(f"/chats/{chat}").json()["messages"][-1])
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
    process, at = started(tmp_path / "model", tmp_path / "state")
    try:
        with Browser(at) as one:
            message = one.get(f"/chats/{chat}").json()["messages"][-1]
            assert message["state"] == "stopped" and message["meta"]["interrupted"]
            assert text_of(message).startswith(had)
            assert one.events(made["id"], after=30) == [(31, {"type": "done", "message": message})]
            assert one.get("/chats", params={"query": "before the fall"}).json()["chats"][0]["id"] == chat
            assert one.get("/chats", params={"query": had[:20]}).json()["chats"]
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def test_another_key_does_not_hear_a_reply(talker, tmp_path):
    with paged(talker, tmp_path, keys=KEYS) as at, Browser(at) as one, Browser(at) as other:
        one.signed_in(KEYS[0])
        other.signed_in(KEYS[1])
        chat, parent = asked(one)
        made = one.made(f"/chats/{chat}/replies", parent=parent, **GREEDY, max_tokens=LONG)
        for path in ("stop", "answer"):
            refused(other.post(f"/replies/{made['id']}/{path}"), 404)
        refused(other.get(f"/replies/{made['id']}/events"), 404)
        assert one.post(f"/replies/{made['id']}/stop").json()["stopping"]
