"""Chats, messages and their branches; what belongs to one user is not there for another."""

import pytest
from app_page import Browser, paged, refused
from served import KEYS, tiny_model

from perilune.app import chats, history


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chats")
    with paged(tiny_model(folder / "model", context=4096), folder / "state", keys=KEYS) as at:
        yield at


@pytest.fixture
def one(address):
    with Browser(address) as made:
        yield made.signed_in(KEYS[0])


@pytest.fixture
def other(address):
    with Browser(address) as made:
        yield made.signed_in(KEYS[1])


def titles(browser, **asked):
    return [chat["title"] for chat in browser.get("/chats", params=asked).json()["chats"]]


def test_a_chat_gets_its_title_from_what_is_said_first_unless_it_has_one(one):
    chat, named = one.made("/chats"), one.made("/chats", title="Taxes")
    for where in (chat, named):
        one.said(where["id"], "  What is\n a lunar orbit? " + "x" * 200)
    assert one.get(f"/chats/{chat['id']}").json()["title"] == "What is a lunar orbit? " + "x" * 57
    assert one.get(f"/chats/{named['id']}").json()["title"] == "Taxes"
    assert one.patch(f"/chats/{chat['id']}", json={"title": "Orbits"}).json()["title"] == "Orbits"
    assert titles(one)[:2] == ["Taxes", "Orbits"]


def test_messages_are_a_tree_and_the_leaf_says_which_branch_is_shown(one):
    chat = one.made("/chats")["id"]
    first = one.said(chat, "one")
    second, edited = one.said(chat, "two", first["id"]), one.said(chat, "two again", first["id"])
    whole = one.get(f"/chats/{chat}").json()
    assert [message["parent"] for message in whole["messages"]] == [None, first["id"], first["id"]]
    assert whole["leaf"] == edited["id"] and whole["messages"][1]["content"] == [{"type": "text", "text": "two"}]
    assert one.patch(f"/chats/{chat}", json={"leaf": second["id"]}).json()["leaf"] == second["id"]
    assert one.get(f"/chats/{chat}").json()["leaf"] == second["id"]


def test_search_finds_words_in_any_script_and_marks_them(one):
    for said in ("The Älteste wrote of Gardens", "图书馆在哪里", "a 100% sure_thing", "nothing of it"):
        one.said(one.made("/chats")["id"], said)
    for query, found in {
        "älteste garden": "The Älteste wrote of Gardens",
        "ARDEN": "The Älteste wrote of Gardens",
        "图书": "图书馆在哪里",
        "0%": "a 100% sure_thing",
        "e_t": "a 100% sure_thing",
    }.items():
        assert titles(one, query=query) == [found], query
    for query in ('"', "garden OR nothing", "-", "*", "NEAR(", "gar\0rose", "x" * 1000, "said:garden"):
        assert titles(one, query=query) == [], query
    (chat,) = one.get("/chats", params={"query": "garden"}).json()["chats"]
    assert chat["snippet"] == [["The Älteste wrote of ", False], ["Garden", True], ["s", False]]


def test_long_lists_come_in_pages(one):
    for number in range(5):
        one.made("/chats", title=f"page {number}")
    first = one.get("/chats", params={"limit": 2}).json()
    assert first["more"] and [chat["title"] for chat in first["chats"]] == ["page 4", "page 3"]
    second = one.get("/chats", params={"limit": 2, "before": first["chats"][-1]["updated"]}).json()
    assert [chat["title"] for chat in second["chats"]] == ["page 2", "page 1"]


