"""The streaming writer: what it writes reads back everywhere, and a cut never looks whole."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from perilune.errors import WeightsError
from perilune.weights.files import INDEX_NAME, SINGLE_NAME, open_checkpoint
from perilune.weights.write import CheckpointWriter, Declared, plan_shards

TENSORS = {
    "bias": torch.randn(3).to(torch.bfloat16),
    "scale": torch.randn(2, 2),
    "words": torch.arange(8, dtype=torch.int32).reshape(2, 4),
    "empty": torch.zeros(0, 2),
    "long": torch.arange(5),
}
NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.int32: "I32", torch.int64: "I64"}
DECLARED = {name: (NAMES[t.dtype], tuple(t.shape)) for name, t in TENSORS.items()}


def write_all(directory, **options):
    with CheckpointWriter(directory, DECLARED, **options) as writer:
        for name in reversed(TENSORS):
            writer.write(name, TENSORS[name])


@pytest.mark.parametrize("max_bytes", [10_000, 40], ids=["one file", "shards"])
def test_both_readers_get_the_same_tensors_back(tmp_path, max_bytes):
    write_all(tmp_path, max_shard_bytes=max_bytes, metadata={"format": "pt", "made by": "a test"})
    checkpoint = open_checkpoint(tmp_path)
    theirs = {}
    for path in tmp_path.glob("*.safetensors"):
        theirs |= load_file(path)
    for name, tensor in TENSORS.items():
        assert torch.equal(checkpoint.tensor(name), tensor)
        assert torch.equal(theirs[name], tensor)
        assert checkpoint.info(name).begin % tensor.element_size() == 0
    assert (tmp_path / INDEX_NAME).exists() == (max_bytes == 40)


def test_the_index_is_the_published_one(tmp_path):
    write_all(tmp_path, max_shard_bytes=40)
    index = json.loads((tmp_path / INDEX_NAME).read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in TENSORS.values())


def test_parts_make_a_whole(tmp_path):
    data = np.arange(1000, dtype=np.int32)
    with CheckpointWriter(tmp_path, {"x": ("I32", (1000,))}) as writer:
        for at in range(0, 1000, 300):
            writer.write_part("x", 4 * at, data[at : at + 300])
    assert open_checkpoint(tmp_path).tensor("x").tolist() == data.tolist()


def test_shards_fill_in_order_and_a_giant_gets_its_own():
    declared = {name: Declared("U8", (size,)) for name, size in {"a": 5, "b": 4, "c": 50, "d": 3, "e": 3}.items()}
    assert [list(shard) for shard in plan_shards(declared, 10)] == [["a", "b"], ["c"], ["d", "e"]]


def test_a_cut_leaves_no_checkpoint_and_no_rubbish(tmp_path):
    with pytest.raises(RuntimeError), CheckpointWriter(tmp_path, DECLARED) as writer:
        writer.write("bias", TENSORS["bias"])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WeightsError, match="not written"), CheckpointWriter(tmp_path, DECLARED) as writer:
        writer.write("bias", TENSORS["bias"])
    assert list(tmp_path.iterdir()) == []


def test_the_old_checkpoint_stays_until_the_new_one_is_whole(tmp_path):
    write_all(tmp_path, max_shard_bytes=40)
    writer = CheckpointWriter(tmp_path, {"x": ("F32", (1,))})
    assert len(open_checkpoint(tmp_path).names()) == len(TENSORS)
    writer.write("x", torch.ones(1))
    writer.finish()
    assert open_checkpoint(tmp_path).names() == ["x"]
    assert [path.name for path in tmp_path.iterdir()] == [SINGLE_NAME]


def test_what_was_not_declared_so_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="cannot be stored"):
        CheckpointWriter(tmp_path, {"x": ("COMPLEX", (1,))})
    writer = CheckpointWriter(tmp_path, DECLARED)
    with pytest.raises(WeightsError, match="not declared"):
        writer.write("other", torch.ones(1))
    with pytest.raises(WeightsError, match="bytes"):
        writer.write("bias", torch.ones(3))
    with pytest.raises(WeightsError, match="does not fit"):
        writer.write_part("bias", 4, b"1234")
    writer.write("bias", TENSORS["bias"])
    with pytest.raises(WeightsError, match="already"):
        writer.write("bias", TENSORS["bias"])
    writer.abandon()


def test_a_place_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be written"):
        CheckpointWriter(tmp_path / "file", DECLARED)
