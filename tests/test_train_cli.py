"""The verbs `perilune train run` and `export`, as typed."""

import json
from pathlib import Path

import pytest
from tiny_corpus import tiny_training
from typer.testing import CliRunner

from perilune.train.cli import _settings, app


@pytest.fixture
def arguments(tmp_path):
    config = tiny_training(tmp_path)
    return [
        "run",
        "--data",
        config.data,
        "--tokenizer",
        config.tokenizer,
        "--out",
        config.out,
        "--model",
        config.model,
    ]


def test_run_and_export(arguments, tmp_path):
    typed = [*arguments, "--steps", "2", "--rows", "2", "--set", "warmup=1", "--set", "qat_from=0.5"]
    result = CliRunner().invoke(app, typed, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert (settings["steps"], settings["warmup"], settings["qat_from"]) == (2, 1, 0.5)
    typed = ["export", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "model")]
    assert CliRunner().invoke(app, typed, catch_exceptions=False).exit_code == 0
    assert Path(tmp_path / "model" / "config.json").is_file()


@pytest.mark.parametrize("setting", ["speed=3", "warmup=soon", "warmup", "ask_lower=no"])
def test_wrong_settings_are_named(arguments, setting):
    result = CliRunner().invoke(app, [*arguments, "--set", setting])
    assert result.exit_code == 2
    assert setting.split("=")[0] in result.output


def test_a_switch_is_read_as_it_is_written():
    assert _settings(["ask_lower=False", "naming=True"]) == {"ask_lower": False, "naming": True}
