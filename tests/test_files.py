"""The checked reader: what is right opens, whatever is wrong is one WeightsError."""

import ctypes
import gc
import json
import mmap
import os
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from perilune.errors import WeightsError
from perilune.weights.files import INDEX_NAME, SINGLE_NAME, open_checkpoint

SMALL = {
    "a": ("F32", [2, 3], bytes(range(24))),
    "b": ("BF16", [4], bytes(8)),
    "c": ("I32", [1, 2], bytes(8)),
}


def entries(tensors=None):
    table, at = {}, 0
    for name, (dtype, shape, data) in (SMALL if tensors is None else tensors).items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    return table


def file_bytes(header, data=bytes(40), length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def write_small(directory, header=None, data=bytes(40), name=SINGLE_NAME):
    (directory / name).write_bytes(file_bytes(entries() if header is None else header, data))


def write_shards(directory):
    one, two = {"a": SMALL["a"]}, {"b": SMALL["b"], "c": SMALL["c"]}
    write_small(directory, entries(one), bytes(24), "model-00001-of-00002.safetensors")
    write_small(directory, entries(two), bytes(16), "model-00002-of-00002.safetensors")
    weight_map = {name: f"model-0000{shard}-of-00002.safetensors" for name, shard in {"a": 1, "b": 2, "c": 2}.items()}
    write_index(directory, weight_map)
    return weight_map


def write_index(directory, weight_map):
    (directory / INDEX_NAME).write_text(json.dumps({"metadata": {"total_size": 40}, "weight_map": weight_map}))


def refused(directory, *words):
    with pytest.raises(WeightsError) as caught:
        open_checkpoint(directory)
    for word in words:
        assert word in str(caught.value)


def test_what_safetensors_wrote_comes_back(tmp_path):
    tensors = {
        "float": torch.randn(3, 5),
        "half": torch.randn(4, 4).to(torch.bfloat16),
        "words": torch.arange(6, dtype=torch.int32).reshape(2, 3),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
    }
    save_file(tensors, tmp_path / SINGLE_NAME, metadata={"format": "pt"})
    checkpoint = open_checkpoint(tmp_path)
    assert sorted(checkpoint.names()) == sorted(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(checkpoint.tensor(name), tensor)
        assert checkpoint.info(name).shape == tuple(tensor.shape)
    address, size = checkpoint.raw("words")
    assert size == 24
    assert np.ctypeslib.as_array((np.ctypeslib.ctypes.c_int32 * 6).from_address(address)).tolist() == list(range(6))


def test_a_tensor_outlives_its_checkpoint(tmp_path):
    save_file({"x": torch.arange(1000.0)}, tmp_path / SINGLE_NAME)
    tensor = open_checkpoint(tmp_path).tensor("x")
    gc.collect()
    assert torch.equal(tensor, torch.arange(1000.0))


def test_shards_open_and_links_are_followed(tmp_path):
    real, model = tmp_path / "blobs", tmp_path / "model"
    real.mkdir(), model.mkdir()
    write_shards(real)
    for path in real.iterdir():
        (model / path.name).symlink_to(path)
    checkpoint = open_checkpoint(model)
    assert checkpoint.names() == ["a", "b", "c"]
    assert checkpoint.info("c").shard == "model-00002-of-00002.safetensors"
    assert checkpoint.tensor("c").tolist() == [[0, 0]]


def test_an_unknown_name_is_named(tmp_path):
    write_small(tmp_path)
    with pytest.raises(WeightsError, match="nowhere"):
        open_checkpoint(tmp_path).tensor("nowhere")


def test_a_file_that_changes_after_the_check_is_not_mapped(tmp_path):
    write_small(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    write_small(tmp_path, data=bytes(30))
    with pytest.raises(WeightsError, match="changed"):
        checkpoint.tensor("a")


LIES = {
    "size": ("a", {"data_offsets": [0, 20]}),
    "dtype": ("b", {"dtype": "F32"}),
    "unknown dtype": ("b", {"dtype": "COMPLEX"}),
    "dtype not text": ("b", {"dtype": ["BF16"]}),
    "shape": ("a", {"shape": [3, 3]}),
    "shape not a list": ("a", {"shape": 6}),
    "negative shape": ("a", {"shape": [-2, -3]}),
    "fraction in shape": ("a", {"shape": [2.0, 3]}),
    "true in shape": ("a", {"shape": [True, 6]}),
    "huge shape": ("a", {"shape": [1 << 40, 1 << 40]}),
    "product that wraps": ("a", {"shape": [1 << 32, 1 << 32, 6]}),
    "giant but empty": ("a", {"shape": [0, 1 << 40, 1 << 40], "data_offsets": [0, 0]}),
    "many dimensions": ("a", {"shape": [1] * 4000 + [6]}),
    "negative offset": ("a", {"data_offsets": [-24, 0]}),
    "offset beyond the file": ("c", {"data_offsets": [32, 4000]}),
    "offset beyond int64": ("c", {"data_offsets": [32, 1 << 70]}),
    "three offsets": ("c", {"data_offsets": [32, 36, 40]}),
    "reversed": ("c", {"data_offsets": [40, 32]}),
    "overlap": ("c", {"data_offsets": [28, 36]}),
    "extra key": ("a", {"strides": [1]}),
}


@pytest.mark.parametrize("name, change", LIES.values(), ids=LIES)
def test_a_lying_header_is_refused_by_name(tmp_path, name, change):
    table = entries()
    table[name] |= change
    write_small(tmp_path, table)
    refused(tmp_path, SINGLE_NAME, repr(name))


RAW = {
    "empty": b"",
    "short": b"\x01\x02",
    "no header": struct.pack("<Q", 0),
    "header past the end": struct.pack("<Q", 1 << 40) + b"{}",
    "header length beyond int64": b"\xff" * 8 + b"{}",
    "not json": file_bytes(b"hello there"),
    "a list": file_bytes(b"[1, 2]"),
    "cut json": file_bytes(b'{"a": '),
    "deep": file_bytes(b"{" + b'"a":{' * 50_000),
    "bad utf-8": file_bytes(b'{"\xff\xfe": 1}'),
    "number too long": file_bytes(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,1]}}'),
    "nan": file_bytes(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,40]}}'),
    "metadata": file_bytes({"__metadata__": {"format": 1}} | entries()),
    "entry not an object": file_bytes({"a": 5}),
    "pickle": b"\x80\x04\x95" + bytes(100),
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_what_is_no_safetensors_file_is_refused(tmp_path, raw):
    (tmp_path / SINGLE_NAME).write_bytes(raw)
    refused(tmp_path, SINGLE_NAME)


