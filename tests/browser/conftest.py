"""A real browser at a real server with nano: on a desk and on a phone, with no way to any other host."""

import os
import shutil
from pathlib import Path

import pytest
from app_page import Browser, paged
from playwright.sync_api import sync_playwright
from safetensors.torch import load_file, save_file

import perilune
from perilune.api.model import Model
from perilune.bench.page import find_chromium
from perilune.text import specials as sp

SHOTS = Path(__file__).parent / "shots"
SIZES = {"desk": (1280, 800), "phone": (390, 844)}
SCHEMES = {"desk": "light", "phone": "dark"}
FLAGS = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


@pytest.fixture(scope="session")
def model():
    return perilune.load("nano")


@pytest.fixture(scope="session")
def address(model, tmp_path_factory):
    # What was read is kept with the rest, not in the user's own store.
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    with paged(model, tmp_path_factory.mktemp("kept")) as at:
        yield at


def unending(nano: Model, folder: Path) -> Path:
    """Nano, but its reasoning and its replies find no end: what is stopped half way is half way at any speed."""
    shutil.copytree(nano.directory, folder, dirs_exist_ok=True)
    weights = load_file(folder / "model.safetensors")
    for name in (sp.END_THINK, sp.IM_END, sp.EOS):
        weights["lm_head.weight"][nano.tokenizer.special[name]] *= -1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def talker(model, tmp_path_factory):
    """The folder of a nano that never ends."""
    return unending(model, tmp_path_factory.mktemp("talker"))


@pytest.fixture(scope="session")
def talking(talker, tmp_path_factory):
    """The address of a server with it."""
    with paged(perilune.load(talker), tmp_path_factory.mktemp("talked")) as at:
        yield at


@pytest.fixture
def api(address):
    with Browser(address) as client:
        yield client


@pytest.fixture(scope="session")
def chromium():
    found = find_chromium()
    assert found, "no browser: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """Browser contexts whose pages are watched: no script may fail, and no other host may be asked for anything."""

    def __init__(self, chromium):
        self.chromium, self.faults, self.contexts = chromium, [], []

    def open(self, address, size="desk", scheme=None, locale="en-GB", path="/"):
        width, height = SIZES[size]
        context = self.chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme or SCHEMES[size],
            has_touch=size == "phone",
            is_mobile=size == "phone",
            locale=locale,
            permissions=["clipboard-read", "clipboard-write", "microphone"],
        )
        self.contexts.append(context)
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self._asked(request.url, address))
        page.on("dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(address + path)
        return page

    def _asked(self, url, address):
        if not url.startswith((address, "blob:", "data:")):
            self.faults.append(f"another host was asked: {url}")

    def close(self):
        for context in self.contexts:
            context.close()
        assert not self.faults


@pytest.fixture
def watched(chromium):
    made = Watched(chromium)
    yield made
    made.close()


@pytest.fixture(params=list(SIZES))
def size(request):
    return request.param


@pytest.fixture
def page(watched, address, size):
    opened = watched.open(address, size)
    opened.locator(".composer").wait_for()
    return opened


@pytest.fixture
def shot(request):
    """Keeps what a page looks like, to be looked at."""
    SHOTS.mkdir(exist_ok=True)

    def take(page, name):
        page.screenshot(path=SHOTS / f"{name}.png", animations="disabled")

    return take
