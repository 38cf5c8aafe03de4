"""One safetensors file's header: read, and checked whole before any data is touched.

A full-size checkpoint has two hundred thousand entries, so checks run over columns at C speed.
"""

from __future__ import annotations

import gc
import json
import math
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from perilune.errors import ConfigError, WeightsError
from perilune.fields import refuse_twice, show_value

MAX_HEADER_BYTES = 100_000_000
MAX_RANK = 8
MAX_DIM = 1 << 48

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
KEY_ORDER = ("dtype", "shape", "data_offsets")
KEYS = frozenset(KEY_ORDER)


class TensorInfo(NamedTuple):
    """Where a tensor lies; begin and end count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    shard: str
    begin: int
    end: int


class Identity(NamedTuple):
    """Tells whether a file is still the one that was checked."""

    device: int
    inode: int
    size: int
    modified_ns: int


Kind = tuple[str, tuple[int, ...]]


class Header(NamedTuple):
    """Columns rather than an object per tensor; equal kinds (dtype, shape) are one object."""

    index: dict[str, int]
    kinds: list[Kind]
    spans: np.ndarray
    metadata: dict[str, str]
    identity: Identity
    data_begin: int

    def info(self, name: str, shard: str) -> TensorInfo:
        at = self.index[name]
        (dtype, shape), (begin, end) = self.kinds[at], self.spans[at].tolist()
        return TensorInfo(dtype, shape, shard, self.data_begin + begin, self.data_begin + end)


def identify(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def read_limited(path: Path, limit: int) -> bytes:
    """A small regular file's bytes; a pipe or device is refused before it could block."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError(f"{path.name} is not a regular file")
        if status.st_size > limit:
            raise WeightsError(f"{path.name} has {status.st_size} bytes; at most {limit} are read")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error.strerror or error}") from error


