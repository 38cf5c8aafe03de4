"""What a user names: directories, sizes, threads, defaults; every refusal says what would be right."""

from __future__ import annotations

import json

import pytest

from perilune.api.locate import (
    find_model,
    parse_bytes,
    read_defaults,
    use_threads,
)
from perilune.errors import ConfigError, RequestError


def test_a_missing_directory_says_what_can_be_given(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no model .*nowhere.*config\.json.*bundled name"):
        find_model(tmp_path / "nowhere")


def test_a_file_and_an_empty_directory_are_no_model(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ConfigError, match="is a file; give the directory"):
        find_model(tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        find_model(tmp_path)


@pytest.mark.parametrize("name", ["a" * 5000, "~nobody-of-this-name/x", "a\0b"], ids=["long", "user", "null"])
def test_an_impossible_name_is_a_missing_model(name):
    with pytest.raises(ConfigError, match="there is no model"):
        find_model(name)


def test_something_else_is_no_name():
    with pytest.raises(ConfigError, match="a path or a bundled name, got NoneType"):
        find_model(None)


def test_a_directory_is_found_by_path_or_text(tmp_path):
    (tmp_path / "config.json").touch()
    assert find_model(tmp_path) == find_model(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1000, 1000),
        ("1000", 1000),
        ("16GiB", 16 << 30),
        ("16gb", 16 * 10**9),
        ("1.5 KiB", 1536),
        ("2T", 2 * 10**12),
        ("3mi", 3 << 20),
    ],
)
def test_sizes_are_read_in_both_families(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GB", "0", 0, -5, True, "1e9", "lots", "1.2.3GB", "9" * 99, "5i", None])
def test_other_sizes_are_refused_with_an_example(text):
    with pytest.raises(RequestError, match="16GiB"):
        parse_bytes(text)


@pytest.mark.parametrize("threads", [0, -1, 10**6, 1.5, True, "2"])
def test_threads_are_bounded_by_the_machine(threads):
    with pytest.raises(RequestError, match="threads must be an integer from 1 to"):
        use_threads(threads)


def test_generation_config_gives_defaults_and_ends(tmp_path):
    assert read_defaults(tmp_path) == ({}, frozenset())
    config = {"temperature": 0.6, "top_k": 5, "eos_token_id": [3, 4], "max_length": 9, "top_p": None}
    (tmp_path / "generation_config.json").write_text(json.dumps(config))
    assert read_defaults(tmp_path) == ({"temperature": 0.6, "top_k": 5}, frozenset({3, 4}))
    (tmp_path / "generation_config.json").write_text('{"do_sample": false, "eos_token_id": 7}')
    assert read_defaults(tmp_path) == ({"temperature": 0.0}, frozenset({7}))


@pytest.mark.parametrize("text", ['{"temperature": -1}', '{"eos_token_id": "x"}', "[1]", "{"])
def test_a_broken_generation_config_is_named(tmp_path, text):
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(ConfigError, match="generation_config"):
        read_defaults(tmp_path)
