"""A server that keeps what it is asked to keep, for the `model` of a test file, behind two keys."""

import pytest
from served import CLIENTS, KEYS, served

from perilune.server.kept import Kept


@pytest.fixture
def place(tmp_path):
    made = Kept(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def address(model, place):
    with served(model, kept=place, keys=KEYS) as at:
        yield at
        while CLIENTS:
            CLIENTS.pop().close()
