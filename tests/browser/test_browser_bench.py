"""perilune bench page measures a real page: once and quickly, since its figures are told and not judged here."""

import json
import subprocess
import sys

from perilune.bench.page import LINES, MESSAGES


def test_bench_page_tells_what_it_measured():
    words = [sys.executable, "-m", "perilune", "bench", "page", "--repeats", "1", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["messages"] == MESSAGES and told["lines"] == LINES
    assert 30 < told["requests"] < 200 and 50_000 < told["bytes"] < 500_000
    for seconds in ("first_paint", "interactive", "opened", "cited", "longest_opened", "longest_at_rest"):
        assert 0 < told[seconds] < 120, seconds
    assert 0 < told["frames_opened"] < 200 and 0 < told["frames_at_rest"] < 200
