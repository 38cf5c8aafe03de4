"""The trail of a run: plain lines off a terminal, records that a resumed run does not repeat."""

import io
import json

from rich.console import Console

from perilune.train.report import Report, describe_run


def report(out, start=0, terminal=False):
    text = io.StringIO()
    return Report(out, 10, start, Console(file=text, force_terminal=terminal, width=200)), text


def test_plain_lines_off_a_terminal(tmp_path):
    made, text = report(tmp_path)
    made.advance(1, 100)
    made.metrics(1, {"loss": 2.5})
    made.samples(1, {"Hi": " [b]hello[/b]\n"})
    made.close()
    assert "step 1/10  loss 2.5" in text.getvalue() and "tok/s" in text.getvalue()
    assert "'[b]hello[/b]'" in text.getvalue(), "a reply is no markup"
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] == 2.5


def test_a_bar_on_a_terminal(tmp_path):
    made, text = report(tmp_path, terminal=True)
    made.advance(5, 100)
    made.close()
    assert "step 5/10" in text.getvalue()


def test_resuming_drops_later_records_and_torn_lines(tmp_path):
    lines = [json.dumps({"step": step}) + "\n" for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"step": 4, "lo')
    report(tmp_path, start=2)
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(lines[:2])


def test_a_run_names_its_code():
    assert {"git_commit", "torch", "python", "settings"} <= describe_run({"settings": {}}).keys()
