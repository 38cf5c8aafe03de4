"""`perilune bench`: the numbers are consistent, the machine is described, limits hold."""

from __future__ import annotations

import json

import pytest
from tiny_models import TOKENIZER, tiny_transformer, write_model

import perilune
from perilune.api import Model
from perilune.bench.machine import describe
from perilune.bench.speed import bench_decode, bench_prefill, bytes_per_token
from perilune.errors import ContextError, RequestError
from perilune.weights.files import open_checkpoint

MODEL = Model(tiny_transformer(), TOKENIZER)


def test_prefill_and_decode_give_consistent_rates():
    for result in (
        bench_prefill(MODEL, prompt=16, repeats=3),
        bench_decode(MODEL, tokens=4, prompt=8, batch=2, repeats=3),
    ):
        assert 0 < result.slowest <= result.tokens_per_second <= result.fastest
        assert json.loads(json.dumps(result.to_dict()))["machine"]["cores"] >= 1
        assert "tokens/s" in result.to_text()


def test_bytes_leave_out_idle_experts_and_the_embedding(tmp_path):
    directory = write_model(tmp_path, tiny_transformer())
    model = perilune.load(directory)
    tensors = open_checkpoint(directory).tensors
    whole = sum(info.end - info.begin for info in tensors.values())
    routed = sum(info.end - info.begin for name, info in tensors.items() if ".experts." in name)
    assert bytes_per_token(model) == whole - 512 * 64 * 4 - routed * 6 // 8
    result = bench_decode(model, tokens=2, prompt=2, batch=1, repeats=1)
    assert result.gigabytes_per_second == pytest.approx(result.bytes_per_token * result.tokens_per_second / 1e9)


def test_a_model_in_memory_has_no_bytes_on_disk():
    assert bytes_per_token(MODEL) is None


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(RequestError, match="repeats must be from 1"):
        bench_prefill(MODEL, prompt=4, repeats=0)
    with pytest.raises(RequestError, match="tokens must be from 1"):
        bench_decode(MODEL, prompt=4, tokens=0, batch=1, repeats=1)
    with pytest.raises(ContextError, match="context of 512"):
        bench_decode(MODEL, prompt=512, tokens=10, batch=1, repeats=1)


def test_the_machine_is_described_without_paths():
    text = json.dumps(describe())
    assert "torch" in text and "cpu" in text and "/home" not in text and "/root" not in text
