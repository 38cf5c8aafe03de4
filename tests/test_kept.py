"""The rates of a machine are measured once a week, and what is no such record is measured anew."""

import json
import os
import time
from dataclasses import asdict, replace

import pytest

from perilune.plan import kept
from perilune.plan.kept import KEPT_SECONDS, known_machine
from perilune.plan.machine import Machine

FIRST = Machine("this machine", 8 << 30, 50e9, 40e9, 1e12, 9e11, 2e9)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Each measurement finds a disk that is one byte a second faster."""
    calls = []

    def measure(folder, ram, repeats):
        calls.append(folder)
        return replace(FIRST, ram=ram, disk_rate=2e9 + len(calls))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "measure_machine", measure)
    return calls


def record(tmp_path):
    (path,) = (tmp_path / "cache" / "perilune").iterdir()
    return path


def test_a_machine_is_measured_once(measured, tmp_path):
    first, again = known_machine(tmp_path, 8 << 30), known_machine(tmp_path, 4 << 30)
    assert len(measured) == 1 and again == replace(first, ram=4 << 30)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: "",
        lambda kept: "[]",
        lambda kept: json.dumps({**kept, "time": time.time() - KEPT_SECONDS - 1}),
        lambda kept: json.dumps({**kept, "time": time.time() + 1000}),
        lambda kept: json.dumps({**kept, "machine": {**kept["machine"], "disk_rate": -1.0}}),
        lambda kept: json.dumps({**kept, "machine": {**kept["machine"], "memory_rate": "fast"}}),
        lambda kept: json.dumps({**kept, "machine": {**kept["machine"], "colour": "red"}}),
    ],
    ids=["empty", "list", "old", "future", "negative", "text", "unknown"],
)
def test_what_is_no_record_is_measured_anew(measured, tmp_path, spoil):
    known_machine(tmp_path, 8 << 30)
    path = record(tmp_path)
    path.write_text(spoil(json.loads(path.read_text())))
    assert known_machine(tmp_path, 8 << 30).disk_rate == 2e9 + 2
    assert json.loads(record(tmp_path).read_text())["machine"] == asdict(replace(FIRST, disk_rate=2e9 + 2))


def test_another_number_of_threads_is_another_machine(measured, tmp_path, monkeypatch):
    known_machine(tmp_path, 8 << 30)
    monkeypatch.setattr(kept, "get_threads", lambda: 77)
    known_machine(tmp_path, 8 << 30)
    assert len(measured) == 2


def test_without_a_place_to_keep_it_the_machine_is_measured_each_time(measured, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert known_machine(tmp_path, 8 << 30).disk_rate < known_machine(tmp_path, 8 << 30).disk_rate
    assert os.listdir(tmp_path) == ["file"]
