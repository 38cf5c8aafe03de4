"""Batches from a file: every line answered as alone, a run goes on after it was stopped, and bad lines are named."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_models import tiny_transformer, write_model
from typer.testing import CliRunner

from perilune import load
from perilune.api.batch import read_lines, run_batch
from perilune.cli.app import app
from perilune.errors import RequestError


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("batch") / "m", tiny_transformer())


def request(name, text="hello", **body):
    messages = [{"role": "user", "content": text}]
    body = {"model": "m", "messages": messages, "temperature": 0, "max_tokens": 6, **body}
    return json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body})


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def answers(out):
    return {line["custom_id"]: line for line in map(json.loads, out.read_text().splitlines())}


def test_every_line_is_answered_as_it_would_be_alone(directory, tmp_path):
    texts = {f"r{i}": "word " * (1 + 7 * i) for i in range(9)}
    model = load(directory)
    lines = read_lines(write(tmp_path / "in.jsonl", *(request(name, text) for name, text in texts.items())))
    told = []
    done = run_batch(model, lines, tmp_path / "out.jsonl", together=4, on_done=lambda n, total: told.append(n))
    assert (done.answered, done.failed, done.left) == (9, 0, 0) and told == list(range(1, 10))
    found = answers(tmp_path / "out.jsonl")
    for name, text in texts.items():
        alone = load(directory).chat([{"role": "user", "content": text}], temperature=0, max_tokens=6)
        body = found[name]["response"]["body"]
        message = body["choices"][0]["message"]
        assert (message["content"], message.get("reasoning_content", "")) == (alone.content, alone.reasoning or "")
        assert body["usage"]["completion_tokens"] == alone.usage.completion_tokens
        assert found[name]["response"]["status_code"] == 200 and found[name]["error"] is None


def test_a_line_may_ask_for_several_answers(directory, tmp_path):
    lines = read_lines(write(tmp_path / "in.jsonl", request("a", n=3, temperature=1.0, seed=7), request("b")))
    done = run_batch(load(directory), lines, tmp_path / "out.jsonl", together=2)
    body = answers(tmp_path / "out.jsonl")["a"]["response"]["body"]
    alone = [
        load(directory).chat([{"role": "user", "content": "hello"}], temperature=1.0, max_tokens=6, seed=7 + i)
        for i in range(3)
    ]
    assert [choice["message"]["content"] for choice in body["choices"]] == [reply.content for reply in alone]
    assert body["usage"]["completion_tokens"] == sum(reply.usage.completion_tokens for reply in alone)
    assert done.completion_tokens > body["usage"]["completion_tokens"]


def said(line):
    """An answer without the names and times that every answer has for itself; no cache was warm in both runs alike."""
    return line["response"] and line["response"]["body"]["choices"]


def test_a_stopped_run_goes_on_and_tries_refused_lines_again(directory, tmp_path):
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = read_lines(write(path, *(request(f"r{i}") for i in range(4)), request("bad", max_tokens=-1)))
    first = run_batch(load(directory), lines, out, together=2)
    assert first.failed == 1 and "max_tokens" in first.errors[0]
    whole = answers(out)
    assert whole["bad"]["response"] is None and whole["bad"]["error"]["code"] == "RequestError"
    kept = out.read_text().splitlines()
    out.write_text("\n".join(kept[:2]) + "\n" + kept[2][:40])
    again = run_batch(load(directory), lines, out, together=2)
    assert again.before + again.answered == 4 and again.failed == 1
    assert {k: said(v) for k, v in answers(out).items()} == {k: said(v) for k, v in whole.items()}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["{"], "line 1 is not JSON"),
        (["[1]"], "line 1 is not a JSON object"),
        ([request("a"), request("a")], "line 2: custom_id 'a' came before"),
        ([json.dumps({"custom_id": 3, "body": {}})], "custom_id must be a text"),
        ([json.dumps({"custom_id": "a"})], "body must be an object"),
        ([json.dumps({"custom_id": "a", "url": "/v1/embeddings", "body": {}})], "only POST"),
        (["[" * 5000], "line 1 is not JSON"),
        ([""], "holds no requests"),
    ],
)
def test_a_file_that_is_no_batch_is_refused_before_anything_runs(tmp_path, lines, says):
    with pytest.raises(RequestError, match=says):
        read_lines(write(tmp_path / "in.jsonl", *lines))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": "hi"}, "messages"),
        ({"wishes": 3}, "unknown fields wishes"),
        ({"n": 0}, "n must be"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": [{"role": "user", "content": "x" * 100_000}]}, "context"),
    ],
)
def test_a_line_that_cannot_be_answered_says_why_and_stops_nobody(directory, tmp_path, body, says):
    lines = read_lines(write(tmp_path / "in.jsonl", request("bad", **body), request("good")))
    done = run_batch(load(directory), lines, tmp_path / "out.jsonl", together=2)
    assert done.answered == 1 and says in answers(tmp_path / "out.jsonl")["bad"]["error"]["message"]


def test_another_file_is_never_taken_for_output(directory, tmp_path):
    lines = read_lines(write(tmp_path / "in.jsonl", request("a")))
    other = write(tmp_path / "notes.txt", "dear diary")
    with pytest.raises(RequestError, match="not the output of a batch"):
        run_batch(load(directory), lines, other, together=1)
    assert other.read_text() == "dear diary\n"
    with pytest.raises(RequestError, match="cannot be written"):
        run_batch(load(directory), lines, tmp_path, together=1)


def test_the_command_can_be_killed_and_goes_on(directory, tmp_path):
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write(path, *(request(f"r{i}", max_tokens=150) for i in range(40)))
    options = ["batch", str(path), "--out", str(out), "--model", str(directory), "--together", "2"]
    running = subprocess.Popen([sys.executable, "-m", "perilune", *options], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 90
    while not (out.exists() and out.stat().st_size) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert 0 < len(out.read_text().splitlines()) < 40
    done = CliRunner().invoke(app, [*options, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["before"] > 0 and told["before"] + told["answered"] == len(answers(out)) == 40
