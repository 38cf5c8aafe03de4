"""A streaming safetensors writer: shapes are declared first, data follows in any order, memory stays small.

Shards get temporary names; finish() renames them and writes the index last, so a directory whose writing
was cut off never looks like a whole checkpoint.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from perilune.errors import WeightsError
from perilune.fields import show_value
from perilune.weights.files import INDEX_NAME, SINGLE_NAME
from perilune.weights.header import DTYPE_BYTES

MAX_SHARD_BYTES = 5_000_000_000
ALIGNMENT = 64
TEMPORARY = ".partial"


class Declared(NamedTuple):
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return DTYPE_BYTES[self.dtype] * math.prod(self.shape)


class _Shard:
    """One file under its temporary name."""

    def __init__(self, path: Path, tensors: dict[str, Declared], metadata: dict[str, str]):
        self.path, self.temporary = path, path.with_name(path.name + TEMPORARY)
        self.missing = set(tensors)
        header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
        at = 0
        self.spans: dict[str, tuple[int, int]] = {}
        for name, declared in _aligned(tensors).items():
            self.spans[name] = (at, at + declared.nbytes)
            header[name] = {
                "dtype": declared.dtype,
                "shape": list(declared.shape),
                "data_offsets": [at, at + declared.nbytes],
            }
            at += declared.nbytes
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-(len(raw) + 8) % ALIGNMENT)
        self.data_begin = 8 + len(raw)
        self.file: IO[bytes] | None = self.temporary.open("wb", buffering=0)
        self.file.write(len(raw).to_bytes(8, "little") + raw)
        self.file.truncate(self.data_begin + at)

    def put(self, offset: int, data: memoryview) -> None:
        assert self.file is not None
        while data.nbytes:
            done = os.pwrite(self.file.fileno(), data, self.data_begin + offset)
            offset, data = offset + done, data[done:]

    def close(self) -> None:
        if self.file is not None:
            os.fsync(self.file.fileno())
            self.file.close()
            self.file = None


def _aligned(tensors: dict[str, Declared]) -> dict[str, Declared]:
    """The declared order, unless an odd size would leave a later tensor off its own grid."""
    at = 0
    for declared in tensors.values():
        if at % DTYPE_BYTES[declared.dtype]:
            ranked = sorted(tensors.items(), key=lambda item: -DTYPE_BYTES[item[1].dtype])
            return dict(ranked)
        at += declared.nbytes
    return tensors


def plan_shards(declared: Mapping[str, Declared], max_bytes: int) -> list[dict[str, Declared]]:
    """Fill shards in the declared order; a tensor larger than the limit gets a shard of its own."""
    shards: list[dict[str, Declared]] = [{}]
    used = 0
    for name, tensor in declared.items():
        if shards[-1] and used + tensor.nbytes > max_bytes:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += tensor.nbytes
    return shards


class CheckpointWriter:
    """A context manager: leaving it without an error finishes, with one removes the parts."""

    def __init__(
        self,
        directory: str | Path,
        declared: Mapping[str, tuple[str, tuple[int, ...]]],
        *,
        max_shard_bytes: int = MAX_SHARD_BYTES,
        metadata: dict[str, str] | None = None,
    ):
        self.directory = Path(directory)
        self.declared = {name: Declared(*tensor) for name, tensor in declared.items()}
        for name, (dtype, shape) in self.declared.items():
            if dtype not in DTYPE_BYTES or any(size < 0 for size in shape):
                raise WeightsError(f"{show_value(name)} cannot be stored as {dtype} {list(shape)}")
        plan = plan_shards(self.declared, max_shard_bytes)
        metadata = {"format": "pt"} if metadata is None else metadata
        self._shards: list[_Shard] = []
        self._of: dict[str, _Shard] = {}
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for number, tensors in enumerate(plan, start=1):
                name = SINGLE_NAME if len(plan) == 1 else f"model-{number:05d}-of-{len(plan):05d}.safetensors"
                shard = _Shard(self.directory / name, tensors, metadata)
                self._shards.append(shard)
                self._of.update(dict.fromkeys(tensors, shard))
        except OSError as error:
            self.abandon()
            raise WeightsError(f"{self.directory} cannot be written: {error.strerror or error}") from error

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()

    def write(self, name: str, data: Any) -> None:
        """Store one whole tensor: a torch tensor or anything with a buffer (numpy array, bytes)."""
        view = _bytes_of(data)
        nbytes = self._declared(name).nbytes
        if view.nbytes != nbytes:
            raise WeightsError(f"{show_value(name)} was declared with {nbytes} bytes, got {view.nbytes}")
        self.write_part(name, 0, view)

    def write_part(self, name: str, offset: int, data: Any) -> None:
        """Store some bytes of a tensor too large to hold; the part that ends it completes it."""
        view, nbytes = _bytes_of(data), self._declared(name).nbytes
        if offset < 0 or offset + view.nbytes > nbytes:
            raise WeightsError(f"{show_value(name)} has {nbytes} bytes; a part at {offset} does not fit")
        shard = self._of[name]
        if name not in shard.missing:
            raise WeightsError(f"{show_value(name)} is already written")
        try:
            shard.put(shard.spans[name][0] + offset, view)
            if offset + view.nbytes == nbytes:
                shard.missing.discard(name)
                if not shard.missing:
                    shard.close()
        except OSError as error:
            raise WeightsError(f"{shard.path.name} cannot be written: {error.strerror or error}") from error

    def _declared(self, name: str) -> Declared:
        if name not in self.declared:
            raise WeightsError(f"{show_value(name)} was not declared to this writer")
        return self.declared[name]

    def finish(self) -> None:
        """Make the checkpoint visible. Other weight files in the directory belong to an older one and go."""
        missing = [name for shard in self._shards for name in shard.missing]
        if missing:
            self.abandon()
            raise WeightsError(f"{len(missing)} declared tensors were not written, e.g. {show_value(missing[0])}")
        try:
            for shard in self._shards:
                shard.close()
            self._remove_older()
            for shard in self._shards:
                shard.temporary.replace(shard.path)
            if len(self._shards) > 1:
                self._write_index()
        except OSError as error:
            raise WeightsError(f"{self.directory} cannot be written: {error.strerror or error}") from error

    def _remove_older(self) -> None:
        (self.directory / INDEX_NAME).unlink(missing_ok=True)
        for pattern in (SINGLE_NAME, "model-*-of-*.safetensors"):
            for path in self.directory.glob(pattern):
                path.unlink()

    def _write_index(self) -> None:
        index = {
            "metadata": {"total_size": sum(tensor.nbytes for tensor in self.declared.values())},
            "weight_map": {name: self._of[name].path.name for name in sorted(self.declared)},
        }
        temporary = self.directory / (INDEX_NAME + TEMPORARY)
        temporary.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.directory / INDEX_NAME)

    def abandon(self) -> None:
        """Remove what was written so far."""
        for shard in self._shards:
            if shard.file is not None:
                shard.file.close()
                shard.file = None
            shard.temporary.unlink(missing_ok=True)


def _bytes_of(data: Any) -> memoryview:
    """The bytes of a tensor or buffer, without a copy where it is contiguous."""
    if hasattr(data, "detach"):
        import torch

        data = data.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    view = memoryview(data)
    if not view.c_contiguous:
        raise WeightsError("data must be contiguous")
    return view.cast("B") if view.nbytes else memoryview(b"")
