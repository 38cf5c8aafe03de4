"""How fast a disk gives what is read past the page cache, by size of a read and number of reads at once."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perilune.errors import RequestError
from perilune.weights.direct import BLOCK, DirectFile
from perilune.weights.header import identify

PROBE_BYTES = 1 << 30
READ_BYTES = 24 << 20  # about one expert
DISK_SIZES = (64 << 10, 1 << 20, 8 << 20, READ_BYTES)
DEPTHS = (1, 4)


@dataclass(frozen=True)
class DiskRate:
    size: int
    depth: int
    rate: float


def measure_disk(folder: Path, sizes: tuple[int, ...] = DISK_SIZES, depths: tuple[int, ...] = DEPTHS) -> list[DiskRate]:
    """Reads past the page cache, by size of a read and number of reads at once: of the largest file of a model
    directory, or of a file that is written for it and removed."""
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a directory; give one on the disk that will hold the model")
    shard = large_shard(folder)
    if shard is not None:
        return _disk_rates(shard, sizes, depths)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".perilune-probe-") as file:
        block = np.random.default_rng(0).integers(0, 256, READ_BYTES, np.uint8).tobytes()
        try:
            for _ in range(PROBE_BYTES // READ_BYTES):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise RequestError(f"the disk of {folder} cannot be measured: {error}") from error
        return _disk_rates(Path(file.name), sizes, depths)


def large_shard(folder: Path) -> Path | None:
    """A file of a model directory that is large enough to measure the disk with."""
    shards = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    return shards[-1] if shards and shards[-1].stat().st_size >= PROBE_BYTES // 4 else None


def expert_rate(folder: Path) -> float:
    """Bytes a second at best, by reads of about the size of an expert."""
    return max(rate.rate for rate in measure_disk(folder, sizes=(READ_BYTES,)))


def _disk_rates(path: Path, sizes: tuple[int, ...], depths: tuple[int, ...]) -> list[DiskRate]:
    opened = DirectFile(path, identify(os.stat(path)))
    rng, made = np.random.default_rng(0), []
    try:
        for size in sizes:
            for depth in depths:
                made.append(DiskRate(size, depth, _disk_rate(opened, size, depth, rng)))
    finally:
        opened.close()
    return made


def _disk_rate(file: DirectFile, size: int, depth: int, rng: np.random.Generator) -> float:
    """Reads at random places, each place at most once in a run, so that no cache on the way can help."""
    places = file.identity.size // size
    if places < 1:
        raise RequestError(f"{file.path.name} is too small to measure a disk with")
    reads = min(places, max(2 * depth, (512 << 20) // size))
    chosen = rng.permutation(places)[:reads] * size // BLOCK * BLOCK
    pools = [memoryview(mmap.mmap(-1, size)) for _ in range(depth)]

    def run(worker: int) -> None:
        for place in chosen[worker::depth].tolist():
            file.read(place, pools[worker])

    begin = time.perf_counter()
    with ThreadPoolExecutor(depth) as team:
        list(team.map(run, range(depth)))
    return reads * size / (time.perf_counter() - begin)
