"""`perilune bench read`: how the cost of reading and answering grows with the length, and what reopening costs.

Per length: random tokens are read into a fresh store, a prompt of random tokens is answered on them, and the same is
opened again from disk. `full` reads prompts with latent attention in every layer instead, on random weights of the
same sizes: what the chunk memory is compared with.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perilune.api.free_memory import peak_memory
from perilune.api.model import Model, load
from perilune.api.reading import Reading
from perilune.bench.machine import describe
from perilune.bench.speed import read_prompt
from perilune.config import ModelConfig
from perilune.engine.reading import Reader
from perilune.engine.store import PrefixStore
from perilune.engine.types import Request, SamplingParams
from perilune.errors import RequestError
from perilune.model.checkpoint import save_checkpoint
from perilune.model.model import Transformer

PROMPT, NEW = 48, 64
STORE_BYTES = 1 << 40
OnLength = Callable[[str], None]


@dataclass(frozen=True)
class LongRow:
    """One length. Seconds; `decode` is the median of a token, `peak_mb` the process's highest memory so far."""

    length: int
    read_seconds: float
    tokens_per_second: float
    first_token: float
    decode: float
    decode_mean: float
    store_mb: float
    reopen_seconds: float
    reopen_first_token: float
    peak_mb: float


@dataclass(frozen=True)
class FullRow:
    length: int
    prefill_seconds: float
    tokens_per_second: float
    cache_mb: float
    peak_mb: float


@dataclass(frozen=True)
class LongResult:
    rows: tuple[LongRow, ...]
    full: tuple[FullRow, ...]
    machine: dict[str, Any] = field(default_factory=describe)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        lines = [
            f"{row.length:>9,} tokens: read {row.read_seconds:.1f} s ({row.tokens_per_second:,.0f}/s), first token "
            f"{row.first_token:.2f} s, then {1e3 * row.decode:.2f} ms a token (mean {1e3 * row.decode_mean:.2f}); from "
            f"disk {row.reopen_seconds:.2f} s and {row.reopen_first_token:.2f} s, store {row.store_mb:,.0f} MB, "
            f"peak {row.peak_mb:,.0f} MB"
            for row in self.rows
        ]
        lines += [
            f"{row.length:>9,} tokens, full attention: {row.prefill_seconds:.1f} s ({row.tokens_per_second:,.0f}/s), "
            f"cache {row.cache_mb:,.0f} MB, peak {row.peak_mb:,.0f} MB"
            for row in self.full
        ]
        return "\n".join(lines)


def bench_read(model: Model, lengths: list[int], full: list[int], on_length: OnLength = lambda _: None) -> LongResult:
    """Lengths in order; `full` lengths are read by a twin without memory."""
    memory = model.config.memory
    if memory is None:
        raise RequestError("this model has no chunk memory; perilune bench prefill measures its reading")
    most = model.context_length - PROMPT - NEW
    for length in lengths + full:
        if not memory.segment <= length <= most:
            raise RequestError(f"lengths must be from {memory.segment:,} to {most:,} tokens, got {length:,}")
    if lengths:
        on_length("warming up")
        _ask(Reading(model, Reader(model.transformer).read(_pieces(model.config, memory.segment)), [memory.segment]))
    rows = []
    for length in lengths:
        on_length(f"{length:,} tokens")
        rows.append(_long_row(model, length))
    others = []
    for length in full:
        on_length(f"{length:,} tokens with full attention")
        others.append(_full_row(model.config, length))
    return LongResult(tuple(rows), tuple(others))


def _pieces(config: ModelConfig, length: int) -> Iterator[np.ndarray]:
    assert config.memory is not None
    rng = np.random.default_rng(0)
    for start in range(0, length, config.memory.segment):
        yield rng.integers(0, config.vocab_size, min(config.memory.segment, length - start))


def _long_row(model: Model, length: int) -> LongRow:
    with tempfile.TemporaryDirectory() as folder:
        store = PrefixStore(Path(folder), STORE_BYTES)
        reading, read_seconds = _read(model, length, store)
        first, steps = _ask(reading)
        del reading
        reopened, reopen_seconds = _read(model, length, PrefixStore(Path(folder), STORE_BYTES))
        reopen_first, _ = _ask(reopened)
        return LongRow(
            length=length,
            read_seconds=read_seconds,
            tokens_per_second=length / read_seconds,
            first_token=first,
            decode=statistics.median(steps),
            decode_mean=statistics.mean(steps),
            store_mb=store.nbytes / 1e6,
            reopen_seconds=reopen_seconds,
            reopen_first_token=reopen_first,
            peak_mb=peak_memory() / 1e6,
        )


def _read(model: Model, length: int, store: PrefixStore) -> tuple[Reading, float]:
    lengths = [len(piece) for piece in _pieces(model.config, length)]
    began = time.perf_counter()
    pages = Reader(model.transformer, store, "bench").read(_pieces(model.config, length))
    return Reading(model, pages, lengths), time.perf_counter() - began


def _ask(reading: Reading) -> tuple[float, list[float]]:
    """Seconds to the first token of a reply, and of each token after it."""
    memory, config = reading.model.config.memory, reading.model.config
    assert memory is not None
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, config.vocab_size, (PROMPT,), generator=generator).tolist()
    if memory.answer_token_id is not None:
        ids[-4] = memory.answer_token_id
    params = SamplingParams(temperature=0.0, max_tokens=NEW, ignore_eos=True)
    request = Request(tuple(ids), params, frozenset(), reading.pages, reading.length)
    began = last = time.perf_counter()
    times = []
    for _ in reading.model.engine.stream(request):
        now = time.perf_counter()
        times.append(now - last)
        last = now
    return last - began - sum(times[1:]), times[1:]


def _full_row(config: ModelConfig, length: int) -> FullRow:
    """A fresh process would be cleaner for memory; the cache alone is given beside it."""
    plain = config.with_full_attention()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Transformer(plain)
        fresh.init_weights(0)
        save_checkpoint(folder, fresh)
        del fresh
        runner = load(folder).engine.runner
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, plain.vocab_size, (length,), generator=generator).tolist()
        read_prompt(runner, ids[:512])
        began = time.perf_counter()
        state = read_prompt(runner, ids)
        seconds = time.perf_counter() - began
        return FullRow(length, seconds, length / seconds, state.nbytes / 1e6, peak_memory() / 1e6)
