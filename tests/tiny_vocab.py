"""A vocabulary of 256 bytes and a few merges, and where the published goldens lie."""

import base64
import json
import os
from functools import cache
from pathlib import Path

import pytest

from perilune.text.tokenizer import Tokenizer

MERGES = [b" t", b"he", b" the", b"in", b"\xc3\xa9", b"\n\n", b"  "]


def tiny_ranks():
    tokens = [bytes([byte]) for byte in range(256)] + MERGES
    return {token: rank for rank, token in enumerate(tokens)}


def write_ranks(directory, ranks):
    lines = [f"{base64.b64encode(token).decode()} {rank}" for token, rank in ranks.items()]
    (directory / "tiktoken.model").write_text("\n".join(lines) + "\n")
    return directory


@cache
def tiny_tokenizer():
    return Tokenizer(tiny_ranks())


def shared_dir():
    root = os.environ.get("PERILUNE_SHARED")
    directory = Path(root) / "reference" / "k26" if root else None
    if directory is None or not directory.is_dir():
        pytest.skip("PERILUNE_SHARED names no folder with the published goldens")
    return directory


@cache
def published_tokenizer():
    return Tokenizer.load(shared_dir())


def goldens(name):
    return [json.loads(line) for line in (shared_dir() / name).read_text().splitlines()]
