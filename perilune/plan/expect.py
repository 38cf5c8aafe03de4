"""What an opened model that reads its experts from disk will do here, in a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from perilune.api.budget import MemorySplit
from perilune.api.gpu import MARGIN_BYTES, GpuSplit
from perilune.config import ModelConfig
from perilune.media.settings import MediaConfig
from perilune.plan.kept import known_machine
from perilune.plan.machine import gpu_rate
from perilune.plan.needs import needs_of
from perilune.plan.predict import predict
from perilune.weights.disk_rate import large_shard


def expectation(
    config: ModelConfig, directory: Path, memory: MemorySplit, backbone: str, gpu: GpuSplit | None = None
) -> str | None:
    """None for a model too small to measure the disk with: it would be read from the page cache anyway."""
    if not memory.streamed or large_shard(directory) is None:
        return None
    machine = known_machine(directory, memory.budget)
    if gpu is not None:
        machine = replace(machine, gpu_ram=gpu.budget + MARGIN_BYTES, gpu_rate=gpu_rate(gpu.device))
    needs = needs_of(config, backbone, MediaConfig.of(directory), text_only=not memory.senses.weights)
    found = predict(needs, machine)
    return (
        f"to expect: about {_rate(found.decode_rate)} tokens/s once the cache is warm, bound by {found.bound} (disk "
        f"{machine.reading / 1e9:.1f} GB/s, {found.hit_rate:.0%} of the experts from memory if they repeat as usual); "
        f"prompts {_rate(found.prefill_rate)} tokens/s"
    )


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
