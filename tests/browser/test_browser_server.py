"""The server dies and returns while a reply streams; and what a browser's own measure finds wrong with the page."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from at_page import LIMIT, ask, chat_with, replied, settled
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def start(model, port, state):
    served = ["serve", "--model", str(model), "--port", str(port), "--state", str(state)]
    command = [sys.executable, "-m", "perilune", *served]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        assert process.poll() is None
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError("the server did not start")


def test_a_server_that_dies_and_returns_loses_nothing_that_was_written(watched, talker, tmp_path, shot):
    port, state = free_port(), tmp_path / "state"
    process = start(talker, port, state)
    try:
        page = watched.open(f"http://127.0.0.1:{port}")
        settled(page, thinking=False)
        ask(page, "Tell me a long story about a bear, a fox and the moon. Make it very long.")
        prose = page.locator(".message.assistant .prose")
        expect(prose).not_to_be_empty(timeout=LIMIT)
        page.wait_for_timeout(700)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        said = prose.inner_text()
        expect(page.locator(".reply-status .stopped")).to_contain_text("connection is lost", timeout=LIMIT)
        expect(page.locator(".offline")).to_be_visible(timeout=LIMIT)
        shot(page, "server-gone")
        process = start(talker, port, state)
        expect(page.locator(".offline")).to_be_hidden(timeout=LIMIT)
        reply = replied(page)
        expect(reply.locator(".stopped")).to_have_text("The server ended before this reply did.")
        kept = reply.locator(".prose").inner_text()
        assert kept and (said.startswith(kept[:40]) or kept.startswith(said[:40]))
        reply.locator("[data-act=again]").click()
        expect(page.locator(".message.writing .prose")).not_to_be_empty(timeout=LIMIT)
    finally:
        process.kill()
        process.wait()


RICH = """# A reply with everything

Text with `code`, **bold** and a [link](https://a.example).

| a | b |
|---|--:|
| 1 | 2 |

```python
print("hi")
```

$$ x^2 $$
"""
PLACES = {"welcome": "#/", "projects": "#/projects", "search": "#/search/hi", "tutor": "#/tutor"}


def serious(page):
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {node['html'][:160]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(watched, address, api, size, scheme):
    chat = chat_with(api, [RICH, "Short."])
    page = watched.open(address, size, scheme)
    page.locator(".composer").wait_for()
    faults = {}
    for name, place in {**PLACES, "chat": f"#/chat/{chat}"}.items():
        page.goto(f"{address}/{place}")
        page.wait_for_timeout(500)
        faults[name] = serious(page)
    page.keyboard.press("Control+,")
    page.locator("dialog.sheet").wait_for()
    faults["settings"] = serious(page)
    assert not {name: told for name, told in faults.items() if told}
