"""Where experts lie: whatever the order and place of their tensors, what is read holds their bytes."""

import numpy as np
import pytest

from perilune.config import ModelConfig
from perilune.synth import synthesize
from perilune.weights.direct import BLOCK
from perilune.weights.expert_layout import PARTS, record_of, slot_bytes
from perilune.weights.files import open_checkpoint
from perilune.weights.names import PROJECTIONS, expert_prefix
from perilune.weights.write import CheckpointWriter, Declared


def read(checkpoint, record):
    slot = np.zeros(record.size, np.uint8)
    for piece in record.pieces:
        raw = checkpoint.path(piece.shard).read_bytes()[piece.begin : piece.begin + piece.size]
        slot[piece.at : piece.at + len(raw)] = np.frombuffer(raw, np.uint8)
    return slot


def check(checkpoint, config):
    room = slot_bytes(checkpoint, config)
    for layer in filter(config.is_moe_layer, range(config.num_hidden_layers)):
        for expert in range(config.n_routed_experts):
            record = record_of(checkpoint, config, layer, expert)
            assert record.size <= room
            assert all(p.begin % BLOCK == p.size % BLOCK == p.at % BLOCK == 0 for p in record.pieces)
            slot, names = read(checkpoint, record), [expert_prefix(config, layer, expert, p) for p in PROJECTIONS]
            for at, name in zip(record.tensors, [n + part for n in names for part in PARTS], strict=True):
                info = checkpoint.info(name)
                wanted = checkpoint.path(info.shard).read_bytes()[info.begin : info.end]
                assert slot[at : at + len(wanted)].tobytes() == wanted


def test_experts_as_published_are_one_piece(tmp_path):
    synthesize("tiny", tmp_path / "m")
    checkpoint, config = open_checkpoint(tmp_path / "m"), ModelConfig.load(tmp_path / "m")
    check(checkpoint, config)
    whole = [record_of(checkpoint, config, 1, e) for e in range(config.n_routed_experts)]
    assert sum(len(record.pieces) == 1 for record in whole) >= len(whole) - 1  # one may lie across two shards


@pytest.mark.parametrize("seed", range(3))
def test_experts_whose_tensors_lie_anywhere_are_found(tmp_path, seed):
    source = open_checkpoint(synthesize("tiny", tmp_path / "m").directory)
    names = source.names()
    np.random.default_rng(seed).shuffle(names)
    declared = {name: Declared(source.info(name).dtype, source.info(name).shape) for name in names}
    with CheckpointWriter(tmp_path / "n", declared, max_shard_bytes=40_000) as writer:
        for name in names:
            writer.write(name, source.tensor(name))
    config = ModelConfig.load(tmp_path / "m")
    checkpoint = open_checkpoint(tmp_path / "n")
    check(checkpoint, config)
    assert any(len(record_of(checkpoint, config, 1, e).pieces) > 1 for e in range(config.n_routed_experts))
