"""The prefix store on real files: bit-exact or absent, whatever was damaged, cut, full, killed or shared."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from perilune.cli.store import open_store, printable, store_app
from perilune.engine import store_folder as folder
from perilune.engine import store_node as files
from perilune.engine.store import NodeKey, PrefixStore, node_key
from perilune.errors import RequestError

ROOT = Path(__file__).resolve().parents[1]
PLENTY = 1 << 30
ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(5, dtype=np.uint16)}
NODE_BYTES = sum(piece.nbytes for piece in files.encode("a" * 64, "b" * 64, ARRAYS))


def key_of(*ids, model="model"):
    """One node per id, as a chain."""
    parent = None
    for number in ids:
        parent = node_key(model, parent, np.array([number]))
    return parent


def put_chain(store, *ids, label=""):
    """Nodes with a use time of their own; the keys from the first to the last."""
    keys = [key_of(*ids[: n + 1]) for n in range(len(ids))]
    for key, parent in zip(keys, [None, *keys], strict=False):
        assert store.put(key, parent, ARRAYS, label=label, tokens=7)
    return keys


def path_of(store, key):
    (path,) = folder.paths_of(store.directory, key.digest)
    return path


def same(arrays):
    return arrays is not None and all(np.array_equal(arrays[name], array) for name, array in ARRAYS.items())


def set_used(store, key, seconds):
    os.utime(path_of(store, key), (seconds, seconds))


def forged(change, body=None):
    """A node whose checksums are right, whatever its header says."""
    raw = bytes(files.encode(key_of(1).digest, None, ARRAYS)[0])
    table = json.loads(raw[48:])
    text = change(table)
    text = text if isinstance(text, bytes) else json.dumps(table).encode()
    text += b" " * (-(48 + len(text)) % 64)
    start = files._PREFIX.pack(files.MAGIC, files.VERSION, len(text), hashlib.sha256(text).digest())
    return start + text + (bytes(128) if body is None else body)


def test_keys_tell_models_beginnings_and_ids_apart():
    assert key_of(1, 2) == key_of(1, 2)
    others = [key_of(1, 2), key_of(2, 1), key_of(1), key_of(2), key_of(1, 2, model="other")]
    others += [node_key("model", None, np.array([1, 2])), node_key("model\1", None, np.array([2]))]
    assert len(set(others)) == len(others)
    assert node_key("m", None, np.array([3], np.uint8)) == node_key("m", None, np.array([3], np.int64))
    for wrong in (np.array([]), np.array([1.0]), np.array([[1]]), np.array([-1]), np.array([2**64 - 1], np.uint64)):
        with pytest.raises(ValueError):
            node_key("m", None, wrong)
    for wrong in ("", "../../etc", "A" * 64, "a" * 63, "a" * 64 + "\n"):
        with pytest.raises(ValueError):
            NodeKey(wrong)


def test_what_was_put_comes_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 2, (3, 5)).astype(name) for name in sorted(files.DTYPES)}
    arrays["noise"] = rng.integers(0, 256, (4, 7, 4), np.uint8).view(np.float32)  # with nan and inf among it
    arrays |= {"scalar": np.array(2.5), "empty": np.zeros((0, 4), np.float16), "strided": arrays["int64"].T[::2]}
    arrays["big-endian"] = np.arange(3).astype(">i4")
    key = key_of(1)
    assert PrefixStore(tmp_path, PLENTY).put(key, None, arrays, label="résumé\n\udc80", tokens=9)
    back = PrefixStore(tmp_path, PLENTY).get(key)
    assert back is not None and list(back) == list(arrays)
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype.newbyteorder("<"), array.shape)
        assert back[name].tobytes() == array.astype(back[name].dtype).tobytes()
        assert back[name].ctypes.data % 64 == 0 or not array.size
        with pytest.raises(ValueError):
            back[name].flags.writeable = True
    (entry,) = PrefixStore(tmp_path, PLENTY).entries()
    assert (entry.key, entry.parent, entry.label, entry.tokens) == (key, None, "résumé\n\udc80", 9)


def test_a_node_without_arrays_and_a_long_label(tmp_path):
    store = PrefixStore(tmp_path, PLENTY)
    assert store.put(key_of(1), None, {}, label="x" * 5000)
    assert store.get(key_of(1)) == {}
    assert store.entries()[0].label == "x" * files.MAX_LABEL


def test_what_the_format_cannot_hold_is_the_callers_fault(tmp_path):
    store = PrefixStore(tmp_path, PLENTY)
    for wrong in (
        {"x": np.array(["text"])},
        {"x": np.array([object()])},
        {"x": np.zeros(2, np.complex64)},
        {"x": np.zeros(2, "datetime64[s]")},
        {"x": np.zeros((1,) * 9)},
        {"": np.zeros(1)},
        {"x" * 200: np.zeros(1)},
        {str(n): np.zeros(1) for n in range(files.MAX_ARRAYS + 1)},
    ):
        with pytest.raises(ValueError):
            store.put(key_of(1), None, wrong)
    with pytest.raises(ValueError):
        store.put(key_of(1), None, {}, tokens=-1)
    with pytest.raises(ValueError):
        PrefixStore(tmp_path, -1)
    assert store.nbytes == 0


def test_an_absent_node_and_an_absent_folder(tmp_path):
    store = PrefixStore(tmp_path / "nowhere", PLENTY)
    assert store.get(key_of(1)) is None and key_of(1) not in store
    assert store.entries() == [] and store.nbytes == 0 and store.clear() == 0 and store.verify().nodes == 0
    assert not store.directory.exists()


def test_files_and_folders_are_private_and_their_names_say_nothing(tmp_path):
    store = PrefixStore(tmp_path / "deep" / "store", PLENTY)
    put_chain(store, 1, 2, label="secret plans.txt")
    for path in [store.directory, *store.directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert "secret" not in str(path.relative_to(tmp_path))


def test_the_folder_can_be_named(tmp_path, monkeypatch):
    monkeypatch.delenv("PERILUNE_STORE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert PrefixStore.default().directory == tmp_path / "perilune" / "store"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative is not allowed")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PrefixStore.default().directory == tmp_path / ".cache" / "perilune" / "store"
    monkeypatch.setenv("PERILUNE_STORE", str(tmp_path / "mine"))
    assert PrefixStore.default(5).directory == tmp_path / "mine"


def test_every_flipped_byte_is_detected(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "perilune.store")
    store = PrefixStore(tmp_path, PLENTY)
    (key,) = put_chain(store, 1)
    path = path_of(store, key)
    whole = path.read_bytes()
    assert len(whole) < 1000
    for at in range(len(whole)):
        for mask in (1, 0x80, 0xFF):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :])
            assert store.get(key) is None, f"byte {at} ^ {mask} went unseen"
            assert not path.exists()
    path.write_bytes(whole)
    assert same(store.get(key))


def test_every_truncation_and_any_growth_is_detected(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "perilune.store")
    store = PrefixStore(tmp_path, PLENTY)
    (key,) = put_chain(store, 1)
    path = path_of(store, key)
    whole = path.read_bytes()
    for cut in [whole[:size] for size in range(len(whole))] + [whole + b"\0", whole + bytes(64), whole * 2]:
        path.write_bytes(cut)
        assert store.get(key) is None


def test_damage_is_one_warning_and_then_written_anew(tmp_path, caplog):
    store = PrefixStore(tmp_path, PLENTY)
    first, second = put_chain(store, 1, 2)
    path = path_of(store, second)
    damaged = bytearray(path.read_bytes())
    damaged[-70] ^= 1
    for _ in range(3):
        path.write_bytes(damaged)
        assert store.get(second) is None
    assert len(caplog.records) == 1 and "checksum of its body" in caplog.text and str(tmp_path) not in caplog.text
    assert second not in store and same(store.get(first))
    path.write_bytes(damaged)
    assert store.put(second, first, ARRAYS) and same(store.get(second))
    assert len(caplog.records) == 1


def test_another_version_or_another_models_node_is_not_used(tmp_path, caplog):
    store = PrefixStore(tmp_path, PLENTY)
    (key,) = put_chain(store, 1)
    path = path_of(store, key)
    whole = path.read_bytes()
    path.write_bytes(whole[:8] + (2).to_bytes(4, "little") + whole[12:])
    assert store.get(key) is None and "version 2" in caplog.text
    other = key_of(1, model="other model")
    target = store.directory / other.digest[:2] / files.file_name(other.digest, None)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(whole)
    assert store.get(other) is None and "another node" in caplog.text
    assert len(caplog.records) == 2


def array(index, **change):
    return lambda table: table["arrays"][index].update(change)


def field(**change):
    return lambda table: table.update(change)


LIES = {
    "no arrays": field(arrays=[]),
    "arrays not a list": field(arrays={"a": 1}),
    "very many arrays": lambda t: t.update(arrays=[{}] * 5000),
    "array not an object": lambda t: t.update(arrays=[7]),
    "two of one name": array(1, name="a"),
    "name not text": array(0, name=["a"]),
    "empty name": array(0, name=""),
    "unknown dtype": array(0, dtype="object"),
    "structured dtype": array(0, dtype="f4,f4"),
    "dtype not text": array(0, dtype=["float32"]),
    "negative size": array(0, shape=[-2, -3]),
    "huge size": array(0, shape=[1 << 62]),
    "product beyond 64 bits": array(0, shape=[1 << 40, 1 << 40]),
    "giant but empty": array(0, shape=[0, 1 << 40, 1 << 40]),
    "fraction": array(0, shape=[2.0, 3]),
    "true": array(0, shape=[True, 6]),
    "many dimensions": array(0, shape=[1] * 4000),
    "shape not a list": array(0, shape=6),
    "negative offset": array(1, begin=-64),
    "overlap": array(1, begin=0),
    "gap": array(1, begin=128),
    "beyond the end": array(1, begin=1 << 60),
    "offset is true": array(0, begin=False),
    "too large for the body": array(1, shape=[500]),
    "too small for the body": array(1, shape=[0]),
    "extra field": field(more=1),
    "lost field": lambda t: t.pop("label") and None,
    "another key": field(key="f" * 64),
    "key not text": field(key=5),
    "parent not text": field(parent=[]),
    "another parent": field(parent="f" * 64),
    "label not text": field(label=5),
    "long label": field(label="x" * 10_000),
    "negative tokens": field(tokens=-1),
    "endless tokens": field(tokens=1 << 70),
    "tokens not a number": field(tokens="7"),
    "checksum not text": field(checksum=None),
    "checksum of something else": field(checksum="0" * 64),
    "not json": lambda t: b"hello",
    "a list": lambda t: b"[]",
    "nothing": lambda t: b"",
    "not ascii": lambda t: b'{"\xff": 1}',
    "deep": lambda t: b'{"a":' * 20_000,
    "a key twice": lambda t: json.dumps(t).encode().replace(b'"tokens"', b'"tokens": 1, "tokens"'),
    "a number without end": lambda t: b'{"tokens": ' + b"9" * 6000 + b"}",
    "nan": lambda t: json.dumps(t | {"tokens": float("nan")}).encode(),
    "header beyond the limit": lambda t: b" " * (files.MAX_HEADER_BYTES + 64),
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
def test_a_lying_header_with_a_right_checksum_is_refused(tmp_path, caplog, change):
    store = PrefixStore(tmp_path, PLENTY)
    (key,) = put_chain(store, 1)
    path = path_of(store, key)
    path.write_bytes(forged(change))
    assert store.get(key) is None
    assert len(caplog.records) == 1 and len(caplog.text) < 600


def test_the_forger_of_these_tests_can_make_a_good_node(tmp_path):
    store = PrefixStore(tmp_path, PLENTY)
    (key,) = put_chain(store, 1)
    path = path_of(store, key)
    body = path.read_bytes()[-128:]
    path.write_bytes(forged(lambda table: None, body))
    assert same(store.get(key))


def test_a_giant_shape_that_is_empty_is_refused(tmp_path):
    store = PrefixStore(tmp_path, PLENTY)
    (key,) = put_chain(store, 1)
    path = path_of(store, key)
    body = path.read_bytes()[-128:-64]
    checksum = hashlib.blake2b(body, digest_size=32).hexdigest()
    for shape, taken in (([0, 9], True), ([0, 1 << 40, 1 << 40], False)):
        store.put(key, None, ARRAYS)

        def change(table, shape=shape):
            table["arrays"][1]["shape"], table["checksum"] = shape, checksum

        path.write_bytes(forged(change, body))
        assert (store.get(key) is not None) == taken


def test_a_file_beyond_the_limit_is_neither_written_nor_read(tmp_path, monkeypatch):
    store = PrefixStore(tmp_path, PLENTY)
    (key,) = put_chain(store, 1)
    monkeypatch.setattr(files, "MAX_NODE_BYTES", NODE_BYTES - 100)
    assert store.get(key) is None and not store.put(key, None, ARRAYS)


def test_a_huge_sparse_file_is_not_read(tmp_path):
    store = PrefixStore(tmp_path, PLENTY)
    (key,) = put_chain(store, 1)
    path = path_of(store, key)
    with path.open("r+b") as file:
        file.truncate(1 << 42)
    assert store.get(key) is None


def test_a_pipe_a_folder_or_a_link_in_place_of_a_node_does_not_block(tmp_path, caplog):
    store = PrefixStore(tmp_path / "store", PLENTY)
    keys = put_chain(store, 1, 2, 3)
    (tmp_path / "real").write_bytes(path_of(store, keys[2]).read_bytes())
    for key, make in zip(keys, (os.mkfifo, os.mkdir, lambda p: os.symlink(tmp_path / "real", p)), strict=True):
        path = path_of(store, key)
        path.unlink()
        make(path)
        assert store.get(key) is None
    assert len(caplog.records) == 3
    store.entries(), store.verify(delete=True)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_the_same_arrays_or_none(tmp_path, data):
    store = PrefixStore(tmp_path, PLENTY)
    logging.getLogger("perilune.store").setLevel(logging.CRITICAL)
    try:
        store.put(key_of(1), None, ARRAYS)
        path = path_of(store, key_of(1))
        damaged = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(damaged)))
            cut = data.draw(st.integers(0, 9))
            damaged[at : at + cut] = data.draw(st.binary(max_size=9))
        path.write_bytes(damaged)
        arrays = store.get(key_of(1))
        assert arrays is None or same(arrays)
    finally:
        logging.getLogger("perilune.store").setLevel(logging.NOTSET)


def test_leaves_go_first_and_the_least_recently_used_of_them(tmp_path):
    writer = PrefixStore(tmp_path, PLENTY)
    long = put_chain(writer, 1, 2, 3)
    short = put_chain(writer, 4)
    for when, key in enumerate([*long, *short]):  # the root of the long chain is the oldest of all
        set_used(writer, key, 1000 + when)
    store = PrefixStore(tmp_path, 4 * NODE_BYTES)
    gone = []
    for number in range(10, 14):
        set_aside = [key for key in (*long, *short) if key in store]
        assert store.put(key_of(number), None, ARRAYS)
        gone += [key for key in set_aside if key not in store]
    assert gone == [long[2], long[1], long[0], short[0]]
    assert store.nbytes <= store.max_bytes


def test_a_get_is_a_use_that_other_processes_see(tmp_path):
    writer = PrefixStore(tmp_path, PLENTY)
    old, new = put_chain(writer, 1)[0], put_chain(writer, 2)[0]
    set_used(writer, old, 1000)
    set_used(writer, new, 2000)
    assert same(PrefixStore(tmp_path, PLENTY).get(old))
    assert [entry.key for entry in writer.entries()] == [old, new]
    third = PrefixStore(tmp_path, 2 * NODE_BYTES)
    assert third.put(key_of(3), None, ARRAYS)
    assert old in third and new not in third


def test_what_this_process_used_goes_last(tmp_path):
    writer = PrefixStore(tmp_path, PLENTY)
    others = [put_chain(writer, number)[0] for number in range(3)]
    store = PrefixStore(tmp_path, 4 * NODE_BYTES)
    mine = put_chain(store, 10)[0]
    set_used(store, mine, 1)
    assert store.get(others[0]) is not None
    set_used(store, others[0], 2)
    assert put_chain(store, 11) and put_chain(store, 12)
    assert mine in store and others[0] in store and others[1] not in store and others[2] not in store
    assert put_chain(store, 13)  # nothing else is left, so the oldest of its own goes
    assert mine not in store and others[0] in store


def test_a_node_never_drives_out_what_it_builds_on(tmp_path):
    store = PrefixStore(tmp_path, 3 * NODE_BYTES)
    chain = put_chain(store, 1, 2, 3)
    for when, key in enumerate(chain):
        set_used(store, key, 1000 + when)
    assert not store.put(key_of(1, 2, 3, 4), chain[2], ARRAYS)
    assert all(key in store for key in chain)
    assert store.put(key_of(9), None, ARRAYS) and chain[2] not in store and chain[1] in store


def test_what_cannot_fit_in_any_case_drives_out_nothing(tmp_path):
    store = PrefixStore(tmp_path, 3 * NODE_BYTES)
    chain = put_chain(store, 1, 2)
    assert not store.put(key_of(1, 3), chain[0], {"large": np.zeros(2 * NODE_BYTES, np.uint8)})
    assert all(key in store for key in chain)


def test_a_node_larger_than_the_store_is_refused(tmp_path, caplog):
    for limit in (0, NODE_BYTES - 100):
        assert not PrefixStore(tmp_path, limit).put(key_of(1), None, ARRAYS)
    assert not caplog.records and PrefixStore(tmp_path, PLENTY).nbytes == 0


def test_a_put_of_what_is_there_is_a_use_and_writes_nothing(tmp_path):
    store = PrefixStore(tmp_path, PLENTY)
    (key,) = put_chain(store, 1)
    set_used(store, key, 1000)
    before = path_of(store, key).stat()
    assert store.put(key, None, ARRAYS)
    after = path_of(store, key).stat()
    assert after.st_ino == before.st_ino and after.st_mtime > 1000


def test_parents_in_a_circle_end_nothing_in_a_loop(tmp_path):
    shard = tmp_path / "aa"
    shard.mkdir()
    a, b = "aa" + "0" * 62, "aa" + "1" * 62
    for name in (files.file_name(a, b), files.file_name(b, a), files.file_name("aa" + "2" * 62, "aa" + "2" * 62)):
        (shard / name).write_bytes(bytes(500))
    store = PrefixStore(tmp_path, 1600)
    assert not store.put(key_of(1), NodeKey(a), ARRAYS)
    assert store.remove([NodeKey(a)]) == 2 and store.clear() == 1


def test_what_is_not_ours_is_left_alone(tmp_path):
    store = PrefixStore(tmp_path, 2 * NODE_BYTES)
    put_chain(store, 1)
    elsewhere = f"{int(key_of(9).digest[:2], 16) ^ 1:02x}"
    foreign = [
        tmp_path / elsewhere / files.file_name(key_of(9).digest, None),
        tmp_path / "notes.txt",
        tmp_path / key_of(1).digest[:2] / "mine.node",
        tmp_path / "zz" / "x.tmp",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10_000)
    for number in range(2, 6):
        assert put_chain(store, number)
    store.clear()
    assert all(path.exists() for path in foreign) and store.nbytes == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=["full", "quota", "input/output"])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_disk_is_one_warning_and_leaves_nothing(tmp_path, monkeypatch, caplog, call, code):
    store = PrefixStore(tmp_path, PLENTY)
    (first,) = put_chain(store, 1)
    real, calls = getattr(os, call), []

    def failing(*args, **options):
        calls.append(args)
        if call != "write" or len(calls) > 1:
            raise OSError(code, os.strerror(code))
        return real(args[0], args[1][:20])  # the disk takes a little first

    monkeypatch.setattr(os, call, failing)
    assert not store.put(key_of(1, 2), first, ARRAYS)
    assert not store.put(key_of(1, 3), first, ARRAYS)
    assert len(caplog.records) == 1 and os.strerror(code) in caplog.text and str(tmp_path) not in caplog.text
    assert same(store.get(first))
    assert [path.name for path in tmp_path.rglob("*.*")] == [path_of(store, first).name]
    monkeypatch.undo()
    assert store.put(key_of(1, 2), first, ARRAYS)


def test_short_writes_are_completed(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:7]))
    store = PrefixStore(tmp_path, PLENTY)
    assert same(store.get(put_chain(store, 1)[0]))


def test_an_interrupt_in_mid_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    store = PrefixStore(tmp_path, PLENTY)
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.put(key_of(1), None, ARRAYS)
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.*")) and store.put(key_of(1), None, ARRAYS)


def test_a_store_that_cannot_be_made_is_one_warning(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    store = PrefixStore(tmp_path / "file" / "store", PLENTY)
    assert not store.put(key_of(1), None, ARRAYS) and not store.put(key_of(2), None, ARRAYS)
    assert store.get(key_of(1)) is None and store.nbytes == 0 and len(caplog.records) == 1


def test_without_file_locks_the_store_still_keeps_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "fcntl", None)
    store = PrefixStore(tmp_path, 3 * NODE_BYTES)
    for number in range(8):
        assert put_chain(store, number)
    assert store.nbytes <= store.max_bytes


def test_a_lock_that_is_never_given_back_only_delays(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "LOCK_SECONDS", 0.05)
    with folder.locked(tmp_path):
        assert put_chain(PrefixStore(tmp_path, PLENTY), 1)


def process(code, *args):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


KILLED = """
import os, sys, time
from pathlib import Path
import numpy as np
from perilune.engine.store import PrefixStore, node_key
store = PrefixStore(Path(sys.argv[1]), 1 << 30)
first, second = (node_key("model", None, np.array([number])) for number in (1, 2))
arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(5, dtype=np.uint16)}
assert store.put(first, None, arrays)
real = os.write
def half(file, data):
    if data.nbytes < 100:
        return real(file, data)
    real(file, data[:data.nbytes // 2])
    print("half", flush=True)
    time.sleep(60)
os.write = half
store.put(second, None, arrays)
"""


def test_a_writer_killed_in_mid_write_leaves_a_valid_store(tmp_path):
    with process(KILLED, tmp_path) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "half\n"
        half = [path for path in tmp_path.rglob("*.tmp")]
        assert len(half) == 1
        assert put_chain(PrefixStore(tmp_path, PLENTY), 3) and half[0].exists()  # its writer still lives
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    store = PrefixStore(tmp_path, PLENTY)
    assert same(store.get(key_of(1))) and store.get(key_of(2)) is None and store.verify().damaged == ()
    assert put_chain(store, 2) and same(store.get(key_of(2)))
    assert not half[0].exists()


def test_an_old_temporary_goes_even_if_its_number_is_in_use(tmp_path):
    store = PrefixStore(tmp_path, PLENTY)
    shard = tmp_path / "ab"
    shard.mkdir()
    old, young = (shard / f".{os.getpid()}-{digit * 16}.tmp" for digit in "01")
    old.write_bytes(b"x"), young.write_bytes(b"x")
    hours_ago = time.time() - 2 * folder.STALE_SECONDS
    os.utime(old, (hours_ago, hours_ago))
    assert put_chain(store, 1)
    assert not old.exists() and young.exists()


SHARED = """
import sys
from pathlib import Path
import numpy as np
from perilune.engine.store import PrefixStore, node_key
store, rng, hits = PrefixStore(Path(sys.argv[1]), int(sys.argv[2])), np.random.default_rng(int(sys.argv[3])), 0
for _ in range(60):
    chain, parent = rng.integers(0, 3, 4), None
    for number in chain:
        key = node_key("model", parent, np.array([number]))
        wanted = np.full(300, int(key.digest[:8], 16), np.uint64)
        arrays = store.get(key)
        if arrays is not None:
            hits += 1
            assert np.array_equal(arrays["x"], wanted)
        elif not store.put(key, parent, {"x": wanted}):
            break
        parent = key
    if rng.random() < 0.05:
        store.remove([key])
print(hits)
"""


def test_two_processes_read_write_and_evict_in_one_store(tmp_path):
    limit = 60_000  # 20 of 120 nodes
    workers = [process(SHARED, tmp_path, limit, seed) for seed in (1, 2)]
    for worker in workers:
        output, _ = worker.communicate(timeout=60)
        assert worker.returncode == 0 and int(output) > 0
    store = PrefixStore(tmp_path, limit)
    report = store.verify()
    assert report.damaged == () and report.nodes > 5
    assert report.nbytes <= limit * 18 // 16 and not list(tmp_path.rglob("*.tmp"))


def test_a_file_that_disappears_while_it_is_listed_is_absent(tmp_path, monkeypatch):
    store = PrefixStore(tmp_path, PLENTY)
    chain = put_chain(store, 1, 2)
    stale_paths, stale = {key.digest: folder.paths_of(tmp_path, key.digest) for key in chain}, folder.scan(tmp_path)
    store.clear()
    monkeypatch.setattr(folder, "paths_of", lambda directory, digest: stale_paths[digest])
    monkeypatch.setattr(folder, "scan", lambda directory: stale)
    assert store.get(chain[0]) is None and store.entries() == [] and store.verify().nodes == 0
    assert store.remove(chain) == 2


def test_verify_reports_and_deletes(tmp_path):
    store = PrefixStore(tmp_path, PLENTY)
    chain = put_chain(store, 1, 2, 3)
    path = path_of(store, chain[1])
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    used = path_of(store, chain[0]).stat().st_mtime_ns
    seen = []
    report = store.verify(progress=lambda done, total: seen.append((done, total)))
    assert report.nodes == 2 and [damage.key for damage in report.damaged] == [chain[1]]
    assert path.exists() and seen[-1] == (store.nbytes, store.nbytes)
    assert path_of(store, chain[0]).stat().st_mtime_ns == used
    store.verify(delete=True)
    assert not path.exists() and store.verify().damaged == () and chain[2] in store


def run(*words, code=0):
    result = CliRunner().invoke(store_app, list(words))
    assert result.exit_code == code, result.output
    return result.stdout


def refused(*words):
    result = CliRunner().invoke(store_app, list(words))
    assert isinstance(result.exception, RequestError)
    return str(result.exception)


def test_ls_shows_labels_for_people_and_programs(tmp_path):
    where = ["--store", str(tmp_path)]
    assert run("ls", *where).startswith("0 nodes, 0 B")
    store = PrefixStore(tmp_path, PLENTY)
    first, second = put_chain(store, 1, 2, label="report [bold].txt\n\x1b[31m\udc80")
    shown = run("ls", *where)
    assert first.digest[:12] in shown and "report [bold].txt" in shown and "\x1b" not in shown and "2 nodes" in shown
    listed = json.loads(run("ls", "--json", *where))
    assert [node["key"] for node in listed["nodes"]] == [second.digest, first.digest]
    assert listed["nodes"][0]["parent"] == first.digest and listed["nodes"][1]["parent"] is None
    assert listed["bytes"] == store.nbytes and listed["nodes"][0]["tokens"] == 7


def test_rm_takes_a_beginning_and_all_that_builds_on_it(tmp_path):
    where = ["--store", str(tmp_path)]
    store = PrefixStore(tmp_path, PLENTY)
    chain, other = put_chain(store, 1, 2, 3), put_chain(store, 4)[0]
    assert "no node" in refused("rm", "fff0fff0", *where)
    assert "no node" in refused("rm", "../..", *where) and "no node" in refused("rm", "", *where)
    assert "--all" in refused("rm", *where) and "--all" in refused("rm", chain[0].digest, "--all", *where)
    assert "no node" in refused("rm", other.digest, "0" * 64, *where) and other in store
    assert run("rm", chain[1].digest[:10].upper(), *where) == "removed 2 nodes\n"
    assert chain[0] in store and chain[2] not in store
    assert run("rm", "--all", *where) == "removed 2 nodes\n" and store.nbytes == 0


def test_rm_of_an_ambiguous_beginning_names_the_candidates(tmp_path):
    store = PrefixStore(tmp_path, PLENTY)
    keys = [put_chain(store, number)[0].digest for number in range(17)]  # two of them begin alike
    first = next(digit for digit in "0123456789abcdef" if sum(key.startswith(digit) for key in keys) > 1)
    alike = sorted(key for key in keys if key.startswith(first))
    message = refused("rm", first, "--store", str(tmp_path))
    assert f"{len(alike)} keys" in message and alike[0][:12] in message and "more digits" in message
    assert len(store.present()) == 17


def test_the_verify_command_tells_damage_by_its_exit_code(tmp_path):
    where = ["--store", str(tmp_path)]
    store = PrefixStore(tmp_path, PLENTY)
    key = put_chain(store, 1, 2)[1]
    assert "2 nodes whole" in run("verify", *where)
    path_of(store, key).write_bytes(b"perilune")
    shown = run("verify", *where, code=1)
    assert key.digest[:12] in shown and "too few" in shown and "1 damaged" in shown
    told = json.loads(run("verify", "--json", *where, code=1))
    assert told["damaged"][0]["key"] == key.digest and told["nodes"] == 1 and told["removed"] == 0
    assert "1 removed" in run("verify", "--delete", *where)
    assert "0 damaged" in run("verify", *where)


def test_the_options_of_a_store(tmp_path, monkeypatch):
    monkeypatch.setenv("PERILUNE_STORE", str(tmp_path / "named"))
    assert open_store(None).directory == tmp_path / "named"
    assert open_store(tmp_path, "2GiB").max_bytes == 2 << 30 and open_store(tmp_path, "5000").max_bytes == 5000
    for wrong in ("much", "0", "-1", "²", "1" * 5000):
        with pytest.raises(RequestError, match="--store-size"):
            open_store(tmp_path, wrong)
    (tmp_path / "file").write_bytes(b"")
    assert "is a file" in refused("ls", "--store", str(tmp_path / "file"))
    assert printable("a\u202eb\tc") == "a\ufffdb\ufffdc"
