"""perilune bench page: what it says where there is no browser. What it measures is tested in tests/browser."""

import sys
from importlib.util import find_spec

import pytest

from perilune.bench.page import bench_page
from perilune.errors import RequestError


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
