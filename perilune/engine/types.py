"""The engine's border: requests in, tokens and usage out. Token ids only; every number is checked here.

Limits are named below, so that a program can print them before a user meets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from perilune.errors import RequestError

if TYPE_CHECKING:
    from perilune.engine.grammar import Grammar
    from perilune.model.media_rows import MediaRows
    from perilune.model.memory import StoredPages

MAX_TEMPERATURE = 2.0
MAX_TOP_LOGPROBS = 20
MAX_STOP_STRINGS = 16
MAX_STOP_CHARACTERS = 256
MAX_BIASED = 1024
MAX_BIAS = 100.0
MAX_NEW_TOKENS = 10_000_000  # beyond any context; the context limit is checked per model
MAX_SEED = 2**63 - 1
MAX_PRIORITY = 100

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are chosen. The order of the steps is written in `engine/sample.py`.

    max_tokens None = until the model stops or the context is full. temperature 0 = greedy. top_k 0 = off.
    logprobs None = off, 0 = the chosen token's own, n = also the n most likely. seed None = a fresh one.
    logit_bias is added to the logits of single tokens, {id: from -100 to 100}; kept as sorted pairs.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] | tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    ignore_eos: bool = False  # go on to max_tokens; for measuring and comparing

    def __post_init__(self) -> None:
        if type(self.ignore_eos) is not bool:
            raise RequestError(f"ignore_eos must be true or false, got {str(self.ignore_eos)[:40]!r}")
        _check_int("max_tokens", self.max_tokens, 1, MAX_NEW_TOKENS, none="no limit")
        _check_float("temperature", self.temperature, 0.0, MAX_TEMPERATURE, hint="0 is greedy")
        _check_float("top_p", self.top_p, 0.0, 1.0, above=True, hint="1 turns it off")
        _check_float("min_p", self.min_p, 0.0, 1.0, hint="0 turns it off")
        _check_int("top_k", self.top_k, 0, 2**31 - 1, hint="0 turns it off")
        _check_int("seed", self.seed, 0, MAX_SEED, none="a fresh seed")
        _check_float("repetition_penalty", self.repetition_penalty, 0.1, 10.0, hint="1 turns it off")
        _check_float("presence_penalty", self.presence_penalty, -2.0, 2.0, hint="0 turns it off")
        _check_float("frequency_penalty", self.frequency_penalty, -2.0, 2.0, hint="0 turns it off")
        _check_int("logprobs", self.logprobs, 0, MAX_TOP_LOGPROBS, none="off")
        object.__setattr__(self, "stop", _stop_strings(self.stop))
        object.__setattr__(self, "logit_bias", _biases(self.logit_bias))

    @classmethod
    def from_options(cls, options: dict[str, Any], defaults: dict[str, Any] | None = None) -> SamplingParams:
        """Keyword arguments over a model's defaults; an unknown name is an error, never dropped."""
        known = [f.name for f in fields(cls)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise RequestError(f"unknown sampling option {unknown[0]!r}; known options: {', '.join(known)}")
        return cls(**{**(defaults or {}), **options})

    @property
    def has_penalties(self) -> bool:
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0


@dataclass(frozen=True)
class Request:
    """A prompt as ids, how to continue it, and the ids that end the reply.

    `pages` are what the model has read before, `read_tokens` of it, where it has a chunk memory. `media` are embeddings
    that stand in place of some of the prompt's tokens. `grammar` is what the reply is held to. What is kept of a
    request is reused by those of the same `cache_salt` only. Requests of a higher `priority`, from 0 to MAX_PRIORITY,
    wait for those of a lower one. `embeds`: nothing is written; what is wanted is the mean of the hidden states.
    `routing`: which experts every token of the reply passed is wanted, too.
    """

    prompt_ids: tuple[int, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    stop_ids: frozenset[int] = frozenset()
    pages: StoredPages | None = None
    read_tokens: int = 0
    media: MediaRows | None = None
    grammar: Grammar | None = None
    cache_salt: str = ""
    priority: int = 0
    embeds: bool = False
    routing: bool = False

    def __post_init__(self) -> None:
        _check_int("priority", self.priority, 0, MAX_PRIORITY)
        object.__setattr__(self, "prompt_ids", token_ids(self.prompt_ids, "prompt_ids"))
        ends = () if self.params.ignore_eos else self.stop_ids
        object.__setattr__(self, "stop_ids", frozenset(token_ids(ends, "stop_ids")))
        if not self.prompt_ids:
            raise RequestError("the prompt is empty; it needs at least one token")


@dataclass(frozen=True)
class Token:
    """One sampled token. Log-probabilities are the model's own, before penalties and temperature."""

    id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Usage:
    """What a request cost. `cached_tokens` of the prompt were reused and not computed again."""

    prompt_tokens: int
    cached_tokens: int = 0
    completion_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    @property
    def prefill_tokens_per_second(self) -> float:
        return _rate(self.prompt_tokens - self.cached_tokens, self.prefill_seconds)

    @property
    def decode_tokens_per_second(self) -> float:
        """The first token belongs to the prefill, so it is not counted."""
        return _rate(self.completion_tokens - 1, self.decode_seconds)


def token_ids(ids: Iterable[Any], name: str) -> tuple[int, ...]:
    """Ids as plain ints, whatever integer type they came in; negative ones and other types are refused."""
    if isinstance(ids, str | bytes):
        raise RequestError(f"{name} must be token ids, got {type(ids).__name__}; encode text first")
    if hasattr(ids, "tolist"):
        ids = ids.tolist()  # pyrefly: ignore
    if not isinstance(ids, Iterable):
        raise RequestError(f"{name} must be a list of integers, got {type(ids).__name__}")
    plain = tuple(ids)
    if set(map(type, plain)) == {int} and min(plain) >= 0:  # the usual case, fast enough for millions
        return plain
    for index, value in enumerate(plain):
        if type(value) is not int and not _is_integer(value):
            raise RequestError(f"{name}[{index}] must be an integer, got {_shown(value)}")
        if value < 0:
            raise RequestError(f"{name}[{index}] is {value}; token ids are not negative")
    return tuple(int(value) for value in plain)


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _check_int(name: str, value: Any, low: int, high: int, *, none: str = "", hint: str = "") -> None:
    if value is None and none:
        return
    allowed = f"an integer from {low} to {high}" + (f", or None for {none}" if none else "")
    if type(value) is not int or not low <= value <= high:
        raise RequestError(f"{name} must be {allowed}{_in_brackets(hint)}, got {_shown(value)}")


def _check_float(name: str, value: Any, low: float, high: float, *, above: bool = False, hint: str = "") -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Comparisons are false for NaN, so this refuses every non-finite value too.
    if not number or not low <= value <= high or (above and value == low):
        allowed = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
        raise RequestError(f"{name} must be a number {allowed}{_in_brackets(hint)}, got {_shown(value)}")


def _stop_strings(stop: Any) -> tuple[str, ...]:
    strings = (stop,) if isinstance(stop, str) else () if stop is None else stop
    if not isinstance(strings, list | tuple) or not all(isinstance(text, str) for text in strings):
        raise RequestError(f"stop must be a string or a list of strings, got {_shown(stop)}")
    if len(strings) > MAX_STOP_STRINGS:
        raise RequestError(f"stop takes at most {MAX_STOP_STRINGS} strings, got {len(strings)}")
    for text in strings:
        if not 1 <= len(text) <= MAX_STOP_CHARACTERS:
            raise RequestError(f"a stop string must have 1 to {MAX_STOP_CHARACTERS} characters, got {len(text)}")
    return tuple(strings)


def _biases(given: Any) -> tuple[tuple[int, float], ...]:
    try:
        pairs = dict(given or ()).items()
    except (TypeError, ValueError):
        raise RequestError(f"logit_bias must be an object of token ids and numbers, got {_shown(given)}") from None
    if len(pairs) > MAX_BIASED:
        raise RequestError(f"logit_bias takes at most {MAX_BIASED} tokens, got {len(pairs)}")
    for token_id, value in pairs:
        if type(token_id) is not int or token_id < 0:
            raise RequestError(f"logit_bias names tokens by their ids, got {_shown(token_id)}")
        _check_float(f"logit_bias[{token_id}]", value, -MAX_BIAS, MAX_BIAS)
    return tuple(sorted((token_id, float(value)) for token_id, value in pairs))


def _shown(value: Any) -> str:
    """A value for an error text: short, whatever the caller sent."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return f"a very large {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _in_brackets(hint: str) -> str:
    return f" ({hint})" if hint else ""


def _rate(count: int, seconds: float) -> float:
    return count / seconds if count > 0 and seconds > 0 else 0.0
