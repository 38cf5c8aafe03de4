"""Nothing that a model, a file or another site says runs in the page, or makes it ask anybody."""

import random

import httpx
import pytest
from app_page import Browser, paged
from at_page import chat_with
from playwright.sync_api import expect

HOSTILE = [
    "<script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1"><svg onload="window.hacked = 1"></svg>',
    "[click](javascript:window.hacked=1) [data](data:text/html,<script>window.hacked=1</script>) [v](vbscript:x)",
    '![x](https://stranger.example/x.png) ![y](http://stranger.example/y.png "onerror=window.hacked=1")',
    '<iframe src="https://stranger.example"></iframe><object data=x></object><embed src=x>',
    "$\\href{javascript:window.hacked=1}{x}$ $$\\includegraphics{https://stranger.example/p.png}$$ "
    "\\(\\htmlClass{a}{\\htmlData{onclick=window.hacked=1}{b}}\\)",
    '```html"onmouseover=window.hacked=1\n<script>window.hacked = 1</script>\n```',
    '[x]: javascript:window.hacked=1\n\n[x] <javascript:window.hacked=1> <https://ok.example/"onclick="window.hacked=1>',
    "| a | b |\n|---|:-:|\n| <b onclick=window.hacked=1>x</b> | `<script>` |",
    "<style>*{display:none}</style><base href=//stranger.example>"
    "<meta http-equiv=refresh content=0;url=//stranger.example>",
    '<math><mtext><table><mglyph><style><!--</style><img title="--><img src=1 onerror=window.hacked=1>">',
    "a" * 3000 + "](" * 500 + "*_" * 800 + "> " * 300 + "\n" + "- " * 200 + "x",
]

NEVER = (
    "script, iframe, object, embed, img, style, base, meta, form, svg:not(.icon):not(.katex svg), [style]:not(.katex *)"
)
HANDLERS = """[...document.querySelectorAll('.prose *')]
    .flatMap((el) => [...el.attributes]).filter((one) => /^on/i.test(one.name)).length"""


def test_hostile_replies_are_shown_as_text_and_run_nothing(watched, address, api, shot):
    chat = chat_with(api, HOSTILE)
    page = watched.open(address, path=f"/#/chat/{chat}")
    page.locator(".message").last.wait_for()
    count = 2 * len(HOSTILE)
    seen = set()
    for share in (0, 0.25, 0.5, 0.75, 1):
        page.evaluate(
            "(s) => { const el = document.querySelector('.scroller'); el.scrollTop = s * el.scrollHeight }", share
        )
        page.wait_for_timeout(300)
        for link in page.locator(".prose a").all():
            assert (link.get_attribute("href") or "").startswith(("https://", "http://", "mailto:"))
            assert link.get_attribute("rel") == "noopener noreferrer"
        seen |= set(page.evaluate("[...document.querySelectorAll('.message')].map((el) => el.ariaPosInSet)"))
        # What KaTeX draws has styles of its own making, set by script; nothing else has any, and nothing has handlers.
        assert page.locator(f".prose :is({NEVER})").count() == 0
        assert page.evaluate(HANDLERS) == 0
    assert len(seen) == count
    assert page.evaluate("window.hacked") is None
    shot(page, "hostile")


def test_hostile_titles_and_file_names_are_text(watched, address, api):
    name = "<img src=x onerror=window.hacked=1>.txt"
    file = api.upload(name, b"<script>window.hacked=1</script>\nline two\n")
    chat = api.made("/chats", title="<svg onload=window.hacked=1>")["id"]
    api.said(chat, "<b>bold?</b>", files=[file["id"]])
    page = watched.open(address, path=f"/#/chat/{chat}")
    page.locator(".file-chip").click()
    expect(page.locator(".text-view")).to_contain_text("<script>window.hacked=1</script>")
    expect(page.locator(".message.user .bubble")).to_have_text("<b>bold?</b>")
    expect(page.locator(".topbar h1")).to_have_text("<svg onload=window.hacked=1>")
    assert page.evaluate("window.hacked") is None


