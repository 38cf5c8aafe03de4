"""What a machine can do, measured here or described: memory, disk, and how fast weights become sums.

Rates are medians of several runs after a warm-up, by the very kernels and reads that the engine uses.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from perilune.api.free_memory import available_memory
from perilune.kernels import int4_cpu, linear_cpu
from perilune.model.layers import linear
from perilune.weights.disk_rate import expert_rate

REPEATS = 5
DENSE_ROWS, WIDTH, EXPERT_WIDTH = 16_384, 7_168, 2_048
MANY = 64  # rows at which sums, not bytes, set the pace
COMMON_GPU_RATE = 700e9  # bytes a second of the memory of a common card


@dataclass(frozen=True)
class Machine:
    """Bytes and bytes a second; sums are multiply-adds a second. `disks` counts equal ones that are read together."""

    name: str
    ram: int
    memory_rate: float  # dense weights, one row of activations
    expert_rate: float  # INT4 experts, one row
    dense_sums: float  # many rows
    expert_sums: float
    disk_rate: float  # of one disk
    disks: int = 1
    gpu_ram: int = 0
    gpu_rate: float = 0.0

    @property
    def reading(self) -> float:
        return self.disk_rate * self.disks


def measure_machine(
    folder: Path, ram: int | None = None, disk_rate: float | None = None, repeats: int | None = None
) -> Machine:
    """This machine. The disk is the one that holds `folder`; nothing is measured that is given."""
    dense_one, dense_many = _dense_rates(repeats or REPEATS)
    expert_one, expert_many = _expert_rates(repeats or REPEATS)
    return Machine(
        name="this machine",
        ram=ram or available_memory(),
        memory_rate=dense_one,
        expert_rate=expert_one,
        dense_sums=dense_many,
        expert_sums=expert_many,
        disk_rate=disk_rate or expert_rate(folder),
    )


def _dense_rates(repeats: int) -> tuple[float, float]:
    """Bytes a second with one row, and multiply-adds a second with many, of a bfloat16 matrix."""
    w_ND = np.full((DENSE_ROWS, WIDTH), 0x3F80, np.uint16)
    x_TD = np.ones((MANY, WIDTH), np.float32)
    one = _seconds(lambda: linear_cpu.linear(x_TD[:1], w_ND), repeats)
    few = w_ND[: DENSE_ROWS // 8]
    many = _seconds(lambda: linear_cpu.linear(x_TD, few), repeats)
    return w_ND.nbytes / one, few.size * MANY / many


def gpu_rate(device: torch.device) -> float:
    """Bytes of a bfloat16 matrix that a GPU multiplies in a second, with one row."""
    w_ND = torch.full((DENSE_ROWS, WIDTH), 1.0, dtype=torch.bfloat16, device=device)
    x_TD = torch.ones(1, WIDTH, device=device)
    with torch.inference_mode():
        return w_ND.nbytes / _seconds(lambda: linear(x_TD, w_ND).sum().item(), REPEATS)


def _expert_rates(repeats: int) -> tuple[float, float]:
    """The same of INT4 experts of the published width."""
    count = 8
    packed, scales, table_E6 = int4_cpu.random_experts(count, WIDTH, EXPERT_WIDTH)

    def run(tokens: int, chosen: int) -> float:
        x_TD = np.ones((tokens, WIDTH), np.float32)
        ids_TK = np.tile(np.arange(chosen), (tokens, 1))
        weights_TK = np.ones((tokens, chosen), np.float32)
        return _seconds(
            lambda: int4_cpu.expert_ffn(x_TD, ids_TK, weights_TK, table_E6, WIDTH, EXPERT_WIDTH, "float"), repeats
        )

    return (packed.nbytes + scales.nbytes) / run(1, count), 3 * WIDTH * EXPERT_WIDTH * MANY / run(MANY, 1)


def _seconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


# Machines that people own or think of buying. Rates of memory are what such memory gives a decoder, about two thirds of
# its label; sums are those of their processors with vector instructions, scaled from measured ones by cores.
def common_machines() -> list[Machine]:
    def machine(name: str, ram: int, memory: float, sums: float, disk: float, disks: int = 1) -> Machine:
        return Machine(name, ram << 30, memory * 1e9, memory * 1e9, sums * 1e9, sums * 1e9, disk * 1e9, disks)

    return [
        machine("24 GB laptop", 24, 55, 300, 3.5),
        machine("64 GB desktop", 64, 60, 500, 7.0),
        machine("64 GB desktop, 2 disks", 64, 60, 500, 7.0, 2),
        machine("128 GB workstation", 128, 120, 800, 7.0),
        machine("128 GB workstation, 2 disks", 128, 120, 800, 12.0, 2),
        machine("192 GB workstation, 2 disks", 192, 200, 1200, 12.0, 2),
        machine("512 GB server", 512, 300, 2500, 7.0, 2),
        machine("768 GB server", 768, 400, 3000, 7.0, 2),
        Machine("64 GB desktop, 24 GB GPU", 64 << 30, 60e9, 60e9, 500e9, 500e9, 7e9, 1, 24 << 30, COMMON_GPU_RATE),
    ]