def test_a_hole_and_trailing_bytes_are_refused(tmp_path):
    table = entries()
    del table["b"]
    write_small(tmp_path, table)
    refused(tmp_path, "gap")
    write_small(tmp_path, data=bytes(41))
    refused(tmp_path, "41")
    write_small(tmp_path, data=bytes(39))
    refused(tmp_path, "truncated")


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
def test_a_name_written_twice_is_refused(tmp_path, escaped):
    body = json.dumps(entries())[1:-1]
    again = body.replace('"b"', '"\\u0062"') if escaped else body
    write_small(tmp_path, ("{" + body + ", " + again.split("}, ")[1] + "}}").encode())
    refused(tmp_path, "twice")


def test_a_key_written_twice_inside_an_entry_is_refused(tmp_path):
    raw = json.dumps(entries()).replace('"shape": [4]', '"shape": [9], "shape": [4]')
    write_small(tmp_path, raw.encode())
    refused(tmp_path, "twice")


def test_faults_of_the_index(tmp_path):
    weight_map = write_shards(tmp_path)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    for wrong, word in [
        (weight_map | {"z": first}, "'z'"),
        ({"a": first, "b": second}, "'c'"),
        (weight_map | {"b": first}, "'b'"),
        (weight_map | {"a": "model-00003-of-00002.safetensors"}, "missing"),
        (weight_map | {"a": "../model.safetensors"}, "plain"),
        (weight_map | {"a": "/etc/passwd"}, "plain"),
        (weight_map | {"a": "sub/model.safetensors"}, "plain"),
        (weight_map | {"a": "..\\x.safetensors"}, "plain"),
        (weight_map | {"a": "a\0b.safetensors"}, "plain"),
        (weight_map | {"a": "\ud800.safetensors"}, "plain"),
        (weight_map | {"a": "x" * 300 + ".safetensors"}, "plain"),
        (weight_map | {"a": 5}, "weight_map"),
        ({}, "weight_map"),
        ([], "weight_map"),
    ]:
        write_index(tmp_path, wrong)
        refused(tmp_path, word)
    for raw in (b"", b"[]", b"{", b'{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', b"\xff"):
        (tmp_path / INDEX_NAME).write_bytes(raw)
        refused(tmp_path, INDEX_NAME)


