"""A checkpoint on disk: one safetensors file or shards with an index, checked first and read lazily.

Every header is checked before any data is mapped. Tensors are views of the mapped file: no copy, and the
operating system brings in only the pages that are read.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perilune.errors import WeightsError
from perilune.fields import show_value
from perilune.weights.header import (
    MAX_HEADER_BYTES,
    Header,
    Kind,
    TensorInfo,
    collector_off,
    identify,
    parse_json,
    read_header,
    read_limited,
)

if TYPE_CHECKING:
    import torch

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
MAX_SHARDS = 4096
MAX_NAME = 255

TORCH_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "I64": "int64",
    "U64": "uint64",
    "F64": "float64",
}


class _Mapping:
    """One mapped shard; whoever holds a view of it keeps it alive."""

    def __init__(self, path: Path, header: Header):
        try:
            with path.open("rb") as file:
                if identify(os.fstat(file.fileno())) != header.identity:
                    raise WeightsError(f"{path.name} changed after it was checked; open the checkpoint again")
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path.name} cannot be mapped: {show_value(str(error))}") from error
        self.address = np.frombuffer(self.map, dtype=np.uint8).ctypes.data


class Checkpoint:
    """The checked tensors of a model directory, mapped read-only."""

    def __init__(self, directory: Path, headers: dict[str, Header], shard_of: dict[str, str]):
        self.directory = directory
        self.headers = headers
        self.copies = {shard: [(directory / shard, header.identity)] for shard, header in headers.items()}
        self._shard_of = shard_of
        self._kinds: dict[str, Kind] = {}
        self._mappings: dict[str, _Mapping] = {}

    @property
    def nbytes(self) -> int:
        """The size of all shards together."""
        return sum(header.identity.size for header in self.headers.values())

    def names(self) -> list[str]:
        return list(self._shard_of)

    def info(self, name: str) -> TensorInfo:
        shard = self._shard_of.get(name)
        if shard is None:
            raise WeightsError(f"no tensor {show_value(name)} in {self.directory}")
        return self.headers[shard].info(name, shard)

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """Where every tensor lies; made anew at each call, so keep it if you need it twice."""
        with collector_off():
            return {name: self.headers[shard].info(name, shard) for name, shard in self._shard_of.items()}

    def kinds(self) -> dict[str, Kind]:
        """(dtype, shape) of every tensor by published name; do not change it."""
        if not self._kinds:
            with collector_off():
                for header in self.headers.values():
                    self._kinds.update(zip(header.index, header.kinds, strict=True))
        return self._kinds

    def path(self, shard: str) -> Path:
        return self.directory / shard

    def mirror(self, directory: Path) -> None:
        """Adds copies of shards that lie on another disk; what is read past the page cache is read from all of them."""
        found = [shard for shard in self.headers if (directory / shard).is_file()]
        if not found:
            raise WeightsError(f"the mirror {directory} holds none of the shards of {self.directory}")
        for shard in found:
            here, there = self.headers[shard], read_header(directory / shard, {})
            same = here.identity.size == there.identity.size and here.metadata == there.metadata
            if not same or here.index != there.index or not np.array_equal(here.spans, there.spans):
                raise WeightsError(f"{directory / shard} is not a copy of {self.path(shard)}; copy it again")
            self.copies[shard].append((directory / shard, there.identity))

    def raw(self, name: str) -> tuple[int, int]:
        """(address, bytes) of a tensor in the mapped file; valid while this Checkpoint lives."""
        info = self.info(name)
        return self._mapping(info.shard).address + info.begin, info.end - info.begin

    def tensor(self, name: str) -> torch.Tensor:
        """A view of the mapped file; it stays valid after the Checkpoint is gone. Never write to it."""
        import torch

        info = self.info(name)
        dtype = getattr(torch, TORCH_NAMES[info.dtype])
        if info.begin == info.end:
            return torch.empty(info.shape, dtype=dtype)
        mapping = self._mapping(info.shard)
        window: Any = (ctypes.c_char * (info.end - info.begin)).from_address(mapping.address + info.begin)
        window.owner = mapping
        return torch.frombuffer(window, dtype=dtype).reshape(info.shape)

    def small(self, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Many small tensors that lie far apart. Only their own pages are read, many at a time: reading ahead around
        each of them would bring in the whole model."""
        infos = [self.info(name) for name in names]
        maps = {info.shard: self._mapping(info.shard).map for info in infos}
        knows = hasattr(mmap, "MADV_RANDOM")
        for mapping in maps.values() if knows else ():
            mapping.madvise(mmap.MADV_RANDOM)
        for info in infos if knows else ():
            start = info.begin // mmap.PAGESIZE * mmap.PAGESIZE
            maps[info.shard].madvise(mmap.MADV_WILLNEED, start, info.end - start)
        try:
            yield from ((name, self.tensor(name)) for name in names)
        finally:
            for mapping in maps.values() if knows else ():
                mapping.madvise(mmap.MADV_NORMAL)

    def forget(self, name: str) -> None:
        """The pages of a mapped tensor leave this process's memory; they come back when they are read again."""
        info = self.info(name)
        start = -(-info.begin // mmap.PAGESIZE) * mmap.PAGESIZE
        whole = info.end // mmap.PAGESIZE * mmap.PAGESIZE - start
        if whole > 0 and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping(info.shard).map.madvise(mmap.MADV_DONTNEED, start, whole)

    def _mapping(self, shard: str) -> _Mapping:
        if shard not in self._mappings:
            self._mappings[shard] = _Mapping(self.path(shard), self.headers[shard])
        return self._mappings[shard]


def open_checkpoint(directory: str | Path) -> Checkpoint:
    """Read and check every header of the checkpoint in a directory."""
    with collector_off():
        return _open(Path(directory))


def _open(directory: Path) -> Checkpoint:
    single, index = directory / SINGLE_NAME, directory / INDEX_NAME
    if index.exists():
        weight_map = _read_index(index)
        shards = list(dict.fromkeys(weight_map.values()))
        if single.exists() and SINGLE_NAME not in shards:
            raise WeightsError(f"{directory} has both {SINGLE_NAME} and {INDEX_NAME}; remove one of them")
        known: dict[Kind, Kind] = {}
        headers = {shard: read_header(directory / shard, known) for shard in shards}
        _check_index(weight_map, headers)
        return Checkpoint(directory, headers, weight_map)
    if not single.exists():
        raise WeightsError(_nothing_found(directory))
    header = read_header(single, {})
    return Checkpoint(directory, {SINGLE_NAME: header}, dict.fromkeys(header.index, SINGLE_NAME))


def _nothing_found(directory: Path) -> str:
    if not directory.is_dir():
        return f"{directory} is not a directory"
    if any(directory.glob("*.safetensors")):
        return f"{directory} has shards but no {INDEX_NAME} that says which tensor lies where"
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt")):
        return f"{directory} has pickled weights only; perilune reads safetensors and never unpickles"
    return f"{directory} has neither {SINGLE_NAME} nor {INDEX_NAME}"


def _read_index(path: Path) -> dict[str, str]:
    raw = read_limited(path, MAX_HEADER_BYTES)
    table = parse_json(raw, path.name, _strings_in_index)
    weight_map = table.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{path.name} needs a weight_map from tensor names to shards")
    if set(map(type, weight_map.values())) != {str}:
        raise WeightsError(f"{path.name}: every value of weight_map must be the name of a shard")
    shards = set(weight_map.values())
    if len(shards) > MAX_SHARDS:
        raise WeightsError(f"{path.name} names {len(shards)} shards; at most {MAX_SHARDS} are read")
    for shard in shards:
        _check_shard_name(shard)
    return weight_map


def _strings_in_index(table: dict[str, Any]) -> int:
    weight_map = table.get("weight_map")
    metadata = table.get("metadata")
    pairs = 2 * len(weight_map) if isinstance(weight_map, dict) else 0
    return len(table) + pairs + (len(metadata) if isinstance(metadata, dict) else 0)


def _check_shard_name(shard: str) -> None:
    """A shard lies in the model directory itself: an index cannot point at other files of the machine."""
    plain = shard.isprintable() and not set(shard) & set("/\\:") and len(shard.encode()) <= MAX_NAME
    if not plain or not shard.endswith(".safetensors") or shard.startswith("."):
        raise WeightsError(f"the index names the shard {show_value(shard)}; wanted is a plain *.safetensors name")


def _check_index(weight_map: dict[str, str], headers: dict[str, Header]) -> None:
    agree = all(set(map(weight_map.get, header.index)) <= {shard} for shard, header in headers.items())
    if agree and sum(len(header.index) for header in headers.values()) == len(weight_map):
        return
    seen: dict[str, str] = {}
    for shard, header in headers.items():
        for name in header.index:
            if name in seen:
                raise WeightsError(f"tensor {show_value(name)} is in two shards, {seen[name]} and {shard}")
            seen[name] = shard
    for name, shard in weight_map.items():
        if name not in headers[shard].index:
            raise WeightsError(f"the index says that {shard} holds {show_value(name)}, but it does not")
    name = next(name for name in seen if name not in weight_map)
    raise WeightsError(f"tensor {show_value(name)} is in {seen[name]} but not in the index")
