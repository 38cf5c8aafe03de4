"""The page on a server, with it and without it: what is served, who prints its address, and what happens when it is
deleted."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from app_page import Browser, paged
from served import KEYS, served, tiny_model, until
from tiny_models import memory_transformer, tiny_transformer, write_model

import perilune
from perilune import load
from perilune.app.mount import Page
from perilune.errors import RequestError

PACKAGE = Path(perilune.__file__).parent


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("mount") / "tiny", tiny_transformer())


@contextmanager
def running(*words, package=PACKAGE, **environment):
    """A command of the package, and what it says of where it is."""
    inherited = {name: value for name, value in os.environ.items() if name != "PERILUNE_API_KEY"}
    variables = {**inherited, "PYTHONPATH": str(package.parent), **environment}
    command = [sys.executable, "-P", "-m", "perilune", *words, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def address(process, pattern):
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found.group(1)
    raise AssertionError("the server did not start")


def test_the_state_says_what_the_model_can(tmp_path):
    for make, reads in ((tiny_transformer, False), (memory_transformer, True)):
        model = load(write_model(tmp_path / make.__name__, make()))
        with paged(model, tmp_path / f"{make.__name__} state") as at, Browser(at) as one:
            told = one.get("/state").json()
            assert (told["needs_key"], told["user"], told["version"]) == (False, None, perilune.__version__)
            senses = {"sees": False, "hears": False, "reads": reads}
            assert told["model"] == {"name": "tiny", "context": model.context_length, **senses}


def test_a_page_needs_somewhere_to_keep_things(tmp_path):
    with served(tiny_model(tmp_path), page=Page) as at:
        assert httpx.get(at + "/app/api/state").status_code == 404


def test_a_database_of_a_newer_perilune_is_not_touched(tmp_path):
    (tmp_path / "state" / "page").mkdir(parents=True)
    with sqlite3.connect(tmp_path / "state" / "page" / "page.sqlite") as database:
        database.execute("pragma user_version = 99")
    database.close()
    with pytest.raises(RequestError, match="newer perilune"), paged(tiny_model(tmp_path / "model"), tmp_path / "state"):
        pass


def test_the_address_is_printed_and_opened(directory, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "opened"}\n')
    browser.chmod(0o755)
    words = ("app", "--model", str(directory), "--state", str(tmp_path / "state"))
    with running(*words, BROWSER=str(browser)) as process:
        at = address(process, r"the page is at (http://\S+)")
        assert httpx.get(at + "app/api/state").json()["model"]["name"] == "tiny"
        until((tmp_path / "opened").exists)
        until(lambda: (tmp_path / "opened").read_text().strip() == at)


@pytest.mark.parametrize("verb", ["app", "serve"])
def test_both_commands_take_their_key_from_the_environment(directory, tmp_path, verb):
    words = (verb, "--model", str(directory), "--state", str(tmp_path / "state"))
    with running(*words, BROWSER="true", PERILUNE_API_KEY=KEYS[0]) as process:
        at = address(process, r"the page is at (http://\S+)/")
        with Browser(at) as stranger:
            assert stranger.get("/state").json()["needs_key"] and stranger.get("/chats").status_code == 401
            assert stranger.signed_in(KEYS[0]).get("/chats").status_code == 200
        assert httpx.get(f"{at}/v1/models", headers={"x-api-key": KEYS[0]}).status_code == 200


def test_without_its_folder_the_server_runs_as_before(directory, tmp_path):
    package = tmp_path / "perilune"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("app", "models", "__pycache__"))
    shutil.copy(PACKAGE / "cli" / "app.py", package / "cli" / "app.py")
    assert not (package / "app").exists()
    shutil.copy(PACKAGE / "server" / "app.py", package / "server" / "app.py")
    # An editable install would look for what is missing in the folder that it was made from.
    forget = "sys.meta_path = [f for f in sys.meta_path if 'editable' not in getattr(f, '__module__', '')]"
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{forget}\n")
    words = ("--model", str(directory), "--state", str(tmp_path / "state"))
    with running("serve", *words, package=package) as process:
        at = address(process, r"is served at (http://\S+)/v1")
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        assert httpx.post(f"{at}/v1/chat/completions", json=body, timeout=60).status_code == 200
        assert httpx.get(at + "/").status_code == 404
        assert not [path for path in httpx.get(f"{at}/openapi.json").json()["paths"] if "/app" in path]
    with running("app", *words, package=package) as process:
        assert "has no page" in process.stderr.read() and process.wait() == 2
