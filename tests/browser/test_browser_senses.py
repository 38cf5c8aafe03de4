"""Photos and spoken questions at the page: real ones that nano has not been trained on, and what it says of them."""

import io
import os

import numpy as np
import pytest
import soundfile
from at_page import LIMIT, ask, read_aloud, replied
from conftest import FLAGS, Watched
from PIL import Image
from playwright.sync_api import expect

from perilune.bench.page import find_chromium
from perilune.corpus.sources import data_root
from perilune.tasks.shown_families import shown

pytestmark = pytest.mark.skipif(not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no licensed data")
ASKED = 5
RIGHT = 4  # of them at least
RATE = 16_000


def examples(family):
    return [shown(family, seed, True, data_root()) for seed in range(ASKED)]


def png(array_HWC):
    file = io.BytesIO()
    Image.fromarray(array_HWC).save(file, "PNG")
    return file.getvalue()


def add(page, name, kind, data):
    page.get_by_role("button", name="Add files").click()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("menuitem", name="Choose files").click()
    chosen.value.set_files({"name": name, "mimeType": kind, "buffer": data})
    expect(page.locator(".shelf-item")).to_contain_text("tokens", timeout=LIMIT)


def test_photos_of_digits_are_read(page, size, shot):
    right = 0
    for example in examples("digit"):
        add(page, "photo.png", "image/png", png(example.media[0].data))
        ask(page, "Which digit is this?")
        right += example.answer in read_aloud(replied(page).locator(".prose"))
    shot(page, f"photo-{size}")
    assert right >= RIGHT


@pytest.fixture
def listening(chromium, tmp_path):
    """Opens pages in a browser whose microphone hears the sound that it is given, over and over."""
    made = []

    def opened(samples_S, address, size):
        gap_S = np.zeros(RATE // 4, np.float32)
        path = tmp_path / f"said{len(made)}.wav"
        soundfile.write(path, np.concatenate([gap_S, samples_S, gap_S]), RATE, "PCM_16")
        heard = f"--use-file-for-fake-audio-capture={path}%noloop"
        browser = chromium.browser_type.launch(executable_path=find_chromium(), args=[*FLAGS, heard])
        watched = Watched(browser)
        made.append((browser, watched))
        page = watched.open(address, size)
        page.locator(".composer").wait_for()
        return page

    yield opened
    for browser, watched in made:
        watched.close()
        browser.close()


def test_a_spoken_question_is_recorded_and_answered(listening, address, size, shot):
    right = 0
    for example in examples("spoken_digit"):
        page = listening(example.media[0].data, address, size)
        page.locator(".mic").click()
        expect(page.locator(".mic")).to_have_attribute("aria-pressed", "true")
        page.wait_for_timeout(1000 * len(example.media[0].data) / RATE + 700)
        page.locator(".mic").click()
        expect(page.locator(".shelf-item")).to_contain_text("tokens", timeout=LIMIT)
        ask(page, "Which digit do you hear?")
        right += example.answer in read_aloud(replied(page).locator(".prose"))
    shot(page, f"spoken-{size}")
    assert right >= RIGHT
