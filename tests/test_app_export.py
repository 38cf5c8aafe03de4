"""Everything of a user goes out as files and comes in again; an import that is wrong changes nothing."""

import copy
import json

import pytest
from app_page import Browser, paged, refused
from served import tiny_model

from perilune.app import export


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("export"), context=4096)


@pytest.fixture
def one(model, tmp_path):
    with paged(model, tmp_path / "one") as at, Browser(at) as made:
        yield made


@pytest.fixture
def two(model, tmp_path):
    with paged(model, tmp_path / "two") as at, Browser(at) as made:
        yield made


def filled(one):
    """A project with a file, and a chat of two branches in it."""
    file = one.upload("facts.txt", b"The moon is far.")["id"]
    project = one.made("/projects", name="Moon", instructions="Be exact.", files=[file])["id"]
    chat = one.made("/chats", project=project, title="How far?")["id"]
    first = one.said(chat, "How **far**?", files=[file])
    one.replied(chat, first["id"], max_tokens=4)
    one.replied(chat, first["id"], max_tokens=2)
    one.patch("/tutor", json={"subjects": ["astronomy"], "mastery": {"moon": 0.5}})
    return chat


def plain(told):
    """An export without what is made anew: ids, and when it was exported."""
    told = copy.deepcopy(told)
    ids = {one["id"]: f"file {i}" for i, one in enumerate(told["files"])}
    ids |= {one["id"]: f"project {i}" for i, one in enumerate(told["projects"])}
    for chat in told["chats"]:
        ids |= {one["id"]: f"message {i}" for i, one in enumerate(chat["messages"])} | {chat["id"]: "chat"}
    text = json.dumps(told)
    for id, name in ids.items():
        text = text.replace(id, name)
    told = json.loads(text)
    for project in told["projects"]:
        del project["created"], project["updated"]
    return {**told, "exported": 0}


def test_what_goes_out_comes_in_again_as_it_was(one, two):
    filled(one)
    told = one.get("/export").json()
    two.upload("mine.txt", b"The moon is far.")
    assert two.made("/import", **told) == {"chats": 1, "projects": 1}
    again = two.get("/export").json()
    for whole in (told, again):
        for message in whole["chats"][0]["messages"]:
            message["meta"].pop("options", None)
    expected = json.loads(json.dumps(plain(told)).replace("facts.txt", "mine.txt"))
    expected["chats"][0]["title"] = "How far?"
    assert plain(again) == expected
    assert two.get("/chats", params={"query": "far"}).json()["chats"]


def test_files_that_are_not_here_are_named(one, two):
    filled(one)
    two.made("/import", **one.get("/export").json())
    (chat,) = two.get("/chats").json()["chats"]
    content = two.get(f"/chats/{chat['id']}").json()["messages"][0]["content"]
    assert content[1] == {"type": "text", "text": "[file facts.txt, which is not here]"}
    assert two.get("/projects").json()["projects"][0]["files"] == []


def test_a_chat_is_told_as_markdown_and_json(one, two):
    chat = filled(one)
    told = one.get(f"/chats/{chat}/export", params={"format": "markdown"})
    assert told.headers["content-type"].startswith("text/markdown")
    assert "attachment" in told.headers["content-disposition"] and told.headers["x-content-type-options"] == "nosniff"
    text = told.text
    assert text.startswith("# How far?\n\n## You\n\nHow **far**?\n\n*File: facts.txt*\n\n## Assistant\n")
    assert text.count("## Assistant") == 1  # the branch that is shown
    whole = one.get(f"/chats/{chat}/export", params={"format": "json"}).json()
    assert len(whole["chats"][0]["messages"]) == 3
    assert two.made("/import", **whole)["chats"] == 1
    refused(one.get(f"/chats/{chat}/export", params={"format": "html"}), 400, "markdown or json")


def message(**fields):
    return {"id": "m", "role": "user", "content": [{"type": "text", "text": "x"}], **fields}


def chat(*messages, **fields):
    return {"chats": [{"title": "t", "messages": list(messages), **fields}]}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"form": "other"}, "no export of perilune"),
        ({"version": 2}, "no export of perilune"),
        ({"more": 1}, "unknown field"),
        ({"chats": {}}, "chats must be a list"),
        ({"chats": [5]}, "chats[0] must be a JSON object"),
        ({"chats": [{}] * (export.MOST_IMPORTED + 1)}, "up to 10,000"),
        (chat(message(role="system")), "chats[0].messages[0].role"),
        (chat(message(parent="later")), "messages[0].parent"),
        (chat(message(), message()), "occurs twice"),
        (chat(message(content="x")), "content must be a list"),
        (chat(message(content=[{"type": "image"}])), "content[0].type"),
        (chat(message(content=[{"type": "text", "text": 1}])), "content[0].text"),
        (chat(message(meta=[])), "meta must be a JSON object"),
        (chat(message(created="now")), "messages[0].created"),
        (chat(message(created=-1)), "messages[0].created"),
        (chat(message(reasoning=1)), "reasoning"),
        (chat(title="x" * 201), "title"),
        ({"projects": [{"id": "p", "name": "x" * 1000}]}, "name"),
        ({"files": [{"id": 1, "hash": ""}]}, "id"),
        ({"tutor": {"owner": {}}}, "unknown field"),
        ({"tutor": {"plan": []}}, "plan must be"),
    ],
)
def test_a_wrong_import_changes_nothing(one, body, told):
    good = {"form": export.FORM, "version": export.VERSION, "projects": [{"id": "p", "name": "good"}]}
    refused(one.post("/import", json=good | body), 400, told)
    assert one.get("/projects").json()["projects"] == [] and one.get("/chats").json()["chats"] == []


def test_what_an_import_says_of_replies_is_taken_only_in_its_form(one):
    cited = [
        {"file": "none", "name": "a.txt", "lines": [1, 2], "quote": "q"},
        {"name": "a", "lines": [0, 1]},
        {"lines": [1, 2]},
        5,
    ]
    deep = json.loads("[" * 900 + "]" * 900)
    meta = {"finish": "stop", "meter": {"joules": 5, "x": {}}, "citations": cited, "evil": deep, "error": {"a": 1}}
    made = chat(message(role="assistant", meta=meta, state="writing"))
    one.made("/import", form=export.FORM, version=export.VERSION, **made)
    (found,) = one.get("/chats").json()["chats"]
    (said,) = one.get(f"/chats/{found['id']}").json()["messages"]
    kept = {"file": None, "name": "a.txt", "lines": [1, 2], "quote": "q"}
    assert said["state"] == "stopped"
    assert said["meta"] == {"finish": "stop", "meter": {"joules": 5}, "citations": [kept]}
    assert "> a.txt, lines 1–2" in one.get(f"/chats/{found['id']}/export").text


def test_an_import_cannot_take_anothers_files(one):
    file = one.upload("a.txt", b"text")["id"]
    content = [{"type": "file", "file": file, "name": "a.txt"}]
    one.made("/import", form=export.FORM, version=export.VERSION, **chat(message(content=content)))
    (found,) = one.get("/chats").json()["chats"]
    (said,) = one.get(f"/chats/{found['id']}").json()["messages"]
    assert said["content"][0]["type"] == "text"
