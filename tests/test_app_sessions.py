"""Who may use the page: a key once, a cookie from then on, and no other site's page ever."""

import httpx
import pytest
from app_page import API, Browser, paged, refused
from served import KEYS, tiny_model

from perilune.app import sessions, wrong_keys


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("sessions"))


@pytest.fixture
def address(model, tmp_path):
    with paged(model, tmp_path, keys=KEYS) as at:
        yield at


def test_strangers_hear_only_that_a_key_is_needed(address):
    with Browser(address) as stranger:
        state = stranger.get("/state").json()
        assert (state["needs_key"], state["user"], state["model"]) == (True, None, None)
        for path in ("/chats", "/projects", "/export", "/tutor", "/state/../chats", "/session/../chats"):
            refused(stranger.get(path), 401, "key")
        refused(stranger.post("/chats", json={}), 401)
        refused(stranger.post("/session", json={"key": "no-key-of-ours"}), 401, "not known")


def test_a_cookie_stands_for_the_key_until_it_is_logged_out(address):
    with Browser(address) as one:
        answer = one.post("/session", json={"key": KEYS[0]})
        cookie = answer.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/app")) and KEYS[0] not in cookie
        state = one.get("/state").json()
        assert state["user"] and state["model"]["name"] == "tiny" and state["model"]["context"] == 512
        one.made("/chats", title="mine")
        with httpx.Client(base_url=address + API, headers={"authorization": f"Bearer {KEYS[0]}"}) as program:
            assert [chat["title"] for chat in program.get("/chats").json()["chats"]] == ["mine"]
        kept = dict(one.cookies)
        assert one.delete("/session").status_code == 200
        with Browser(address, cookies=kept) as thief:
            refused(thief.get("/chats"), 401)


def test_sessions_outlive_the_server_but_not_their_key(model, tmp_path):
    with paged(model, tmp_path, keys=KEYS) as at, Browser(at) as one:
        one.post("/session", json={"key": KEYS[0]})
        kept = dict(one.cookies)
    with paged(model, tmp_path, keys=KEYS) as at, Browser(at, cookies=kept) as one:
        assert one.get("/chats").status_code == 200
    with paged(model, tmp_path, keys=KEYS[1:]) as at, Browser(at, cookies=kept) as one:
        refused(one.get("/chats"), 401)
    assert kept["perilune"].encode() not in (tmp_path / "page" / "page.sqlite").read_bytes()


def test_a_guesser_waits_and_nobody_else_does(address):
    with Browser(address) as guesser, Browser(address) as neighbour:
        guesser.headers["x-forwarded-for"], neighbour.headers["x-forwarded-for"] = "198.51.100.7", "198.51.100.8"
        for number in range(wrong_keys.MOST_WRONG):
            refused(guesser.post("/session", json={"key": f"guess-number-{number}"}), 401)
        answer = guesser.post("/session", json={"key": KEYS[0]})
        assert refused(answer, 429, "from your address")["code"] == "too_many_keys"
        assert 1 <= int(answer.headers["retry-after"]) <= wrong_keys.WRONG_SECONDS
        assert neighbour.post("/session", json={"key": KEYS[0]}).status_code == 200
        assert neighbour.get("/chats").status_code == 200
        refused(neighbour.post("/session", json={"key": "mistyped-once"}), 401)


def test_the_oldest_of_many_sessions_leaves(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_OF_ONE", 2)
    with paged(model, tmp_path, keys=KEYS) as at:
        browsers = [Browser(at) for _ in range(3)]
        for browser in browsers:
            browser.post("/session", json={"key": KEYS[0]})
        assert [browser.get("/chats").status_code for browser in browsers] == [401, 200, 200]
        for browser in browsers:
            browser.close()


@pytest.mark.parametrize("cookie", ["", "x", "x" * 5000, "'; drop table sessions; --"])
def test_made_up_cookies_are_nobody(address, cookie):
    with httpx.Client(base_url=address + API, headers={"cookie": f"perilune={cookie}"}) as stranger:
        assert stranger.get("/chats").status_code == 401


def test_another_sites_page_changes_nothing(model, tmp_path):
    with paged(model, tmp_path, origins=("https://friend.example",)) as at, Browser(at) as one:
        chat = one.made("/chats")["id"]
        for origin in ("https://evil.example", "null", "https://friend.example", at.replace("127.0.0.1", "localhost")):
            for method, path in (("POST", "/chats"), ("DELETE", f"/chats/{chat}"), ("POST", f"/chats/{chat}/replies")):
                refused(one.request(method, path, json={}, headers={"origin": origin}), 403)
        assert one.post("/chats", json={}, headers={"origin": at}).status_code == 201
        with httpx.Client(base_url=at + API) as plain:
            for method, path in (("POST", "/chats"), ("PATCH", f"/chats/{chat}"), ("DELETE", f"/chats/{chat}")):
                assert refused(plain.request(method, path), 403, "x-perilune: 1")["code"] == "header_missing"
            refused(plain.post("/files", params={"name": "a.txt"}, content=b"x"), 403)
            refused(plain.post(f"/chats/{chat}/replies", json={}), 403)
            refused(plain.get("/chats", headers={"host": "evil.example"}), 403, "localhost only")
        assert len(one.get("/chats").json()["chats"]) == 2
