"""`perilune bench`: how fast a model reads and writes here. Medians of several runs after a warm-up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from perilune.api.energy import EnergyMeter
from perilune.api.model import Model
from perilune.bench.machine import describe
from perilune.config import ModelConfig
from perilune.engine.runner import Runner
from perilune.errors import ContextError, RequestError
from perilune.model.moe import Int4Experts
from perilune.model.state import SequenceState
from perilune.weights.audio_names import AUDIO_PREFIXES
from perilune.weights.files import open_checkpoint
from perilune.weights.vision_names import VISION_PREFIXES

MAX_REPEATS = 1000
MAX_BATCH = 256
MAX_TOKENS = 1_000_000


@dataclass(frozen=True)
class Result:
    """One measurement. Rates are tokens a second over all sequences together."""

    what: str
    prompt: int
    tokens: int
    batch: int
    tokens_per_second: float  # median
    slowest: float
    fastest: float
    seconds_per_token: float
    bytes_per_token: int | None = None  # weights read for one sequence's token
    gigabytes_per_second: float | None = None
    joules_per_token: float | None = None  # of the whole machine's processors; None where they do not tell
    int4: str | None = None  # how INT4 experts computed; None where there are none
    machine: dict[str, Any] = field(default_factory=describe)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        lines = [
            f"{self.what}: {self.tokens_per_second:.1f} tokens/s (median; {self.slowest:.1f} to {self.fastest:.1f})",
            f"  prompt {self.prompt}, tokens {self.tokens}, batch {self.batch}, "
            f"{1e3 * self.seconds_per_token:.3f} ms a token, INT4 experts: {self.int4 or 'none'}",
        ]
        if self.bytes_per_token is not None:
            megabytes = self.bytes_per_token / 1e6
            lines.append(f"  {megabytes:.1f} MB of weights a token, {self.gigabytes_per_second:.2f} GB/s")
        if self.joules_per_token is not None:
            lines.append(f"  {self.joules_per_token:.3f} J a token")
        machine = self.machine
        lines.append(
            f"  {machine['cpu']}, threads {machine['threads']['kernels']} of {machine['cores']}, "
            f"perilune {machine['versions']['perilune']} at {machine['commit'] or 'no commit'}"
        )
        return "\n".join(lines)


def bench_prefill(model: Model, *, prompt: int, repeats: int) -> Result:
    """Reading a prompt of random ids, from an empty state, in the engine's own chunks."""
    check(model, prompt=prompt, repeats=repeats)
    runner, ids = model.engine.runner, random_ids(model.config, prompt)
    seconds, joules = _measure(lambda: read_prompt(runner, ids), repeats, prompt)
    return _result(model, "prefill", prompt, prompt, 1, [prompt / s for s in seconds], joules)


def bench_decode(model: Model, *, tokens: int, prompt: int, batch: int, repeats: int) -> Result:
    """Writing greedily after a prompt: the network and the choice, without text or scheduling."""
    check(model, prompt=prompt, repeats=repeats, tokens=tokens, batch=batch)
    runner = model.engine.runner
    prompts = [read_prompt(runner, random_ids(model.config, prompt, seed)) for seed in range(batch)]

    def write() -> None:
        states = [state.fork() for state in prompts]
        ids = [seed % model.config.vocab_size for seed in range(batch)]
        for _ in range(tokens):
            ids = runner.decode(ids, states).argmax(-1).tolist()

    seconds, joules = _measure(write, repeats, batch * tokens)
    rates = [batch * tokens / s for s in seconds]
    size = bytes_per_token(model)
    # Weights are shared inside a batch, so bytes a second are only known for one sequence.
    return _result(model, "decode", prompt, tokens, batch, rates, joules, size if batch == 1 else None)


def bytes_per_token(model: Model) -> int | None:
    """Bytes of weights that one token passes through: everything but the embedding table and idle experts."""
    if model.directory is None:
        return None
    config, total, routed = model.config, 0, 0
    for name, info in open_checkpoint(model.directory).tensors.items():
        if ".experts." in name:
            routed += info.end - info.begin
        elif not name.startswith(VISION_PREFIXES + AUDIO_PREFIXES):
            total += info.end - info.begin
    if not config.tie_word_embeddings:
        total -= config.vocab_size * config.hidden_size * (4 if config.dtype == "float32" else 2)
    return total + (routed * config.num_experts_per_tok // config.n_routed_experts if routed else 0)


def read_prompt(runner: Runner, ids: list[int]) -> SequenceState:
    """A prompt in the engine's own chunks, from an empty state."""
    state = runner.new_state()
    while state.length < len(ids):
        size = runner.chunk_size(state.length, len(ids))
        runner.prefill(ids[state.length : state.length + size], state)
    return state


def _measure(work: Callable[[], object], repeats: int, tokens: int) -> tuple[list[float], float | None]:
    """Seconds of every run, and the joules of one of its tokens, on average."""
    work()  # compiles kernels, maps files, warms caches
    seconds, meter = [], EnergyMeter()
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds, meter.joules(repeats * tokens)


def _result(
    model: Model,
    what: str,
    prompt: int,
    tokens: int,
    batch: int,
    rates: list[float],
    joules: float | None,
    size: int | None = None,
) -> Result:
    median = statistics.median(rates)
    return Result(
        what=what,
        prompt=prompt,
        tokens=tokens,
        batch=batch,
        tokens_per_second=median,
        slowest=min(rates),
        fastest=max(rates),
        seconds_per_token=batch / median,
        bytes_per_token=size,
        gigabytes_per_second=size * median / 1e9 if size is not None else None,
        joules_per_token=joules,
        int4=_int4_mode(model),
    )


def _int4_mode(model: Model) -> str | None:
    modes = {module.mode for module in model.transformer.modules() if isinstance(module, Int4Experts)}
    return modes.pop() if modes else None


def random_ids(config: ModelConfig, count: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, config.vocab_size, (count,), generator=generator).tolist()


def check(model: Model, *, prompt: int, repeats: int, tokens: int = 1, batch: int = 1) -> None:
    limits = {
        "prompt": (prompt, MAX_TOKENS),
        "tokens": (tokens, MAX_TOKENS),
        "repeats": (repeats, MAX_REPEATS),
        "batch": (batch, MAX_BATCH),
    }
    for name, (value, most) in limits.items():
        if not 1 <= value <= most:
            raise RequestError(f"{name} must be from 1 to {most}, got {value}")
    if prompt + tokens > model.context_length:
        raise ContextError(
            f"prompt {prompt} and tokens {tokens} do not fit this model's context of {model.context_length}"
        )
