"""Reading a packed corpus: rows of a step depend on the step alone, and every row is seen once a pass."""

import json
from itertools import chain

import numpy as np
import pytest

from perilune.errors import ConfigError
from perilune.train.packed import CONTEXT, Packed

SLOTS = CONTEXT + 1
ROWS = {"language": 30, "chat": 50, "held_out": 5}


@pytest.fixture
def directory(tmp_path):
    """Row r of each group holds only the number r, language rows from 1000 on."""
    for name, rows in ROWS.items():
        numbers = np.arange(rows, dtype=np.uint16)[:, None] + (1000 if name == "language" else 0)
        np.repeat(numbers, SLOTS, 1).tofile(tmp_path / f"{name}.ids")
        np.ones((rows, SLOTS), np.uint8).tofile(tmp_path / f"{name}.mask")
        segments = np.zeros((rows, SLOTS), np.uint16)
        segments[:, -3:] = 65_535
        segments.tofile(tmp_path / f"{name}.segments")
    groups = {name: {"rows": rows, "tokens": rows * SLOTS} for name, rows in ROWS.items()}
    index = {"format": 1, "context": CONTEXT, "n_vocab": 8192, "seed": 3, "groups": groups, "sources": {}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    return tmp_path


def read(packed, steps, batch):
    return [packed.batch(step, batch)[0][:, 0].tolist() for step in range(steps)]


def test_a_step_always_gives_the_same_rows(directory):
    first, again = Packed.open(directory, total_steps=20), Packed.open(directory, total_steps=20)
    forward = read(first, 20, 4)
    assert [again.batch(step, 4)[0][:, 0].tolist() for step in reversed(range(20))] == forward[::-1]
    assert first.fingerprint == again.fingerprint


def test_shapes_and_padding(directory):
    ids, mask, segments = Packed.open(directory).batch(0, 3)
    assert ids.shape == mask.shape == segments.shape == (3, SLOTS)
    assert (ids.dtype, mask.dtype, segments.dtype) == (np.int64, np.bool_, np.int32)
    assert (segments[:, -3:] == -1).all() and (segments[:, :-3] == 0).all()


def test_one_pass_sees_every_row_once_and_the_next_in_another_order(directory):
    packed = Packed.open(directory)
    rows = [row for batch in read(packed, 20, 4) for row in batch]
    assert sorted(rows) == sorted([*range(1000, 1030), *range(50)])
    later = [row for step in range(20, 40) for row in packed.batch(step, 4)[0][:, 0].tolist()]
    assert sorted(later) == sorted(rows) and later != rows


def test_the_language_share_falls_over_the_run(directory):
    packed = Packed.open(directory, total_steps=100)
    language = [sum(row >= 1000 for row in batch) for batch in read(packed, 100, 8)]
    assert sum(language[:20]) > 0.5 * 160 > 0.3 * 160 > sum(language[-20:])
    assert all(len(batch) == 8 for batch in read(packed, 120, 8))


def test_batches_of_any_size_read_the_same_rows_over_a_pass(directory):
    small = chain.from_iterable(read(Packed.open(directory), 40, 2))
    large = chain.from_iterable(read(Packed.open(directory), 10, 8))
    assert sorted(small) == sorted(large)


def test_held_out_rows_in_order(directory):
    packed = Packed.open(directory)
    assert packed.held_out(0, 3)[0][:, 0].tolist() == [0, 1, 2]
    assert packed.held_out(3, 3)[0][:, 0].tolist() == [3, 4]


def test_damaged_directories_are_refused(directory, tmp_path):
    with pytest.raises(ConfigError, match="no packed corpus"):
        Packed.open(tmp_path / "nowhere")
    (directory / "chat.mask").write_bytes(b"short")
    with pytest.raises(ConfigError, match="pack again"):
        Packed.open(directory)
    (directory / "index.json").write_text('{"format": 9}')
    with pytest.raises(ConfigError, match="format"):
        Packed.open(directory)
