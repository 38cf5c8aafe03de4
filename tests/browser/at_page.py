"""What a user does at the page, for several tests."""

import json

from playwright.sync_api import expect

LIMIT = 120_000  # milliseconds for a reply: other things may run on the machine


def settled(page, **settings):
    """The page again, with these settings."""
    page.evaluate(f"localStorage.setItem('perilune.settings', JSON.stringify({json.dumps(settings)}))")
    page.reload()
    page.locator(".composer").wait_for()


def ask(page, text):
    """Writes and sends; the reply has begun."""
    count = page.locator(".message.user").count()
    page.locator(".composer textarea").fill(text)
    page.locator(".send").click()
    if not page.locator(".message.user").count() > count:
        expect(page.locator(".message.assistant").last).to_be_visible(timeout=LIMIT)


def replied(page):
    """Waits for the last reply to end, and gives its element."""
    last = page.locator(".message.assistant").last
    expect(last).to_be_visible(timeout=LIMIT)
    expect(page.locator(".message.writing")).to_have_count(0, timeout=LIMIT)
    return last


def chat_with(api, replies, leaf=None):
    """The id of a chat that holds questions and the given replies."""
    messages, parent = [], None
    for index, text in enumerate(replies):
        question = {"id": f"q{index}", "parent": parent, "role": "user"}
        messages.append({**question, "content": [{"type": "text", "text": f"Question {index}"}]})
        reply = {"id": f"r{index}", "parent": f"q{index}", "role": "assistant"}
        messages.append({**reply, "content": [{"type": "text", "text": text}]})
        parent = f"r{index}"
    chat = {"id": "c", "title": f"Imported {len(replies)}", "messages": messages, "leaf": leaf or parent}
    answer = api.post("/import", json={"form": "perilune history", "version": 1, "chats": [chat]})
    assert answer.status_code == 201, answer.text
    return api.get("/chats", params={"limit": 1}).json()["chats"][0]["id"]


def read_aloud(locator):
    return " ".join(locator.inner_text().split())