@contextmanager
def collector_off() -> Iterator[None]:
    """Two hundred thousand small dicts set off the cycle collector again and again: twice the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def parse_json(raw: bytes, where: str, strings_in: Any) -> dict[str, Any]:
    """A JSON object; a key written twice is refused.

    Python keeps the last of two equal keys without a word, and a hook that notices is slow. Without
    backslashes every two quote marks are one string, so a string count that fits the parsed object
    (strings_in) proves that no key was lost. Only when it does not fit is the slow hook asked.
    """
    try:
        text = raw.decode("utf-8")
        table = json.loads(text)
        if not isinstance(table, dict):
            raise WeightsError(f"{where} must hold a JSON object, not {type(table).__name__}")
        if "\\" in text or text.count('"') != 2 * strings_in(table):
            table = json.loads(text, object_pairs_hook=refuse_twice)
    except ConfigError as error:
        raise WeightsError(f"{where}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{where} is not valid JSON: {show_value(str(error), 160)}") from error
    return table


def _strings_in_header(table: dict[str, Any]) -> int:
    metadata = table.get("__metadata__")
    if not isinstance(metadata, dict):
        return 5 * len(table)
    return 5 * (len(table) - 1) + 1 + 2 * len(metadata)


def read_header(path: Path, known: dict[Kind, Kind]) -> Header:
    """Check everything the header claims against the file; known collects the kinds that all shards share."""
    where = path.name
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError(f"{where} is not a regular file")
        with path.open("rb") as file:
            raw = _header_bytes(file, status.st_size, where)
    except FileNotFoundError as error:
        raise WeightsError(f"{where} is missing from {path.parent}") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{where} cannot be read: {show_value(str(error))}") from error
    table = parse_json(raw, f"the header of {where}", _strings_in_header)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise WeightsError(f"{where}: __metadata__ must be an object of strings")
    data_begin = 8 + len(raw)
    kinds, spans = _check_entries(table, where, status.st_size - data_begin)
    kinds = [known.setdefault(kind, kind) for kind in kinds]
    index = dict(zip(table, range(len(table)), strict=True))
    return Header(index, kinds, spans, metadata, identify(status), data_begin)


def _header_bytes(file: Any, size: int, where: str) -> bytes:
    start = file.read(8)
    if len(start) < 8:
        raise WeightsError(f"{where} has {size} bytes: too short for a safetensors file")
    (length,) = struct.unpack("<Q", start)
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise WeightsError(
            f"{where} claims a header of {length} bytes; with {size} bytes in the file it must be from 2 to "
            f"{max(2, min(MAX_HEADER_BYTES, size - 8))}"
        )
    raw = file.read(length)
    if len(raw) != length or raw[:1] != b"{":
        raise WeightsError(f"{where}: the header must be a JSON object")
    return raw


def _check_entries(table: dict[str, Any], where: str, data_bytes: int) -> tuple[list[Kind], np.ndarray]:
    names = list(table)

    def refuse_first(bad: Iterable[bool], why: str) -> NoReturn:
        name = next(name for name, is_bad in zip(names, bad, strict=True) if is_bad)
        raise WeightsError(f"{where}: tensor {show_value(name)} {why}")

    def check_types(column: Sequence[Any], wanted: type, why: str) -> None:
        if set(map(type, column)) - {wanted}:
            refuse_first((type(value) is not wanted for value in column), why)

    entries = list(table.values())
    check_types(entries, dict, "must be described by an object")
    if set(map(frozenset, entries)) - {KEYS}:
        bad_keys = (entry.keys() != KEYS for entry in entries)
        refuse_first(bad_keys, "must have dtype, shape and data_offsets and nothing else")
    dtypes, shapes, spans = (list(map(itemgetter(key), entries)) for key in KEY_ORDER)
    check_types(dtypes, str, "must name its dtype")
    if set(dtypes) - DTYPE_BYTES.keys():
        refuse_first((d not in DTYPE_BYTES for d in dtypes), f"has no dtype of {', '.join(DTYPE_BYTES)}")
    check_types(shapes, list, "must list its shape")
    if max(map(len, shapes), default=0) > MAX_RANK:
        refuse_first((len(shape) > MAX_RANK for shape in shapes), f"has more than {MAX_RANK} dimensions")
    if not _are_numbers(shapes, MAX_DIM):
        refuse_first((not _are_numbers([shape], MAX_DIM) for shape in shapes), "has a shape that is not sizes")
    check_types(spans, list, "must list its data_offsets")
    if set(map(len, spans)) - {2}:
        refuse_first((len(span) != 2 for span in spans), "must have two data_offsets")
    if not _are_numbers(spans, data_bytes):
        outside = (not _are_numbers([span], data_bytes) for span in spans)
        refuse_first(outside, f"lies outside the {data_bytes} data bytes (truncated file?)")
    kinds = list(zip(dtypes, map(tuple, shapes), strict=True))
    span_N2 = np.array(list(chain.from_iterable(spans)), dtype=np.int64).reshape(-1, 2)
    _check_sizes(kinds, span_N2, refuse_first)
    _check_cover(span_N2, data_bytes, refuse_first, where)
    return kinds, span_N2


def _are_numbers(lists: list[list[Any]], high: int) -> bool:
    flat = list(chain.from_iterable(lists))
    return set(map(type, flat)) <= {int} and (not flat or (min(flat) >= 0 and max(flat) <= high))


def _nbytes(kind: Kind) -> int:
    """What a dtype and shape need, capped inside int64; a giant shape counts as giant even where a size is 0."""
    dtype, shape = kind
    whole = DTYPE_BYTES[dtype] * math.prod(size or 1 for size in shape)
    return 1 << 62 if whole >= 1 << 62 else 0 if 0 in shape else whole


def _check_sizes(kinds: list[Kind], span_N2: np.ndarray, refuse_first: Any) -> None:
    """A tensor's span must be what its dtype and shape need."""
    sizes = {kind: _nbytes(kind) for kind in set(kinds)}
    need_N = np.fromiter(map(sizes.__getitem__, kinds), dtype=np.int64, count=len(kinds))
    bad_N = span_N2[:, 1] - span_N2[:, 0] != need_N
    if bad_N.any():
        at = int(bad_N.argmax())
        dtype, shape = kinds[at]
        has = int(span_N2[at, 1] - span_N2[at, 0])
        refuse_first(bad_N, f"as {dtype} {list(shape)} needs {need_N[at]} bytes, but its data_offsets span {has}")


def _check_cover(span_N2: np.ndarray, data_bytes: int, refuse_first: Any, where: str) -> None:
    """The tensors must lie side by side: no overlap, no gap, nothing after the last."""
    order_N = np.lexsort((span_N2[:, 1], span_N2[:, 0]))
    ends_N = span_N2[order_N, 1]
    starts_N = np.concatenate(([0], ends_N[:-1])) if len(ends_N) else ends_N
    bad_N = span_N2[order_N, 0] != starts_N
    if bad_N.any():
        at = order_N[bad_N.argmax()]
        refuse_first(np.arange(len(order_N)) == at, f"begins at byte {span_N2[at, 0]}: an overlap or a gap")
    end = int(ends_N[-1]) if len(ends_N) else 0
    if end != data_bytes:
        raise WeightsError(f"{where} has {data_bytes} bytes of data, but its tensors end at byte {end}")
