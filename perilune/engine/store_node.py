"""One node of the prefix store as a file: written whole or not at all, and checked before a byte of it is used.

    8 bytes      magic "perilune"
    4 bytes      version of this format, little-endian like every number here
    4 bytes      H, the length of the header
    32 bytes     SHA-256 of the header
    H bytes      header: a JSON object in ASCII, with spaces at its end until the body begins at a multiple of 64
    the rest     body: the arrays in the header's order, C-contiguous, each followed by zeros to a multiple of 64

The header has key, parent (null for a first segment), label, tokens, checksum (BLAKE2b-256 of the body) and arrays:
a list of name, dtype, shape and begin (a byte of the body; nothing overlaps and no gap is left). A file's name is
KEY.PARENT.node, or KEY.root.node: who builds on whom is known from a listing, without opening anything.

No byte is outside a check. BLAKE2b rather than a CRC: a wrong state would give wrong tokens without a word, and at more
than 1 GB/s a core on any processor (SHA-256 needs special instructions for that) it costs less than reading the disk.
Files are read rather than mapped, so what was checked is what is used, and a file cut short is no bus error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import secrets
import stat
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

from perilune.errors import ConfigError, WeightsError
from perilune.fields import refuse_twice, show_value

MAGIC = b"perilune"
VERSION = 1
ALIGNMENT = 64
MAX_HEADER_BYTES = 1 << 20
MAX_NODE_BYTES = 4 << 30
MAX_ARRAYS = 4096
MAX_RANK = 8
MAX_NAME = 128
MAX_LABEL = 200
MAX_TOKENS = 1 << 48
INTEGERS = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
DTYPES = frozenset(INTEGERS | {"bool", "float16", "float32", "float64"})  # bfloat16 goes as uint16
HEADER_KEYS = {"key", "parent", "label", "tokens", "checksum", "arrays"}
ARRAY_KEYS = {"name", "dtype", "shape", "begin"}
NAME = re.compile(r"([0-9a-f]{64})\.([0-9a-f]{64}|root)\.node")

_PREFIX = struct.Struct("<8sII32s")
_READ_BYTES = 1 << 18  # small enough to be hashed out of the processor's cache
_WRITE_BYTES = 1 << 28  # some systems refuse 2 GiB in one call
_READ_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe must not block
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class ArrayInfo(NamedTuple):
    """One array; begin counts from the start of the body."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    nbytes: int


class Header(NamedTuple):
    key: str
    parent: str | None
    label: str
    tokens: int
    checksum: str
    arrays: tuple[ArrayInfo, ...]
    body_bytes: int


def file_name(key: str, parent: str | None) -> str:
    return f"{key}.{parent or 'root'}.node"


def encode(
    key: str, parent: str | None, arrays: Mapping[str, np.ndarray], *, label: str = "", tokens: int = 0
) -> list[memoryview]:
    """The pieces of the file, arrays not copied. What the format cannot hold is the caller's fault: ValueError."""
    if len(arrays) > MAX_ARRAYS or not 0 <= tokens <= MAX_TOKENS:
        raise ValueError(f"a node holds at most {MAX_ARRAYS} arrays and 0 to {MAX_TOKENS} tokens")
    body: list[memoryview] = []
    table: list[dict[str, Any]] = []
    checksum, at = _checksum(), 0
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES or array.ndim > MAX_RANK or not 1 <= len(name) <= MAX_NAME:
            raise ValueError(f"array {show_value(name)} cannot be stored as {array.dtype} {list(array.shape)}")
        plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        data = plain.reshape(-1).view(np.uint8).data
        table.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "begin": at})
        for piece in (data, memoryview(bytes(-data.nbytes % ALIGNMENT))):
            checksum.update(piece)
            body.append(piece)
            at += piece.nbytes
    header = {"key": key, "parent": parent, "label": label[:MAX_LABEL], "tokens": tokens}
    raw = json.dumps(header | {"checksum": checksum.hexdigest(), "arrays": table}, separators=(",", ":")).encode()
    raw += b" " * (-(_PREFIX.size + len(raw)) % ALIGNMENT)
    if len(raw) > MAX_HEADER_BYTES:
        raise ValueError(f"the header of a node has at most {MAX_HEADER_BYTES} bytes, this one {len(raw)}")
    start = _PREFIX.pack(MAGIC, VERSION, len(raw), hashlib.sha256(raw).digest())
    return [memoryview(start + raw), *body]


