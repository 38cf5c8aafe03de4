"""A running server for tests, and waiting for what it does."""

import threading
import time
from contextlib import contextmanager

import openai
import uvicorn
from tiny_models import tiny_transformer, write_model

from perilune import load
from perilune.server.app import make_app

KEYS = ("first-key-of-two", "second-key-of-two")


CLIENTS = []  # of the test that runs; the fixture `address` closes them


def client_of(address, key=KEYS[0]):
    """OpenAI's client of a server that asks for keys."""
    CLIENTS.append(openai.OpenAI(base_url=address + "/v1", api_key=key, max_retries=0))
    return CLIENTS[-1]


def tiny_model(folder, **options):
    """A tiny random model, written to the folder and opened from there."""
    return load(write_model(folder, tiny_transformer(**options)))


@contextmanager
def served(model, **options):
    """The address of a running server."""
    app = make_app(model, "tiny", **options)
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def until(true, seconds=20.0):
    """Waits until `true()` is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
