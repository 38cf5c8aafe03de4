"""Requests and replies in the shape of OpenAI's chat completions, with what K2's hosted service adds to it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perilune.api.call_ids import normalised
from perilune.api.custom import as_choice, custom_names, functions_of, with_functions
from perilune.api.messages import as_message, refuse_unknown
from perilune.engine.types import MAX_SEED
from perilune.errors import RequestError
from perilune.fields import show_value
from perilune.text.chat import MAX_MESSAGES
from perilune.text.checks import at_most

if TYPE_CHECKING:
    from perilune.api.streams import ChatReply, Weighed

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "stop")
MOST_CHOICES = 16
LEAST_LOGPROB = -9999.0  # JSON knows no infinity
AS_VLLM = ("ignore_eos", "priority")  # replies of a fixed length; who waits for whom
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")
FORM = ("tool_choice", "parallel_tool_calls", "response_format", "structured_outputs")
# Fields that say nothing about the answer, or that whoever calls `chat_options` deals with.
ELSEWHERE = (
    "model",
    "user",
    "metadata",
    "stream",
    "stream_options",
    "store",
    "n",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
)
KNOWN = frozenset(
    (
        *SAMPLING,
        *PENALTIES,
        *FORM,
        *AS_VLLM,
        *ELSEWHERE,
        "messages",
        "tools",
        "max_completion_tokens",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "thinking",
        "reasoning_effort",
        "chat_template_kwargs",
    )
)


def chat_options(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request asks for, as options of Model.stream; what cannot be done is refused, never passed over."""
    refuse_unknown(body, KNOWN)
    if body.get("parallel_tool_calls") not in (None, True, False):
        raise RequestError("parallel_tool_calls must be true or false")
    options = {name: body[name] for name in (*SAMPLING, *PENALTIES, *FORM, *AS_VLLM) if body.get(name) is not None}
    if "tool_choice" in options:
        options["tool_choice"] = as_choice(options["tool_choice"])
    if body.get("max_completion_tokens") is not None:
        options["max_tokens"] = body["max_completion_tokens"]
    options |= _weighing(body)
    thinking = _thinking(body)
    if thinking is not None:
        options["thinking"] = thinking
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise RequestError("messages must be a list of messages")
    at_most(MAX_MESSAGES, messages, "messages")
    if messages and isinstance(messages[-1], Mapping) and messages[-1].get("partial") is True:
        messages = [*messages[:-1], {name: value for name, value in messages[-1].items() if name != "partial"}]
        options["continue_final_message"] = True
    tools = functions_of(body.get("tools"), options.get("tool_choice"))
    return {"messages": normalised(with_functions(messages)), "tools": tools, **options}


def choices_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of every answer that a request asks for: alike, but for the seed."""
    options, count = chat_options(body), 1 if body.get("n") is None else body["n"]
    if type(count) is not int or not 1 <= count <= MOST_CHOICES:
        raise RequestError(f"n must be an integer from 1 to {MOST_CHOICES}, got {show_value(count)}")
    seed = options.get("seed")
    if type(seed) is not int:
        return [options] * count
    # The first keeps the seed as it was given, so that one out of range is refused and not brought round.
    return [{**options, "seed": seed if i == 0 else (seed + i) % (MAX_SEED + 1)} for i in range(count)]


def _weighing(body: Mapping[str, Any]) -> dict[str, Any]:
    """Log-probabilities that are asked for, and biases of tokens; JSON spells their ids as text."""
    made: dict[str, Any] = {}
    asked, top, biases = body.get("logprobs"), body.get("top_logprobs"), body.get("logit_bias")
    if asked not in (None, True, False):
        raise RequestError("logprobs must be true or false; top_logprobs says how many")
    if top is not None and not asked:
        raise RequestError("top_logprobs needs logprobs: true")
    if asked:
        made["logprobs"] = 0 if top is None else top
    if isinstance(biases, Mapping):
        biases = {int(id) if str(id).isdecimal() and len(str(id)) < 20 else id: value for id, value in biases.items()}
    if biases is not None:
        made["logit_bias"] = biases
    return made


def logprobs_json(weighed: Sequence[Weighed] | None) -> dict[str, Any] | None:
    """Tokens with their log-probabilities; a token that is a part of a letter is told by its bytes."""
    if weighed is None:
        return None

    def told(text: bytes, logprob: float) -> dict[str, Any]:
        spelled = text.decode("utf-8", errors="replace")
        return {"token": spelled, "logprob": max(logprob, LEAST_LOGPROB), "bytes": list(text)}

    def with_likeliest(token: Weighed) -> dict[str, Any]:
        return {**told(token.text, token.logprob), "top_logprobs": [told(*one) for one in token.likeliest]}

    return {"content": [with_likeliest(token) for token in weighed], "refusal": None}


def _thinking(body: Mapping[str, Any]) -> bool | None:
    """K2 says {"thinking": {"type": "disabled"}}, vLLM's clients chat_template_kwargs, OpenAI reasoning_effort."""
    thinking, template = body.get("thinking"), body.get("chat_template_kwargs")
    if isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "disabled"):
        return thinking["type"] == "enabled"
    if isinstance(template, Mapping) and isinstance(template.get("thinking"), bool):
        return template["thinking"]
    if body.get("reasoning_effort") is not None:
        return thinks(body["reasoning_effort"])
    return None


def thinks(effort: Any) -> bool:
    """Whether an effort of reasoning in OpenAI's words is any at all."""
    return effort not in ("none", "minimal")


def new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def usage_of(replies: Sequence[ChatReply]) -> dict[str, Any]:
    """Of all answers to one prompt."""
    prompt, cached = replies[0].usage.prompt_tokens, replies[0].usage.cached_tokens
    written = sum(reply.usage.completion_tokens for reply in replies)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "cached_tokens": cached,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": sum(reply.reasoning_tokens for reply in replies)},
    }


def finish_of(reply: ChatReply) -> str:
    """Clients know no "cancelled"."""
    return reply.finish_reason if reply.finish_reason in ("stop", "length", "tool_calls") else "stop"


def completion(replies: Sequence[ChatReply], model: str, tools: Any = None) -> dict[str, Any]:
    """`tools` are those of the request."""
    return {
        "id": new_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [_choice(i, reply, custom_names(tools)) for i, reply in enumerate(replies)],
        "usage": usage_of(replies),
    }


def _choice(index: int, reply: ChatReply, custom: Collection[str]) -> dict[str, Any]:
    return {
        "index": index,
        "message": as_message(reply, custom),
        "logprobs": logprobs_json(reply.weighed),
        "finish_reason": finish_of(reply),
    }
