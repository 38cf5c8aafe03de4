"""Reads past the page cache: whole, at the end of a file, of a file that changes, and urgent ones first."""

import mmap
import os
import threading

import pytest

from perilune.errors import WeightsError
from perilune.weights.direct import BLOCK, DirectFile, Readers
from perilune.weights.header import identify


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "shard"
    path.write_bytes(os.urandom(5 * BLOCK + 123))
    return path


def buffer(blocks):
    return memoryview(mmap.mmap(-1, blocks * BLOCK))


@pytest.mark.parametrize("direct", [True, False])
def test_a_read_gives_what_lies_there(path, direct):
    file, into = DirectFile(path, identify(os.stat(path)), direct), buffer(3)
    file.read(2 * BLOCK, into)
    assert bytes(into) == path.read_bytes()[2 * BLOCK : 5 * BLOCK]
    file.read(4 * BLOCK, into)
    assert bytes(into[: BLOCK + 123]) == path.read_bytes()[4 * BLOCK :]
    file.close()


def test_a_file_that_is_not_the_one_that_was_checked_is_refused(path):
    identity = identify(os.stat(path))
    file = DirectFile(path, identity)
    path.write_bytes(b"x" * (5 * BLOCK + 123))
    with pytest.raises(WeightsError, match="changed while it was in use"):
        file.read(0, buffer(1))
    file.close()
    with pytest.raises(WeightsError, match="changed while it was in use"):
        DirectFile(path, identity)
    with pytest.raises(WeightsError, match="cannot be opened"):
        DirectFile(path.with_name("none"), identity)


def test_urgent_reads_come_first_and_waiting_ones_can_be_called_off():
    readers, gate, order = Readers(1), threading.Event(), []
    first = readers.submit(gate.wait)
    later = readers.submit(lambda: order.append("ahead"), urgent=False)
    off = readers.submit(lambda: order.append("called off"), urgent=False)
    urgent = readers.submit(lambda: order.append("urgent"))
    failing = readers.submit(lambda: 1 / 0)
    assert off.cancel()
    gate.set()
    for future in (first, later, urgent):
        future.result(10)
    assert order == ["urgent", "ahead"] and isinstance(failing.exception(10), ZeroDivisionError)
    readers.close()


@pytest.mark.parametrize("count", [0, 1000])
def test_the_number_of_readers_has_limits(count):
    with pytest.raises(ValueError, match="1 to 64 readers"):
        Readers(count)