def test_nobody_sees_or_changes_what_is_anothers(one, other):
    chat = one.made("/chats", title="a secret garden")["id"]
    message, file = one.said(chat, "the rose is blue")["id"], one.upload("a.txt", b"mine")["id"]
    for method, path, body in (
        ("GET", f"/chats/{chat}", None),
        ("PATCH", f"/chats/{chat}", {"title": "x"}),
        ("DELETE", f"/chats/{chat}", None),
        ("POST", f"/chats/{chat}/messages", {"content": [{"type": "text", "text": "x"}]}),
        ("POST", f"/chats/{chat}/replies", {"parent": message}),
        ("GET", f"/chats/{chat}/export", None),
        ("GET", f"/replies/{message}/events", None),
        ("POST", f"/replies/{message}/stop", {}),
        ("POST", f"/replies/{message}/answer", {}),
        ("GET", f"/files/{file}", None),
        ("GET", f"/files/{file}/content", None),
        ("GET", f"/files/{file}/text", None),
        ("DELETE", f"/files/{file}", None),
    ):
        answer = other.request(method, path, **({} if body is None else {"json": body}))
        assert refused(answer, 404, "here")["code"] == "not_found", path
    mine = other.made("/chats")["id"]
    for content, parent in (([{"type": "file", "file": file}], None), ([{"type": "text", "text": ""}], message)):
        refused(other.post(f"/chats/{mine}/messages", json={"content": content, "parent": parent}), 404)
    refused(other.patch(f"/chats/{mine}", json={"leaf": message}), 404)
    refused(other.post("/projects", json={"name": "x", "files": [file]}), 404)
    assert not titles(other, query="rose") and not titles(other, query="secret garden")
    assert "rose" not in other.get("/export").text and one.get(f"/chats/{chat}").json()["title"] == "a secret garden"


def test_deleting_a_chat_leaves_nothing_of_it_on_the_disk(tmp_path):
    with paged(tiny_model(tmp_path / "model"), tmp_path / "state") as at, Browser(at) as one:
        kept, gone = one.made("/chats")["id"], one.made("/chats")["id"]
        shared, alone = one.upload("a.txt", b"said in both")["id"], one.upload("b.txt", b"quetzalcoatl sleeps")["id"]
        one.said(kept, "a plain remark", files=[shared])
        one.said(gone, "the password is xylophone", files=[shared, alone])
        assert one.delete(f"/chats/{gone}").json()["deleted"]
        refused(one.get(f"/chats/{gone}"), 404)
        refused(one.get(f"/files/{alone}"), 404)
        assert one.get(f"/files/{shared}/content").content == b"said in both"
        data = b"".join(path.read_bytes() for path in (tmp_path / "state" / "page").rglob("*") if path.is_file())
        assert b"a plain remark" in data
        for word in (b"xylophone", b"quetzalcoatl", b"xyl", b"b.txt"):
            assert word not in data, word


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "content must be"),
        ({"content": []}, "content must be"),
        ({"content": "hi"}, "content must be"),
        ({"content": [{"type": "text", "text": "x"}] * (chats.MOST_PARTS + 1)}, "1 to 256 parts"),
        ({"content": [{"type": "image", "image": "/etc/passwd"}]}, "content[0] must be"),
        ({"content": ["x"]}, "content[0] must be"),
        ({"content": [{"type": "text", "text": 5}]}, "content[0].text"),
        ({"content": [{"type": "text", "text": "x", "more": 1}]}, "unknown field 'more'"),
        ({"content": [{"type": "text", "text": "x"}], "role": "assistant"}, "unknown field 'role'"),
        ({"content": [{"type": "text", "text": "x"}], "parent": 5}, "parent must be"),
        ({"content": [{"type": "text", "text": "x" * (chats.MOST_TEXT + 1)}]}, "send what is longer as a file"),
    ],
)
def test_wrong_messages_are_refused(one, body, told):
    chat = one.made("/chats")["id"]
    refused(one.post(f"/chats/{chat}/messages", json=body), 400, told)
    assert one.get(f"/chats/{chat}").json()["messages"] == []


def test_wrong_queries_and_bodies_are_refused(one):
    for name, values in {"limit": (0, 201, "²"), "before": ("nan", "x", -1), "query": ("x" * 1001,)}.items():
        for value in values:
            refused(one.get("/chats", params={name: value}), 400, name)
    for body in (b"{", b"[]", b'{"title": NaN}', b'{"title": "\\ud800"}', b"[" * 100_000, b'{"title": 5}'):
        refused(one.post("/chats", content=body, headers={"content-type": "application/json"}), 400)
    refused(one.post("/chats", data={"title": "a form"}), 400, "application/json")
    huge = b'{"title": "' + b"x" * (17 << 20) + b'"}'
    refused(one.post("/chats", content=huge, headers={"content-type": "application/json"}), 413)


def test_chats_and_messages_are_bounded(one, monkeypatch):
    chat = one.made("/chats")["id"]
    one.said(chat)
    monkeypatch.setattr(history, "MOST_MESSAGES", 1)
    assert one.post(f"/chats/{chat}/messages", json={"content": [{"type": "text", "text": "x"}]}).status_code == 507
    monkeypatch.setattr(history, "MOST_CHATS", 1)
    assert one.post("/chats", json={}).status_code == 507