PIECES = [
    "# T\n",
    "text *a* ",
    "**b**",
    "\n",
    "\n\n",
    "- one\n",
    "  - two\n",
    "1. x\n",
    "```py\n",
    "print(1)\n",
    "```\n",
    "| a | b |\n",
    "|---|---|\n",
    "| 1 | 2 |\n",
    "> q\n",
    "$x^2$ ",
    "$$\n",
    "a+b\n",
    "---\n",
    "===\n",
    "#",
    "    code\n",
    "<b>",
    "`c`",
    "[l](https://a.example)",
    "[r]",
    "\n[r]: https://b.example\n",
    "\\(y\\)",
    "\\[\n",
    "\\]\n",
    "* ",
    "+",
    "~~s~~",
    "&amp;",
]


def test_markdown_that_grows_ends_as_the_whole_does_and_never_falls_back(watched, address):
    page = watched.open(address)
    page.locator(".composer").wait_for()
    random.seed(7)
    texts = ["".join(random.choices(PIECES, k=random.randint(3, 30))) for _ in range(400)]
    check = """async (texts) => {
        const { GrowingMarkdown } = await import('/app/js/incremental.js');
        const { render } = await import('/app/js/markdown.js');
        const plain = (el) => {
            const copy = el.cloneNode(true);
            // A formula is drawn later; what counts is its source.
            for (const one of copy.querySelectorAll('.maths')) one.textContent = one.title || one.textContent;
            // What can be done with code is offered once it is whole.
            for (const bar of copy.querySelectorAll('.code-bar')) bar.remove();
            return copy.textContent.replace(/\\s+/g, ' ').trim();
        };
        const wrong = [];
        for (const text of texts) {
            const el = document.createElement('div');
            const growing = new GrowingMarkdown(el);
            for (let end = 1; end < text.length; end += 1 + (end * 7) % 5) growing.set(text.slice(0, end));
            growing.set(text);
            const settled = el.cloneNode(true);
            const whole = document.createElement('div');
            whole.append(render(text));
            // Only a reference that was defined after its use may look different before the end.
            const early = plain(settled), all = plain(whole);
            if (!text.includes('[r]:') && early !== all) wrong.push([text, early, all]);
            growing.finish(text);
            if (plain(el) !== all) wrong.push([text, plain(el), all]);
        }
        return wrong;
    }"""
    assert page.evaluate(check, texts) == []


def test_another_site_cannot_drive_the_api(watched, address, api):
    before = len(api.get("/chats").json()["chats"])
    plain = httpx.post(f"{address}/app/api/chats", json={})
    assert plain.status_code == 403
    page = watched.open(address)
    page.locator(".composer").wait_for()
    page.set_content("<p>elsewhere</p>")
    foreign = httpx.post(
        f"{address}/app/api/chats", json={}, headers={"x-perilune": "1", "origin": "http://evil.example"}
    )
    assert foreign.status_code == 403
    assert len(api.get("/chats").json()["chats"]) == before
    headers = httpx.get(f"{address}/").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


@pytest.fixture(scope="module")
def keyed(model, tmp_path_factory):
    with paged(model, tmp_path_factory.mktemp("keyed"), keys=("first-key-of-two", "second-key-of-two")) as at:
        yield at


def test_the_key_is_asked_for_once_and_a_second_user_sees_nothing_of_the_first(watched, keyed, size, shot):
    page = watched.open(keyed, size)
    page.locator("input[type=password]").fill("wrong-key-for-this")
    page.get_by_role("button", name="Enter").click()
    expect(page.locator(".fault")).to_have_text("This key is not known here.")
    shot(page, f"login-{size}")
    page.locator("input[type=password]").fill("first-key-of-two")
    page.get_by_role("button", name="Enter").click()
    page.locator(".composer").wait_for()
    assert page.evaluate("document.cookie") == ""
    with Browser(keyed) as mine:
        assert mine.post("/session", json={"key": "first-key-of-two"}).status_code == 200
        chat = mine.made("/chats", title="Only mine")["id"]
    page.reload()
    expect(page.locator(".chats")).to_contain_text("Only mine")
    other = watched.open(keyed, size)
    other.locator("input[type=password]").fill("second-key-of-two")
    other.get_by_role("button", name="Enter").click()
    other.locator(".composer").wait_for()
    other.goto(f"{keyed}/#/chat/{chat}")
    expect(other.locator(".notice.danger")).to_be_visible()
    expect(other.locator(".chats")).not_to_contain_text("Only mine")
