"""`perilune bench stream`: a model whose experts come from disk, against what the disk allows.

The disk is measured in the same run, before and after, by reads of the size of an expert out of the model's own
shards. The bound of decoding is the time in which the disk gives the bytes that were read; the share of it that is
reached says how much of the rest (waiting, computing) was not hidden behind reading.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from perilune.api.energy import EnergyMeter
from perilune.api.free_memory import peak_memory
from perilune.api.model import Model
from perilune.bench.machine import describe
from perilune.bench.speed import check, random_ids, read_prompt
from perilune.errors import RequestError
from perilune.weights.disk_rate import READ_BYTES, expert_rate
from perilune.weights.experts import ExpertStore, StoreStats


@dataclass(frozen=True)
class StreamResult:
    """Rates a second; bytes are of routed experts. `disk_share` is the part of the disk's bound that was reached."""

    memory: str
    slots: int
    experts: int
    prompt: int
    tokens: int
    disk_rate: float
    prefill_rate: float
    prefill_bytes: int
    prefill_disk_share: float
    decode_rate: float
    hit_rate: float
    read_ahead_used: float  # of what was read ahead, the part that was wanted
    bytes_a_token: float
    disk_share: float
    waited_share: float  # of the time of decoding in which nothing could be computed
    peak_memory: int
    gpu: str | None = None  # how its memory is split
    gpu_share: float | None = None  # of the uses of experts while decoding: those that a GPU served
    joules_a_token: float | None = None  # of decoding, the whole machine's processors; None where they do not tell
    machine: dict[str, Any] = field(default_factory=describe)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        return "\n".join(
            (
                *([] if self.gpu is None else [self.gpu]),
                self.memory,
                f"disk: {self.disk_rate / 1e9:.2f} GB/s by reads of {READ_BYTES >> 20} MiB",
                f"prefill of {self.prompt:,} tokens: {self.prefill_rate:.2f} tokens/s, "
                f"{self.prefill_bytes / 1e9:.2f} GB read, {self.prefill_disk_share:.0%} of the disk's bound",
                f"decode of {self.tokens:,} tokens: {self.decode_rate:.3f} tokens/s, hits {self.hit_rate:.1%}, "
                f"{self.bytes_a_token / 1e9:.3f} GB read a token, {self.disk_share:.0%} of the disk's bound, "
                f"{self.waited_share:.0%} of the time waiting, {self.read_ahead_used:.0%} of what was read ahead used",
                *([] if self.gpu_share is None else [f"experts on the GPU: {self.gpu_share:.1%} of the uses"]),
                f"peak memory {self.peak_memory / 2**30:.2f} GiB",
                *([] if self.joules_a_token is None else [f"{self.joules_a_token:.1f} J a token of decode"]),
            )
        )


def bench_stream(model: Model, *, prompt: int, tokens: int, ahead: bool = True) -> StreamResult:
    """One prompt of random ids and decode steps on more of them, the first half of which settle the cache. Random ids
    say nothing about the hit rate of real text; greedy ones of a random model would repeat a few experts for ever.
    `ahead` is whether the next layer's experts are guessed and read ahead."""
    check(model, prompt=prompt, repeats=1, tokens=2 * tokens)
    store, directory = model.experts, model.directory
    if store is None or directory is None or model.memory is None:
        raise RequestError("nothing is streamed: give --ram less than the model takes")
    runner = model.engine.runner
    if not ahead and model.transformer.fused is not None:
        model.transformer.fused.guesses.clear()
    first_rate = expert_rate(directory)
    # Kernels are compiled by a first token that is not counted.
    warm = runner.new_state()
    runner.prefill([1], warm)
    runner.decode([1], [warm])
    state, read_seconds, read = _timed(store, lambda: read_prompt(runner, random_ids(model.config, prompt)))
    ids = iter(random_ids(model.config, 2 * tokens, seed=1))

    def write() -> None:
        for _ in range(tokens):
            runner.decode([next(ids)], [state])

    _timed(store, write)
    slots = model.gpu_experts
    on_gpu = slots.stats.copy() if slots else None
    meter = EnergyMeter()
    _, seconds, written = _timed(store, write)
    joules = meter.joules(tokens)
    rate = (first_rate + expert_rate(directory)) / 2
    return StreamResult(
        memory=str(model.memory),
        slots=len(store.slots),
        experts=store.experts,
        prompt=prompt,
        tokens=tokens,
        disk_rate=rate,
        prefill_rate=prompt / read_seconds,
        prefill_bytes=read.bytes_read,
        prefill_disk_share=read.bytes_read / rate / read_seconds,
        decode_rate=tokens / seconds,
        hit_rate=written.hit_rate,
        read_ahead_used=written.ahead_used / max(1, written.ahead),
        bytes_a_token=written.bytes_read / tokens,
        disk_share=written.bytes_read / rate / seconds,
        waited_share=written.waited / seconds,
        peak_memory=peak_memory(),
        gpu=str(model.gpu) if model.gpu else None,
        gpu_share=slots.stats.since(on_gpu).hit_rate if slots and on_gpu else None,
        joules_a_token=joules,
    )


def _timed(store: ExpertStore, work: Any) -> tuple[Any, float, StoreStats]:
    before, begin = store.stats.copy(), time.perf_counter()
    done = work()
    return done, time.perf_counter() - begin, store.stats.since(before)