def test_one_tensor_in_two_shards_is_refused(tmp_path):
    weight_map = write_shards(tmp_path)
    write_small(tmp_path, entries({"b": SMALL["b"]}), bytes(8), "model-00001-of-00002.safetensors")
    del weight_map["a"]
    write_index(tmp_path, weight_map | {"b": "model-00001-of-00002.safetensors"})
    refused(tmp_path, "two shards", "'b'")


def test_a_directory_without_a_checkpoint_says_what_is_there(tmp_path):
    refused(tmp_path / "nothing", "not a directory")
    refused(tmp_path, SINGLE_NAME)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    refused(tmp_path, "pickle")
    write_shards(tmp_path)
    write_small(tmp_path)
    refused(tmp_path, "both")
    (tmp_path / SINGLE_NAME).unlink()
    (tmp_path / INDEX_NAME).unlink()
    refused(tmp_path, INDEX_NAME)


def test_a_pipe_or_folder_in_place_of_a_file_does_not_block(tmp_path):
    os.mkfifo(tmp_path / SINGLE_NAME)
    refused(tmp_path, "regular")
    (tmp_path / SINGLE_NAME).unlink()
    (tmp_path / SINGLE_NAME).mkdir()
    refused(tmp_path, "regular")


def test_a_huge_header_is_not_read(tmp_path):
    with (tmp_path / SINGLE_NAME).open("wb") as file:
        file.write(struct.pack("<Q", 1 << 30))
        file.truncate(2 << 30)
    refused(tmp_path, "claims a header")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(data=st.data())
def test_any_damage_gives_the_same_tensors_or_a_weights_error(tmp_path, data):
    whole = file_bytes({"__metadata__": {"format": "pt"}} | entries(), bytes(40))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        action = data.draw(st.sampled_from(["flip", "cut", "insert", "digit"]))
        if action == "flip":
            damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        elif action == "cut":
            del damaged[at : at + data.draw(st.integers(1, 9))]
        elif action == "insert":
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            damaged[at : at + 1] = b"%d" % data.draw(st.integers(0, 99))
        if not damaged:
            break
    (tmp_path / SINGLE_NAME).write_bytes(damaged)
    try:
        checkpoint = open_checkpoint(tmp_path)
    except WeightsError:
        return
    for name in checkpoint.names():
        info = checkpoint.info(name)
        assert tuple(checkpoint.tensor(name).shape) == info.shape
        assert info.end <= len(damaged)


def resident_bytes(path):
    """How much of a file the page cache holds."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        start, count = np.frombuffer(mapped, np.uint8).ctypes.data, -(-len(mapped) // mmap.PAGESIZE)
        pages = (ctypes.c_ubyte * count)()
        told = ctypes.CDLL(None).mincore(ctypes.c_void_p(start), ctypes.c_size_t(len(mapped)), pages)
        assert told == 0
        return sum(page & 1 for page in pages) * mmap.PAGESIZE


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system cannot be asked to empty its page cache")
def test_small_tensors_are_read_without_what_lies_between_them(tmp_path):
    tensors = {}
    for index in range(8):
        tensors[f"{index}.a_large"] = torch.zeros(1 << 20)
        tensors[f"{index}.small"] = torch.tensor([index, 7])
    path = tmp_path / SINGLE_NAME
    # Written by hand: the library puts large tensors first.
    at, table = 0, {}
    for name, tensor in tensors.items():
        end = at + tensor.numel() * tensor.element_size()
        kind = "F32" if tensor.dtype == torch.float32 else "I64"
        table[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    head = json.dumps(table).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for tensor in tensors.values():
            file.write(tensor.numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident_bytes(path) > 1 << 20:
        pytest.skip("this file system keeps what it has written")
    checkpoint = open_checkpoint(tmp_path)
    small = dict(checkpoint.small([f"{index}.small" for index in range(8)]))
    assert [small[f"{index}.small"].tolist() for index in range(8)] == [[index, 7] for index in range(8)]
    assert resident_bytes(path) < 1 << 20
