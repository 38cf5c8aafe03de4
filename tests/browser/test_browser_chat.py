"""Chatting in a browser: streaming, stopping, branches, reasoning, the keyboard, five languages."""

import re
from itertools import pairwise

import pytest
from at_page import LIMIT, ask, chat_with, replied, settled
from playwright.sync_api import expect


def test_a_first_question_is_answered_kept_and_found_again(page, api, size, shot):
    shot(page, f"welcome-{size}")
    ask(page, "Who are you?")
    reply = replied(page)
    expect(reply.locator(".prose")).not_to_be_empty()
    expect(page).to_have_url(re.compile("#/chat/"))
    said = reply.locator(".prose").inner_text()
    shot(page, f"chat-{size}")
    chat = api.get("/chats", params={"limit": 1}).json()["chats"][0]
    assert chat["title"] == "Who are you?" and page.title().startswith("Who are you?")
    page.reload()
    expect(page.locator(".message.assistant .prose")).to_have_text(said)
    if size == "phone":
        page.locator(".topbar .icon-button").first.click()
    expect(page.locator(".chats a", has_text="Who are you?").first).to_be_visible()
    shot(page, f"sidebar-{size}")


def test_a_reply_is_shown_while_it_is_written_and_can_be_stopped(watched, talking, size):
    page = watched.open(talking, size)
    settled(page, thinking=False)
    ask(page, "Tell me a long story about a bear and a fox.")
    expect(page.locator(".message.writing .prose")).not_to_be_empty(timeout=LIMIT)
    expect(page.locator(".send")).to_have_attribute("aria-label", "Stop")
    page.locator(".send").click()
    reply = replied(page)
    expect(reply.locator(".stopped")).to_have_text("Stopped")
    expect(page.locator(".send")).to_have_attribute("aria-label", "Send")


def test_edits_and_other_tries_are_branches_that_can_be_walked(page, watched):
    ask(page, "What is 2 plus 3?")
    replied(page)
    page.locator(".message.user [data-act=edit]").click()
    page.locator(".message .edit textarea").fill("What is 4 plus 4?")
    page.locator(".message .edit .main").click()
    replied(page)
    expect(page.locator(".message.user .bubble")).to_have_text("What is 4 plus 4?")
    expect(page.locator(".message.user .branches")).to_contain_text("2 of 2")
    page.locator(".message.user .branches .icon-button").first.click()
    expect(page.locator(".message.user .bubble")).to_have_text("What is 2 plus 3?")
    page.locator(".message.assistant [data-act=again]").click()
    replied(page)
    expect(page.locator(".message.assistant .branches")).to_contain_text("2 of 2")
    page.reload()
    expect(page.locator(".message.user .bubble")).to_have_text("What is 2 plus 3?")
    expect(page.locator(".message.assistant .branches")).to_contain_text("2 of 2")


def test_reasoning_is_folded_and_can_be_ended(watched, talking, size):
    page = watched.open(talking, size)
    settled(page, thinking=True)
    ask(page, "Ben has 12 apples, gives 3 to Eva and buys 7 more. How many has he now?")
    with page.expect_response(re.compile("/replies/.*/answer$"), timeout=LIMIT) as answered:
        page.locator(".reasoning-line > button").click(timeout=LIMIT)
    assert answered.value.ok
    expect(page.locator(".message.writing .prose")).not_to_be_empty(timeout=LIMIT)
    page.locator(".send").click()
    reply = replied(page)
    expect(reply.locator(".prose")).not_to_be_empty()
    folded = reply.locator(".reasoning")
    assert folded.get_attribute("open") is None
    folded.locator("summary").click()
    expect(folded.locator("div").first).not_to_be_empty()


def test_the_keyboard_reaches_everything(watched, address):
    page = watched.open(address)
    page.locator(".composer").wait_for()
    expect(page.locator(".composer textarea")).to_be_focused()
    page.keyboard.type("Who made you?")
    page.keyboard.press("Enter")
    replied(page)
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator(".message.assistant")).to_be_focused()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator(".message.user")).to_be_focused()
    page.keyboard.press("Alt+E")
    expect(page.locator(".message .edit textarea")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+M")
    expect(page.locator(".composer textarea")).to_be_focused()
    page.keyboard.press("Control+/")
    expect(page.locator("dialog.sheet")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog.sheet")).to_have_count(0)
    page.keyboard.press("Control+B")
    expect(page.locator(".sidebar")).to_be_hidden()
    page.keyboard.press("Control+B")
    page.keyboard.press("Alt+N")
    expect(page.locator(".welcome")).to_be_visible()
    page.keyboard.press("Control+K")
    expect(page.locator("input[type=search]")).to_be_focused()


@pytest.mark.parametrize(
    ("locale", "text"),
    [("de-DE", "Neuer Chat"), ("fr-FR", "Nouvelle"), ("zh-CN", "新对话"), ("ja-JP", "新しいチャット")],
)
def test_the_surface_speaks_the_language_of_the_browser(watched, address, shot, locale, text):
    page = watched.open(address, locale=locale)
    expect(page.locator(".places")).to_contain_text(text)
    shot(page, f"language-{locale[:2]}")


def test_a_long_history_keeps_few_elements_and_no_gaps(watched, address, api, shot):
    replies = [f"Reply {index}. " + "word " * (index * 7919 % 90) for index in range(5000)]
    chat = chat_with(api, replies)
    page = watched.open(address, path=f"/#/chat/{chat}")
    expect(page.locator(".message").last).to_contain_text("Reply 4999")
    places = """() => [...document.querySelectorAll('.message')].map((el) => {
        const at = el.getBoundingClientRect();
        return [Number(el.getAttribute('aria-posinset')), at.top, at.bottom];
    })"""
    for share in (0.0, 0.31, 0.5, 0.77, 1.0):
        page.evaluate(
            "(share) => { const el = document.querySelector('.scroller'); el.scrollTop = share * el.scrollHeight }",
            share,
        )
        page.wait_for_function("() => document.querySelectorAll('.message').length > 3")
        page.wait_for_timeout(200)
        found = page.evaluate(places)
        assert len(found) < 100
        assert [one[0] for one in found] == list(range(found[0][0], found[0][0] + len(found)))
        for (_, _, bottom), (_, top, _) in pairwise(found):
            assert abs(bottom - top) < 1.5
        assert found[0][1] <= 60 or found[0][0] == 1
        assert found[-1][2] >= 600 or found[-1][0] == 10_000
