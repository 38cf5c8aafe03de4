"""A running server with its page, and a browser's part in talking to it."""

import json
from contextlib import contextmanager

import httpx
from served import served

from perilune.app.mount import Page
from perilune.server.kept import Kept

API = "/app/api"
GREEDY = {"temperature": 0, "thinking": False}


class Browser(httpx.Client):
    """Sends what the page sends with every change."""

    def __init__(self, address, **options):
        super().__init__(base_url=address + API, headers={"x-perilune": "1"}, timeout=60, **options)

    def signed_in(self, key):
        self.post("/session", json={"key": key})
        return self

    def made(self, path, **body):
        answer = self.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def said(self, chat, text="hi", parent=None, files=()):
        content = [{"type": "text", "text": text}, *({"type": "file", "file": file} for file in files)]
        return self.made(f"/chats/{chat}/messages", parent=parent, content=content)

    def upload(self, name, data, status=201):
        answer = self.post("/files", params={"name": name}, content=data)
        assert answer.status_code == status, answer.text
        return answer.json()

    def events(self, reply, after=0):
        """All events of a reply with their numbers, to its end."""
        with self.stream("GET", f"/replies/{reply}/events", params={"after": after}) as answer:
            assert answer.status_code == 200
            return list(events_of(answer))

    def replied(self, chat, parent, **wanted):
        """A whole reply and what was told of it."""
        made = self.made(f"/chats/{chat}/replies", parent=parent, **GREEDY | wanted)
        told = [event for _, event in self.events(made["id"])]
        assert told[-1]["type"] == "done"
        return told[-1]["message"], told


def events_of(answer):
    number = None
    for line in answer.iter_lines():
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            yield number, json.loads(line[6:])


@contextmanager
def paged(model, folder, **options):
    """The address of a server with a page, which keeps things in the folder."""
    kept = Kept(folder)
    try:
        with served(model, kept=kept, page=Page, **options) as address:
            yield address
    finally:
        kept.close()


def refused(answer, status, told=""):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert told in error["message"], error
    return error
