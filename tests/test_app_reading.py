"""Files that a model with a chunk memory reads: once, with progress, with the place of every answer, for one owner."""

import pytest
from app_page import Browser, paged, refused
from served import KEYS, until
from tiny_models import memory_transformer, write_model

from perilune import load
from perilune.api.documents import read_documents
from perilune.app import reading
from perilune.documents.collect import collect

QUESTION = "Which is it?"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(write_model(tmp_path_factory.mktemp("reading"), memory_transformer(segment=128)))


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("PERILUNE_STORE", str(tmp_path / "store"))


@pytest.fixture
def one(model, tmp_path):
    with paged(model, tmp_path / "state") as at, Browser(at) as made:
        yield made


def text(lines=40):
    return "".join(f"pump {number} has code {number * 37}\n" for number in range(lines)).encode()


def asked(one, *files, **chat):
    made = one.made("/chats", **chat)["id"]
    return made, one.said(made, QUESTION, files=files)["id"]


def said(message):
    return "".join(part["text"] for part in message["content"])


def test_a_file_is_read_and_asked_as_perilune_ask_does(one, model, tmp_path):
    file = one.upload("pumps.txt", text())
    chat, parent = asked(one, file["id"])
    message, told = one.replied(chat, parent, max_tokens=12)
    (tmp_path / "pumps.txt").write_bytes(text())
    wanted = read_documents(model, collect(tmp_path / "pumps.txt").sources)
    found = wanted.ask(QUESTION, temperature=0.0, max_tokens=12)
    assert said(message) == found.text and file["tokens"] == wanted.length
    cited = [event for event in told if event["type"] == "citation"]
    assert [{"type": "citation", **one} for one in message["meta"]["citations"]] == cited
    assert len(cited) == len(found.passages)
    for citation, passage in zip(cited, found.passages, strict=True):
        place = wanted.place(passage)
        assert citation["file"] == file["id"] and citation["name"] == "pumps.txt"
        assert citation["lines"] == [place.first_line, place.last_line]
        assert place.text.startswith(citation["quote"]) and citation["quote"]
    progress = [event for event in told if event["type"] == "progress"]
    assert progress[0]["read"] == 0 and progress[0]["total"] == file["tokens"]
    assert any(event["read"] >= file["tokens"] for event in progress)
    assert all(event["read"] <= event["total"] for event in progress)
    meter = message["meta"]["meter"]
    assert meter["prompt_tokens"] == wanted.length + found.reply.usage.prompt_tokens and meter["cached_tokens"] == 0


def test_what_was_read_is_known_from_then_on_also_to_the_next_server(one, model, tmp_path):
    file = one.upload("pumps.txt", text())
    assert not file["stored"]
    chat, parent = asked(one, file["id"])
    first, _ = one.replied(chat, parent, max_tokens=6)
    assert one.get(f"/files/{file['id']}").json()["stored"]
    again, _ = one.replied(chat, parent, max_tokens=6)
    with paged(model, tmp_path / "another") as at, Browser(at) as two:
        same = two.upload("pumps.txt", text())
        assert same["stored"]
        chat, parent = asked(two, same["id"])
        later, _ = two.replied(chat, parent, max_tokens=6)
    assert said(first) == said(again) == said(later)
    for message in (again, later):
        assert message["meta"]["meter"]["cached_tokens"] >= file["tokens"]


def test_nobody_learns_from_the_store_what_another_has_read(model, tmp_path):
    with paged(model, tmp_path, keys=KEYS) as at, Browser(at) as one, Browser(at) as other:
        for browser, key in ((one, KEYS[0]), (other, KEYS[1])):
            browser.post("/session", json={"key": key})
        file = one.upload("pumps.txt", text())
        chat, parent = asked(one, file["id"])
        one.replied(chat, parent, max_tokens=2)
        assert one.get(f"/files/{file['id']}").json()["stored"]
        theirs = other.upload("pumps.txt", text())
        assert not theirs["stored"]
        chat, parent = asked(other, theirs["id"])
        message, _ = other.replied(chat, parent, max_tokens=2)
        assert message["meta"]["meter"]["cached_tokens"] == 0


def test_a_file_is_split_into_tokens_once_however_often_it_is_looked_at(one, monkeypatch):
    files = [one.upload(f"{name}.txt", text() + name.encode())["id"] for name in ("a", "b")]

    def never(model, sources):
        raise AssertionError("it is known already")

    with monkeypatch.context() as patched:
        patched.setattr(reading, "segmented", never)
        assert not any(one.get(f"/files/{file}").json()["stored"] for file in files)
    monkeypatch.setattr(reading, "MOST_KEYS", 1)
    again, split = [], reading.segmented
    monkeypatch.setattr(reading, "segmented", lambda *given: again.append(given) or split(*given))
    for file in (*files, files[1]):
        one.get(f"/files/{file}")
    assert len(again) == 1, "the one that was let go of"


def test_what_was_read_goes_with_the_file(one, tmp_path):
    file, kept = one.upload("pumps.txt", text()), one.upload("other.txt", b"another text\n" * 30)
    chat, parent = asked(one, file["id"], kept["id"])
    one.replied(chat, parent, max_tokens=2)
    again, _ = asked(one, kept["id"])
    store = tmp_path / "store"
    before = set(store.rglob("*.node"))
    one.delete(f"/chats/{chat}")
    after = set(store.rglob("*.node"))
    assert after < before and one.get(f"/files/{kept['id']}").json()["stored"]
    assert not one.upload("pumps.txt", text())["stored"]
    one.delete(f"/chats/{again}")
    assert not set(store.rglob("*.node"))


