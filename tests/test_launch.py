"""perilune launch: a program gets what it needs to speak to the server, and nothing of the user's is written."""

import json
import os
import subprocess
import sys

import pytest
from served import served, tiny_model

from perilune.errors import RequestError
from perilune.server.clients import CLIENTS, Served, ask_server, settings_for

KEY = "a-key-of-some-length"
AT = Served("http://127.0.0.1:9", "tiny", 512, KEY)
RECORD = "#!{python}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
ASKS = """#!{python}
import openai
made = openai.OpenAI(max_retries=0).chat.completions.create(
    model="tiny", max_tokens=4, messages=[dict(role="user", content="hi")])
print(made.usage.completion_tokens)
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(tiny_model(tmp_path_factory.mktemp("launched")), keys=(KEY,)) as at:
        yield at


def launched(folder, script, name, *words, **environment):
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(script.format(python=sys.executable))
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **environment}
    words = [sys.executable, "-m", "perilune", "launch", name, *words]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)


def test_an_agent_is_started_with_its_settings(address, tmp_path):
    done = launched(tmp_path, RECORD, "codex", "--url", address, "exec", "--full-auto", "do it", PERILUNE_API_KEY=KEY)
    words, environment = json.loads(done.stdout)
    assert words[-3:] == ["exec", "--full-auto", "do it"] and 'model="tiny"' in words
    assert environment["PERILUNE_API_KEY"] == KEY and "codex talks to tiny" in done.stderr
    assert KEY not in " ".join(words)  # others can see arguments


def test_any_program_of_an_sdk_reaches_the_server(address, tmp_path):
    done = launched(tmp_path, ASKS, "my-script", "--url", address + "/v1/", "--api-key", KEY)
    assert done.stdout.strip().isdigit(), done.stderr


def test_settings_are_shown_and_nothing_is_started(address, tmp_path):
    done = launched(tmp_path, RECORD, "claude", "--url", address, "--api-key", KEY, "--show", "-p", "hi")
    assert f"ANTHROPIC_BASE_URL={address}\n" in done.stdout and done.stdout.endswith("claude -p hi\n")


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_every_agent_hears_of_the_server_the_model_and_the_key(name):
    settings = settings_for(name, AT)
    told = " ".join((*settings.environment.values(), *settings.arguments))
    assert AT.url in told and AT.model in told and AT.key in " ".join(settings.environment.values())


def test_what_is_not_there_is_said(address, tmp_path):
    done = launched(tmp_path, RECORD, "claude", "--url", "http://127.0.0.1:9")
    assert done.returncode == 2 and "perilune serve" in done.stderr and done.stderr.count("\n") == 1
    with pytest.raises(RequestError, match="wants another key"):
        ask_server(address, "a-wrong-key-of-some-length")
    with pytest.raises(RequestError, match="it said HTTP Error 404"):
        ask_server(address + "/nowhere", KEY)
    with pytest.raises(RequestError, match="must begin with http"):
        ask_server("ftp://x", None)
    words = [sys.executable, "-m", "perilune", "launch", "no-such-program"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "install it first" in done.stderr
