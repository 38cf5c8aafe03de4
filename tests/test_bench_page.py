"""perilune bench page: what it measures in a real Chromium, and what it says where there is none."""

import sys
from importlib.util import find_spec

import pytest

from perilune.bench.page import bench_page, find_chromium
from perilune.errors import RequestError

NO_BROWSER = find_spec("playwright") is None or find_chromium() is None


@pytest.mark.skipif(NO_BROWSER, reason="needs the extra browser, and Chromium")
def test_it_measures_a_real_page():
    told = []
    result = bench_page(1, messages=400, lines=3_000, on_part=told.append)
    assert 30 < result.requests < 200 and 50_000 < result.bytes < 500_000
    assert 0 < result.first_paint < 60 and 0 < result.interactive < 60
    assert 1 < result.frames_opened < 200 and 1 < result.frames_at_rest < 200
    assert 0 < result.longest_opened and 0 < result.opened and 0 < result.cited < 60
    assert "400 messages" in result.to_text() and result.to_dict()["lines"] == 3_000
    assert told[0] == "keeping 400 messages and 3,000 lines"


def test_what_is_missing_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(RequestError, match=r"pip install 'perilune\[browser\]'"):
        bench_page(1)


@pytest.mark.skipif(find_spec("playwright") is None, reason="needs the extra browser")
def test_no_browser_is_said(monkeypatch):
    monkeypatch.setattr("perilune.bench.page.find_chromium", lambda: None)
    with pytest.raises(RequestError, match="install Chromium"):
        bench_page(1)


@pytest.mark.parametrize(("repeats", "slow"), [(0, 1), (101, 1), (1, 0.5), (1, 51)])
def test_repeats_and_slowness_are_bounded(repeats, slow):
    with pytest.raises(RequestError, match="repeats must be"):
        bench_page(repeats, slow)
