"""`perilune bench kernel`: the INT4 expert kernel against the memory's read rate and other libraries' INT4 products.

All run side by side in one loop: each repeat takes every contender through all experts once, so that a noisy moment
meets them all; ratios are medians over repeats. The experts together are larger than the processor's caches. Others
compute the three products of an expert without its SwiGLU, which ours does besides.

Legend: T rows, E experts, D hidden width, F expert width, N outputs and K inputs of one matrix.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from perilune.bench.beside import Pass, side_by_side
from perilune.bench.machine import describe
from perilune.errors import RequestError
from perilune.kernels import int4_cpu
from perilune.kernels.threads import get_threads

D, F = 7168, 2048  # of a published expert
EXPERTS = 8
GROUP = int4_cpu.GROUP
MATRICES = ((F, D), (F, D), (D, F))  # gate, up, down: [N, K]
EXPERT_BYTES = sum(n * k // 2 + n * k // GROUP * 2 for n, k in MATRICES)
MOST_ROWS, MOST_REPEATS = 4096, 1000
PAUSE = 0.25  # seconds in which the threads of the last contender come to rest


@dataclass(frozen=True)
class Contender:
    """Medians; `ratio` is its time over that of our faster mode, in the same repeat."""

    name: str
    milliseconds: float  # of one expert
    gigabytes_per_second: float  # of INT4 weights
    giga_products_per_second: float
    ratio: float


@dataclass(frozen=True)
class KernelResult:
    rows: int
    memory_gigabytes_per_second: float  # the fastest of several reads of float32 numbers
    contenders: list[Contender]
    missing: list[str]  # libraries that are not installed
    machine: dict[str, Any] = field(default_factory=describe)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        rate = self.memory_gigabytes_per_second
        lines = [f"{self.rows} rows, {EXPERTS} experts of {D} x {F}; memory reads {rate:.1f} GB/s"]
        lines += [
            f"  {c.name:<28}{c.milliseconds:9.2f} ms an expert{c.gigabytes_per_second:8.2f} GB/s"
            f"{c.giga_products_per_second:9.1f} G products/s   {c.ratio:5.2f} times ours"
            for c in self.contenders
        ]
        return "\n".join(lines + [f"  not installed: {name}" for name in self.missing])


def bench_kernel(rows: int, repeats: int) -> KernelResult:
    """Random weights and inputs: speed does not depend on them."""
    for name, value, most in (("rows", rows, MOST_ROWS), ("repeats", repeats, MOST_REPEATS)):
        if not 1 <= value <= most:
            raise RequestError(f"{name} must be from 1 to {most}, got {value}")
    rng = np.random.default_rng(0)
    x_TD, x_TF = (rng.standard_normal((rows, width), np.float32) for width in (D, F))
    passes: dict[str, Pass] = {f"perilune {mode}": _ours(x_TD, mode) for mode in int4_cpu.MODES}
    passes |= {f"torch int4, {name}": _torch(rng, x_TD, x_TF, dtype) for name, dtype in TORCH.items()}
    missing = []
    for name, level in (("onnxruntime, float32", 1), ("onnxruntime, int8", 4)):
        try:
            passes[name] = _onnxruntime(rng, x_TD, x_TF, level)
        except ImportError:
            missing.append(name)
    seconds = side_by_side(passes, repeats, PAUSE)
    ours = [min(both) for both in zip(*(seconds[f"perilune {mode}"] for mode in int4_cpu.MODES), strict=True)]
    contenders = [_contender(name, rows, times, ours) for name, times in seconds.items()]
    return KernelResult(rows, _memory_rate() / 1e9, contenders, missing)


TORCH = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def _contender(name: str, rows: int, seconds: Sequence[float], ours: Sequence[float]) -> Contender:
    one = statistics.median(seconds) / EXPERTS
    ratio = statistics.median(s / o for s, o in zip(seconds, ours, strict=True))
    products = 3 * D * F * rows
    return Contender(name, one * 1e3, EXPERT_BYTES / one / 1e9, products / one / 1e9, ratio)


def _ours(x_TD: np.ndarray, mode: str) -> Pass:
    packed, scales, table_E6 = int4_cpu.random_experts(EXPERTS, D, F)
    ids_ET1 = [np.full((len(x_TD), 1), e) for e in range(EXPERTS)]
    weights_T1 = np.ones((len(x_TD), 1), np.float32)

    def run() -> None:
        assert len(packed) == len(scales)  # kept alive: the table holds their addresses
        for ids_T1 in ids_ET1:
            int4_cpu.expert_ffn(x_TD, ids_T1, weights_T1, table_E6, D, F, mode)

    return run


def _torch(rng: np.random.Generator, x_TD: np.ndarray, x_TF: np.ndarray, dtype: torch.dtype) -> Pass:
    wide, narrow = torch.from_numpy(x_TD).to(dtype), torch.from_numpy(x_TF).to(dtype)
    packed = []
    for _ in range(EXPERTS):
        for n, k in MATRICES:
            w_NK = torch.from_numpy(rng.integers(0, 16, (n, k), np.int32))
            scale_GN2 = torch.full((k // GROUP, n, 2), 0.01, dtype=dtype)
            packed.append(
                (wide if k == D else narrow, torch.ops.aten._convert_weight_to_int4pack_for_cpu(w_NK, 1), scale_GN2)
            )
    product = torch.ops.aten._weight_int4pack_mm_for_cpu

    def run() -> None:
        for x, w, scale in packed:
            product(x, w, GROUP, scale)

    return run


def _onnxruntime(rng: np.random.Generator, x_TD: np.ndarray, x_TF: np.ndarray, level: int) -> Pass:
    """MatMulNBits; `level` is its accuracy_level: 1 computes in float32, 4 rounds what goes in to int8."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = get_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # its threads must not wait on our cores
    runs = []
    for _ in range(EXPERTS):
        for n, k in MATRICES:
            weights = {
                "w": rng.integers(0, 256, (n, k // GROUP, GROUP // 2), np.uint8),
                "scale": np.full(n * k // GROUP, 0.01, np.float32),
            }
            node = onnx.helper.make_node(
                *("MatMulNBits", ["x", "w", "scale"], ["y"]),
                **{"domain": "com.microsoft", "K": k, "N": n, "bits": 4, "block_size": GROUP, "accuracy_level": level},
            )
            ends = [
                onnx.helper.make_tensor_value_info(e, onnx.TensorProto.FLOAT, ["T", w]) for e, w in (("x", k), ("y", n))
            ]
            made = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
            graph = onnx.helper.make_graph([node], "product", ends[:1], ends[1:], made)
            opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
            model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            runs.append((session, {"x": x_TD if k == D else x_TF}))

    def run() -> None:
        for session, given in runs:
            session.run(None, given)

    return run


def _memory_rate() -> float:
    """Bytes a second of adding up half a gigabyte of numbers with all threads."""
    x = torch.ones(128 << 20)
    times = []
    for _ in range(8):
        began = time.perf_counter()
        x.sum()
        times.append(time.perf_counter() - began)
    return 4 * x.numel() / min(times)
