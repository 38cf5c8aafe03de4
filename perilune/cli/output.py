"""What the terminal shows: streamed replies, progress, and the same things as JSON."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.text import Text

from perilune.api.messages import call_json

if TYPE_CHECKING:
    from rich.status import Status

    from perilune.api import ChatReply, Model
    from perilune.engine.types import Usage
    from perilune.text.reply import Delta
    from perilune.weights.experts import StoreStats

# A reply is text from outside: what could steer the terminal is shown, not obeyed.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def say_aside(console: Console, text: str) -> None:
    """A line beside the reply, which others may have written: nothing in it is markup."""
    console.print(text, style="dim", markup=False, soft_wrap=True)


class Progress:
    """How much of the prompt has been read: on stderr, until the reply begins, and only for people."""

    def __init__(self, console: Console) -> None:
        self._status: Status | None = console.status("reading the prompt") if console.is_terminal else None

    def __call__(self, done: int, total: int) -> None:
        if done >= total:
            self.stop()
        elif self._status is not None:
            self._status.update(f"reading the prompt: {done:,} of {total:,} tokens")

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def show_deltas(stream: Iterable[Delta], console: Console) -> None:
    """Streams a reply: reasoning dimmed (left out when the output is a file), calls as one line each."""
    last = ""
    for delta in stream:
        if delta.kind == "reasoning" and not console.is_terminal:
            continue
        if last and last != delta.kind:
            console.print()
        last = delta.kind
        shown = _shown(delta)
        if console.is_terminal:
            console.print(shown, end="", soft_wrap=True)
        else:  # as it is: rich would turn the tabs of a file into spaces
            console.file.write(shown.plain)
            console.file.flush()
    console.print()


def _shown(delta: Delta) -> Text:
    if delta.call is not None:
        return Text(plain(f"→ {delta.call.name}({delta.call.arguments})"), style="cyan")
    return Text(plain(delta.text), style="dim" if delta.kind == "reasoning" else "")


def footer(
    usage: Usage,
    finish_reason: str | None,
    streamed: StoreStats | None = None,
    media: Sequence[Mapping[str, Any]] = (),
) -> Text:
    """`streamed` says what the expert store did for this reply, where experts come from disk; `media` is what those of
    the message cost, as `cli.attach.costs` tells."""
    parts = [f"{usage.completion_tokens} tokens", f"{usage.decode_tokens_per_second:.1f} tokens/s"]
    parts.append(f"prompt {usage.prompt_tokens} ({usage.cached_tokens} cached)")
    parts += [plain(f"{os.path.basename(one['file'])} {one['tokens']}") for one in media]
    if streamed is not None:
        tokens = max(1, usage.prompt_tokens - usage.cached_tokens + usage.completion_tokens)
        parts.append(f"expert hits {streamed.hit_rate:.0%}, {streamed.bytes_read / tokens / 1e9:.2f} GB read a token")
    if finish_reason in ("length", "cancelled"):
        parts.append("cut at the length limit" if finish_reason == "length" else "stopped")
    return Text(" · ".join(parts), style="dim italic")


def streaming(model: Model) -> Callable[[], StoreStats | None]:
    """Called later: what the model's expert store has done since now; None where experts are in memory."""
    if (store := model.experts) is None:
        return lambda: None
    before = store.stats.copy()
    return lambda: store.stats.since(before)


def usage_json(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def timings_json(usage: Usage) -> dict[str, Any]:
    return {
        "prefill_seconds": round(usage.prefill_seconds, 6),
        "decode_seconds": round(usage.decode_seconds, 6),
        "prefill_tokens_per_second": round(usage.prefill_tokens_per_second, 2),
        "decode_tokens_per_second": round(usage.decode_tokens_per_second, 2),
    }


def streamed_json(streamed: StoreStats) -> dict[str, Any]:
    return {
        "hit_rate": round(streamed.hit_rate, 4),
        "hits": streamed.hits,
        "misses": streamed.misses,
        "bytes_read": streamed.bytes_read,
        "seconds_waited": round(streamed.waited, 3),
    }


def reply_json(
    reply: ChatReply,
    model: str,
    streamed: StoreStats | None = None,
    media: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "model": model,
        "reasoning": reply.reasoning,
        "content": reply.content,
        "tool_calls": [call_json(call) for call in reply.tool_calls],
        "finish_reason": reply.finish_reason,
        "usage": usage_json(reply.usage),
        "timings": timings_json(reply.usage),
        **({"media": list(media)} if media else {}),
        **({"experts": streamed_json(streamed)} if streamed else {}),
    }


def print_json(value: Any) -> None:
    # Straight to stdout: rich would wrap and colour it.
    print(json.dumps(value, ensure_ascii=False))
