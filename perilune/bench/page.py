"""`perilune bench page`: how fast the page is in a real Chromium, at a server of its own that keeps nothing.

Every visit is a fresh browser context: nothing is cached, nothing is compiled. Scrolling is the browser's own gesture,
as a wheel makes it; a frame is one turn of requestAnimationFrame. Times are medians over the visits.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from perilune.bench.machine import describe
from perilune.bench.serve import running_server
from perilune.errors import RequestError

if TYPE_CHECKING:
    from playwright.sync_api import APIRequestContext, Browser, CDPSession, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1280, 800)
MOST_REPEATS, MOST_SLOW = 100, 50.0
MESSAGES, LINES = 10_000, 100_000
CITED = (1, 77_777, 99_998)  # lines of the file that are cited
GESTURE_PX, GESTURE_SPEED = 6000, 3000  # pixels, and pixels a second: four screens
REST_MS = 3000  # between opening a history and scrolling it at rest
OnPart = Callable[[str], None]

# When the composer first takes what is typed, and frames, as the page itself sees them.
WATCH = """() => {
    const look = (now) => {
        const composer = document.querySelector(".composer textarea");
        if (composer?.offsetHeight) window.composerAt = now;
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
COUNT = """() => {
    window.frameTimes = [];
    const frame = (now) => { window.frameTimes.push(now); window.nextFrame = requestAnimationFrame(frame); };
    window.nextFrame = requestAnimationFrame(frame);
}"""
COUNTED = "() => { cancelAnimationFrame(window.nextFrame); return window.frameTimes; }"
CITE = """(index) => new Promise((shown) => {
    const began = performance.now();
    const look = () => {
        const line = document.querySelector(".line.hit span");
        if (line?.textContent && line.getBoundingClientRect().height) shown(performance.now() - began);
        else requestAnimationFrame(look);
    };
    document.querySelectorAll(".citation")[index].click();
    requestAnimationFrame(look);
})"""


@dataclass(frozen=True)
class PageResult:
    """Seconds, bytes as they came over the wire, frames a second; `longest_…` is the longest time between frames."""

    repeats: int
    slow: float  # the processor is made so many times slower
    requests: int
    bytes: int
    first_paint: float
    interactive: float
    messages: int
    opened: float
    frames_opened: float
    longest_opened: float
    frames_at_rest: float
    longest_at_rest: float
    lines: int
    cited: float
    browser: str
    machine: dict[str, Any] = field(default_factory=describe)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        slower = "" if self.slow == 1 else f", processor {self.slow:g} times slower"
        return "\n".join(
            (
                f"Chromium {self.browser}, medians of {self.repeats} fresh visits{slower}",
                f"first load: {self.bytes / 1e3:.0f} kB in {self.requests} requests, first paint after "
                f"{self.first_paint:.2f} s, the composer takes text after {self.interactive:.2f} s",
                f"a chat of {self.messages:,} messages: shown after {self.opened:.2f} s; scrolling, "
                f"{self.frames_opened:.0f} frames/s right after (longest {1000 * self.longest_opened:.0f} ms), "
                f"{self.frames_at_rest:.0f} at rest ({1000 * self.longest_at_rest:.0f} ms)",
                f"a file of {self.lines:,} lines: open at a citation after {self.cited:.2f} s",
            )
        )


def find_chromium() -> str | None:
    """Where a Chromium lies."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def bench_page(
    repeats: int = 5,
    slow: float = 1,
    *,
    messages: int = MESSAGES,
    lines: int = LINES,
    on_part: OnPart = lambda _: None,
) -> PageResult:
    """`slow` makes the browser's processor so many times slower, as Chromium's own throttling does it.

    RequestError where there is no Chromium, or nothing to drive it with.
    """
    if not 1 <= repeats <= MOST_REPEATS or not 1 <= slow <= MOST_SLOW:
        raise RequestError(f"repeats must be from 1 to {MOST_REPEATS} and slow from 1 to {MOST_SLOW:g}")
    with _chromium() as (browser, api_of), running_server(["--model", "nano"], 64) as (port, _):
        address = f"http://127.0.0.1:{port}"
        on_part(f"keeping {messages:,} messages and {lines:,} lines")
        long, citing = _kept(api_of(address), messages, lines)
        visit = _Visits(browser, address, slow)
        loads, histories, cited = [], [], []
        for turn in range(repeats):
            on_part(f"first load, {turn + 1} of {repeats}")
            loads.append(visit.first_load())
            on_part(f"scrolling, {turn + 1} of {repeats}")
            histories.append(visit.history(long))
            on_part(f"citations, {turn + 1} of {repeats}")
            cited += visit.citations(citing)
        requests, sizes, paints, ready = zip(*loads, strict=True)
        shown, right, rest = zip(*histories, strict=True)
        median = statistics.median
        return PageResult(
            repeats,
            slow,
            int(median(requests)),
            int(median(sizes)),
            median(paints),
            median(ready),
            messages,
            median(shown),
            median(frames for frames, _ in right),
            median(longest for _, longest in right),
            median(frames for frames, _ in rest),
            median(longest for _, longest in rest),
            lines,
            median(cited),
            browser.version,
        )


@contextmanager
def _chromium() -> Iterator[tuple[Browser, Callable[[str], APIRequestContext]]]:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise RequestError("the page is measured in a browser: pip install 'perilune[browser]'") from None
    found = find_chromium()
    if found is None:
        raise RequestError(f"no browser: install Chromium (looked for {', '.join(BROWSERS)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        try:
            yield browser, lambda address: playwright.request.new_context(base_url=address)
        finally:
            browser.close()


def _kept(api: APIRequestContext, messages: int, lines: int) -> tuple[str, str]:
    """The ids of a long chat, and of one whose reply cites a long file."""
    text = "".join(f"line {index + 1} of a long file\n" for index in range(lines)).encode()
    headers = {"x-perilune": "1"}
    file = _answer(api.post("/app/api/files?name=long.txt", data=text, headers=headers))["id"]
    places = [{"file": file, "name": "long.txt", "lines": [line, line + 1]} for line in CITED if line < lines]
    told = [_said(None, 0, "user", "Where?"), {**_said(0, 1, "assistant", "Here."), "meta": {"citations": places}}]
    history = [
        _said(
            index - 1 if index else None,
            index,
            *(("assistant", _prose(index)) if index % 2 else ("user", f"And {index}?")),
        )
        for index in range(messages)
    ]
    body = {
        "form": "perilune history",
        "version": 1,
        "files": [{"id": file, "hash": hashlib.sha256(text).hexdigest()}],
        "chats": [{"title": "long", "messages": history}, {"title": "cites", "messages": told}],
    }
    _answer(api.post("/app/api/import", data=json.dumps(body), headers={**headers, "content-type": "application/json"}))
    chats = {chat["title"]: chat["id"] for chat in _answer(api.get("/app/api/chats"))["chats"]}
    return chats["long"], chats["cites"]


def _answer(answer: Any) -> Any:
    if not answer.ok:
        raise RequestError(f"the server answered {answer.status}: {answer.text()[:200]}")
    return answer.json()


def _said(parent: int | None, index: int, role: str, text: str) -> dict[str, Any]:
    above = None if parent is None else str(parent)
    return {"id": str(index), "parent": above, "role": role, "content": [{"type": "text", "text": text}]}


def _prose(index: int) -> str:
    """A reply of some length, now and then with a list, a program, a table or a formula."""
    parts = [f"Reply {index}. " + " ".join(f"word{(31 * index + n) % 97}" for n in range(20 + 7919 * index % 90))]
    if index % 3 == 0:
        parts.append("\n".join(f"- point {n} of **{index}** with `code`" for n in range(4)))
    if index % 5 == 0:
        parts.append("```python\n" + "\n".join(f"def f{n}(x):\n    return x + {index}" for n in range(5)) + "\n```")
    if index % 7 == 0:
        parts.append("| a | b |\n|---|---|\n" + "\n".join(f"| {n} | {index} |" for n in range(5)))
    if index % 11 == 0:
        parts.append(f"The area is $\\pi r^2 + {index}$.")
    return "\n\n".join(parts)


class _Visits:
    def __init__(self, browser: Browser, address: str, slow: float):
        self.browser, self.address, self.slow = browser, address, slow

    @contextmanager
    def _visit(self) -> Iterator[tuple[Page, CDPSession]]:
        context = self.browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]})
        try:
            page = context.new_page()
            devtools = context.new_cdp_session(page)
            if self.slow > 1:
                devtools.send("Emulation.setCPUThrottlingRate", {"rate": self.slow})
            yield page, devtools
        finally:
            context.close()

    def first_load(self) -> tuple[int, int, float, float]:
        """Requests, bytes, and the seconds to the first paint and to a composer."""
        with self._visit() as (page, devtools):
            sizes: list[float] = []
            devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
            devtools.send("Network.enable")
            page.add_init_script(f"({WATCH})()")
            page.goto(self.address, wait_until="networkidle")
            page.wait_for_function("() => window.composerAt")
            painted, ready = page.evaluate(PAINTED), page.evaluate("() => window.composerAt")
            return len(sizes), int(sum(sizes)), painted / 1000, ready / 1000

    def history(self, chat: str) -> tuple[float, tuple[float, float], tuple[float, float]]:
        """Seconds until a chat's last message is there, and frames while it is scrolled at once and later."""
        with self._visit() as (page, devtools):
            page.goto(f"{self.address}/#/chat/{chat}")
            page.locator(".message").last.wait_for()
            shown = page.evaluate("() => performance.now()") / 1000
            right = self._scrolled(page, devtools)
            page.wait_for_timeout(REST_MS)
            return shown, right, self._scrolled(page, devtools)

    def _scrolled(self, page: Page, devtools: CDPSession) -> tuple[float, float]:
        """Frames a second while the page is scrolled up, and the longest time between two."""
        page.evaluate(COUNT)
        middle = {"x": SIZE[0] / 2, "y": SIZE[1] / 2}
        gesture = {**middle, "yDistance": GESTURE_PX, "speed": GESTURE_SPEED, "gestureSourceType": "mouse"}
        devtools.send("Input.synthesizeScrollGesture", gesture)
        times = page.evaluate(COUNTED)
        gaps = [(after - before) / 1000 for before, after in pairwise(times)]
        return len(gaps) / sum(gaps), max(gaps)

    def citations(self, chat: str) -> list[float]:
        """Seconds from a click on each citation of a reply to its line on the screen."""
        with self._visit() as (page, _):
            page.goto(f"{self.address}/#/chat/{chat}")
            page.locator(".citation").first.wait_for()
            found = []
            for index in range(page.locator(".citation").count()):
                found.append(page.evaluate(CITE, index) / 1000)
                page.locator(".panel header .icon-button").last.click()
            return found
