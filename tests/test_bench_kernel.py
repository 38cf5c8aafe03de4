import json
import sys

import pytest
from typer.testing import CliRunner

from perilune.bench import kernel
from perilune.bench.kernel import bench_kernel
from perilune.cli.app import app
from perilune.errors import RequestError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(kernel, "D", 128)
    monkeypatch.setattr(kernel, "F", 64)
    monkeypatch.setattr(kernel, "MATRICES", ((64, 128), (64, 128), (128, 64)))
    monkeypatch.setattr(kernel, "EXPERTS", 2)
    monkeypatch.setattr(kernel, "PAUSE", 0.0)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)


def test_all_run_side_by_side_and_what_is_not_installed_is_named():
    result = bench_kernel(3, 2)
    names = [c.name for c in result.contenders]
    assert names == ["perilune float", "perilune int8", "torch int4, float32", "torch int4, bfloat16"]
    assert result.missing == ["onnxruntime, float32", "onnxruntime, int8"] and result.memory_gigabytes_per_second > 0
    assert all(c.milliseconds > 0 and c.ratio > 0 for c in result.contenders)
    assert min(c.ratio for c in result.contenders[:2]) == pytest.approx(1.0, abs=1e-9)
    assert "not installed: onnxruntime, int8" in result.to_text()


def test_the_command_prints_json_and_refuses_sizes_out_of_range():
    told = json.loads(CliRunner().invoke(app, ["bench", "kernel", "--rows", "2", "--repeats", "1", "--json"]).stdout)
    assert told["rows"] == 2 and len(told["contenders"]) == 4
    with pytest.raises(RequestError, match="rows must be from 1 to 4096, got 0"):
        bench_kernel(0, 1)