def test_files_of_a_project_are_read_before_those_of_a_chat_and_names_may_repeat(one):
    first, second = one.upload("a.txt", b"alpha is one\n" * 9), one.upload("a.txt", b"beta is two\n" * 9)
    project = one.made("/projects", name="Letters", files=[first["id"]])["id"]
    chat, parent = asked(one, second["id"], project=project)
    message, told = one.replied(chat, parent, max_tokens=12, alternatives=0)
    total = first["tokens"] + second["tokens"]
    assert next(event["total"] for event in told if event["type"] == "progress") == total
    files = {first["id"]: "a.txt", second["id"]: "a.txt (2)"}
    for citation in message["meta"]["citations"]:
        assert files[citation["file"]] == citation["name"]


def test_single_tokens_say_what_of_the_files_they_read(one, model):
    file = one.upload("pumps.txt", text())
    chat, parent = asked(one, file["id"])
    _, told = one.replied(chat, parent, max_tokens=8, alternatives=2, routing=True)
    tokens = [event for event in told if event["type"] == "token"]
    places = [place for token in tokens for place in token["chunks"]]
    assert len(tokens) == 8 and places and any(place["weight"] > 0 for place in places)
    for place in places:
        assert (place["file"], place["name"]) == (file["id"], "pumps.txt")
        assert 1 <= place["lines"][0] <= place["lines"][1] <= 40
    for token in tokens:
        for _, ids, weights in token["experts"]:
            assert len(ids) == len(weights) == model.config.num_experts_per_tok


def test_a_reading_is_stopped(one, model, monkeypatch):
    """It is stopped after the first piece, which is when somebody hears of it."""
    file = one.upload("long.txt", text(80))
    chat, parent = asked(one, file["id"])
    opened, live = reading.Documents.open, []

    def slowly(self, owner, names, on_read, wanted):
        def told(*done):
            on_read(*done)
            until(lambda: not wanted())
            live.append(done)

        return opened(self, owner, names, told, wanted)

    monkeypatch.setattr(reading.Documents, "open", slowly)
    made = one.made(f"/chats/{chat}/replies", parent=parent, temperature=0)
    assert one.post(f"/replies/{made['id']}/stop").json()["stopping"]
    message = one.events(made["id"])[-1][1]["message"]
    assert message["state"] == "stopped" and not message["content"] and len(live) <= 1
    monkeypatch.undo()


def test_what_was_read_is_answered_without_reasoning_unless_it_is_wanted(one):
    file = one.upload("pumps.txt", text())
    chat, parent = asked(one, file["id"])
    for wanted, thinks in ((None, False), (True, True), (False, False)):
        message, _ = one.replied(chat, parent, max_tokens=2, thinking=wanted)
        assert message["meta"]["thinking"] is thinks
    chat, parent = asked(one)
    assert one.replied(chat, parent, max_tokens=2, thinking=None)[0]["meta"]["thinking"]


def test_a_conversation_about_a_file_goes_on(one, model):
    file = one.upload("pumps.txt", text())
    chat, parent = asked(one, file["id"])
    first, _ = one.replied(chat, parent, max_tokens=4)
    message = one.said(chat, "And then?", first["id"])
    second, told = one.replied(chat, message["id"], max_tokens=4)
    assert second["state"] == "done" and second["meta"]["meter"]["cached_tokens"] >= file["tokens"]
    assert any(event["type"] == "citation" for event in told) == bool(second["meta"]["citations"])


def test_more_than_the_context_is_refused_with_both_numbers(one):
    file = one.upload("long.txt", text(400))
    chat, parent = asked(one, file["id"])
    answer = one.post(f"/chats/{chat}/replies", json={"parent": parent})
    error = refused(answer, 400, "4,096")
    assert error["code"] == "context_length_exceeded" and f"{file['tokens']:,}" in error["message"]
    nearly = one.upload("nearly.txt", text(150))
    chat, parent = asked(one, nearly["id"])
    assert nearly["tokens"] < 4096
    message, _ = one.replied(chat, parent)
    assert message["state"] == "failed" and "do not fit" in message["meta"]["error"]


def test_readings_in_memory_are_few(one, monkeypatch):
    monkeypatch.setattr(reading, "MOST_READINGS", 1)
    for number in range(3):
        file = one.upload(f"{number}.txt", f"text {number}\n".encode() * 20)
        chat, parent = asked(one, file["id"])
        assert one.replied(chat, parent, max_tokens=1)[0]["state"] == "done"


def test_what_one_has_read_for_changes_nothing_of_anothers_reply(one, model):
    wanted = model.chat([{"role": "user", "content": "hello"}], max_tokens=60, temperature=0, thinking=False)
    plain = one.made("/chats")["id"]
    said_plain = one.said(plain, "hello")["id"]
    for number in range(3):
        file = one.upload(f"{number}.txt", f"{number} {number * 7}\n".encode() + text(60))
        chat, parent = asked(one, file["id"])
        reading = one.made(f"/chats/{chat}/replies", parent=parent, temperature=0, max_tokens=4, routing=True)
        message, told = one.replied(plain, said_plain, max_tokens=60, routing=True)
        assert said(message) == wanted.content
        layers = [[layer for layer, _, _ in event["experts"]] for event in told if event["type"] == "token"]
        assert layers and all(one == layers[0] and one for one in layers)
        assert one.events(reading["id"])[-1][1]["message"]["state"] == "done"
