"""What the terminal shows: progress for people only, and nothing that could steer it."""

from __future__ import annotations

import io

from rich.console import Console

from perilune.cli.output import Progress, footer, plain, show_deltas, timings_json
from perilune.engine.types import Usage
from perilune.text.reply import Delta


def shown(terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with Progress(console) as progress:
        progress(512, 4096)
        progress(4096, 4096)
        progress(4096, 4096)
    return console.file.getvalue()


def test_progress_is_for_people_only():
    assert shown(terminal=False) == ""
    assert "reading the prompt" in shown(terminal=True)


def test_a_reply_cannot_steer_the_terminal():
    assert plain("a\x1b[2J\x9b1m\rb\x00") == "a\ufffd[2J\ufffd1m\ufffdb\ufffd"
    assert plain("tab\tline\r\nnext\n") == "tab\tline\nnext\n"


def test_the_footer_says_why_a_reply_is_short():
    usage = Usage(10, 4, 5, 1.0, 2.0)
    assert footer(usage, "length").plain.endswith("cut at the length limit")
    assert footer(usage, "stop").plain == "5 tokens · 2.0 tokens/s · prompt 10 (4 cached)"
    assert timings_json(usage)["prefill_tokens_per_second"] == 6.0


def test_a_reply_keeps_its_tabs_in_a_file():
    console = Console(file=io.StringIO(), width=40)
    show_deltas([Delta("reasoning", "?"), Delta("content", "all:\n"), Delta("content", "\tmake " + "x" * 60)], console)
    assert console.file.getvalue() == "all:\n\tmake " + "x" * 60 + "\n"