def write(shard: Path, name: str, pieces: list[memoryview]) -> None:
    """Under a temporary name first. The folder is not synced: after a crash the node is whole or absent, both fine."""
    shard.mkdir(mode=0o700, exist_ok=True)
    temporary = shard / f".{os.getpid()}-{secrets.token_hex(8)}.tmp"
    file = os.open(temporary, _WRITE_FLAGS, 0o600)
    try:
        try:
            for piece in pieces:
                _write_all(file, piece)
            os.fsync(file)
        finally:
            os.close(file)
        touch(temporary)
        temporary.replace(shard / name)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def touch(path: Path) -> None:
    """Marks a use. The clock is asked here because a file system's own time moves in steps of milliseconds."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))


def read_header(path: Path) -> Header:
    """Of a whole or damaged file: WeightsError says what is wrong, OSError that it could not be read."""
    with _opened(path) as file:
        return _read_header(file, path.name)


def read(path: Path) -> tuple[Header, dict[str, np.ndarray]]:
    """Header and read-only arrays, all checked; errors as in read_header."""
    with _opened(path) as file:
        header = _read_header(file, path.name)
        whole = np.empty(header.body_bytes + ALIGNMENT, np.uint8)
        skip = -whole.ctypes.data % ALIGNMENT
        body = whole[skip : skip + header.body_bytes]
        view, checksum, at = body.data, _checksum(), 0
        while at < header.body_bytes:
            got = file.readinto(view[at : at + _READ_BYTES])  # pyrefly: ignore
            if not got:
                _refuse(f"ends after {at} of {header.body_bytes} bytes of its body")
            checksum.update(view[at : at + got])
            at += got
    if checksum.hexdigest() != header.checksum:
        _refuse("does not match the checksum of its body")
    whole.flags.writeable = False  # of the owner: a view could be made writable again
    body = whole[skip : skip + header.body_bytes]
    return header, {
        info.name: body[info.begin : info.begin + info.nbytes]
        .view(np.dtype(info.dtype).newbyteorder("<"))
        .reshape(info.shape)
        for info in header.arrays
    }


def _checksum() -> Any:
    return hashlib.blake2b(digest_size=32)


def _write_all(file: int, data: memoryview) -> None:
    while data.nbytes:
        data = data[os.write(file, data[:_WRITE_BYTES]) :]


def _opened(path: Path) -> IO[bytes]:
    return open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | _READ_FLAGS))


def _refuse(why: str) -> NoReturn:
    raise WeightsError(why)


def _read_header(file: IO[bytes], name: str) -> Header:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        _refuse("is not a regular file")
    start = file.read(_PREFIX.size)
    if len(start) < _PREFIX.size:
        _refuse(f"has {len(start)} bytes, too few for a node")
    magic, version, length, digest = _PREFIX.unpack(start)
    if magic != MAGIC:
        _refuse("is not a node file")
    if version != VERSION:
        _refuse(f"has format version {version}; this perilune reads version {VERSION}")
    body_begin = _PREFIX.size + length
    if length > MAX_HEADER_BYTES or body_begin % ALIGNMENT or not body_begin <= status.st_size <= MAX_NODE_BYTES:
        _refuse(f"claims a header of {length} bytes in a file of {status.st_size}")
    raw = file.read(length)
    if hashlib.sha256(raw).digest() != digest:
        _refuse("does not match the checksum of its header")
    header = _check_header(raw, status.st_size - body_begin)
    if file_name(header.key, header.parent) != name:
        _refuse("holds another node than its name says")
    return header


def _check_header(raw: bytes, body_bytes: int) -> Header:
    """A right checksum proves that nothing was damaged, not that the writer was honest."""
    try:
        table = json.loads(raw.decode("ascii"), object_pairs_hook=refuse_twice)
    except (ValueError, RecursionError, ConfigError) as error:
        raise WeightsError(f"has a header that is not valid JSON: {show_value(str(error))}") from None
    if type(table) is not dict or table.keys() != HEADER_KEYS:
        _refuse("has a header with other fields than " + ", ".join(sorted(HEADER_KEYS)))
    key, parent, label, tokens, checksum = (table[k] for k in ("key", "parent", "label", "tokens", "checksum"))
    if type(key) is not str or not (parent is None or type(parent) is str):
        _refuse("names its key or parent by something else than text")
    if type(label) is not str or len(label) > MAX_LABEL or type(checksum) is not str:
        _refuse("has a label or checksum that is not a short text")
    if type(tokens) is not int or not 0 <= tokens <= MAX_TOKENS:
        _refuse(f"counts {show_value(tokens)} tokens")
    if type(table["arrays"]) is not list or len(table["arrays"]) > MAX_ARRAYS:
        _refuse(f"must list at most {MAX_ARRAYS} arrays")
    arrays: dict[str, ArrayInfo] = {}
    at = 0
    for entry in table["arrays"]:
        info = _check_array(entry, at)
        if info.name in arrays:
            _refuse(f"has two arrays {show_value(info.name)}")
        arrays[info.name] = info
        at += info.nbytes + -info.nbytes % ALIGNMENT
    if at != body_bytes:
        _refuse(f"has {body_bytes} bytes of body, its arrays need {at}")
    return Header(key, parent, label, tokens, checksum, tuple(arrays.values()), body_bytes)


def _check_array(entry: Any, at: int) -> ArrayInfo:
    if type(entry) is not dict or entry.keys() != ARRAY_KEYS:
        _refuse("has an array without " + ", ".join(sorted(ARRAY_KEYS)))
    name, dtype, shape, begin = (entry[k] for k in ("name", "dtype", "shape", "begin"))
    if type(name) is not str or not 1 <= len(name) <= MAX_NAME:
        _refuse(f"has an array with the name {show_value(name)}")
    if type(dtype) is not str or dtype not in DTYPES:
        _refuse(f"has array {show_value(name)} of dtype {show_value(dtype)}")
    if type(shape) is not list or len(shape) > MAX_RANK or any(type(n) is not int or n < 0 for n in shape):
        _refuse(f"has array {show_value(name)} of shape {show_value(shape)}")
    # A giant shape stays giant where another size is 0: numpy could not make such an array.
    extent = np.dtype(dtype).itemsize * math.prod(n or 1 for n in shape)
    if extent > MAX_NODE_BYTES:
        _refuse(f"has array {show_value(name)} of shape {show_value(shape)}, too large for a node")
    if type(begin) is not int or begin != at:
        _refuse(f"has array {show_value(name)} at byte {show_value(begin)} instead of {at}")
    return ArrayInfo(name, dtype, tuple(shape), begin, 0 if 0 in shape else extent)
