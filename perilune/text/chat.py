"""The one chat template, for training and serving: messages and tools to text, ids and a loss mask.

What a caller wrote is always plain text, also where it spells a special token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perilune.errors import MessageError
from perilune.text import checks
from perilune.text import specials as sp
from perilune.text.declare import declare
from perilune.text.media import PART_KINDS, VIDEO_PLACEHOLDER, MediaQueue
from perilune.text.prompt import PromptBuilder
from perilune.text.tokenizer import Tokenizer

MAX_MESSAGES = 65_536
MAX_PARTS = 65_536  # of a message
MAX_CALLS = 4096  # of a message
ROLE_TOKENS = {"user": sp.IM_USER, "assistant": sp.IM_ASSISTANT}


@dataclass(frozen=True)
class Rendered:
    """A prompt. `mask[i]` is True where `ids[i]` is the model's own output, which training learns."""

    text: str
    ids: list[int]
    mask: list[bool]


@dataclass(frozen=True)
class _Turn:
    """How one assistant message is shown."""

    thinking: bool
    keeps_reasoning: bool
    open_end: bool


def render(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    tokenizer: Tokenizer,
    thinking: bool = True,
    preserve_thinking: bool = False,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    media: Sequence[Mapping[str, Any]] | None = None,
) -> Rendered:
    """Write a conversation as the model reads it.

    `thinking` opens the reply with reasoning. `preserve_thinking` keeps the reasoning of finished
    answers. `continue_final_message` leaves the last assistant message open, and then no new reply is
    begun. `media` gives the sizes of images, videos and sounds in order of appearance; without it they stay
    placeholders.
    """
    checked = _check_messages(messages)
    if continue_final_message and checked[-1]["role"] != "assistant":
        raise MessageError(f"messages[{len(checked) - 1}].role must be 'assistant' to continue the final message")
    out, queue = PromptBuilder(), MediaQueue(media)
    if tools:
        out.special(sp.IM_SYSTEM)
        out.text("tool_declare")
        out.special(sp.IM_MIDDLE)
        out.text(declare(tools))
        out.special(sp.IM_END)
    last_plain = -1 if preserve_thinking else _last_plain_answer(checked)
    for index, message in enumerate(checked):
        open_end = continue_final_message and index == len(checked) - 1
        turn = _Turn(thinking, thinking and index > last_plain, open_end)
        _write_message(out, message, f"messages[{index}]", turn, queue)
    queue.check_empty()
    if add_generation_prompt and not continue_final_message:
        out.special(sp.IM_ASSISTANT)
        out.text("assistant")
        out.special(sp.IM_MIDDLE, sp.THINK, *([] if thinking else [sp.END_THINK]))
    return Rendered(*out.build(tokenizer))


def _check_messages(messages: Any) -> list[Mapping[str, Any]]:
    given = checks.at_most(MAX_MESSAGES, checks.sequence(messages, "messages"), "messages")
    checked = [checks.mapping(m, f"messages[{i}]") for i, m in enumerate(given)]
    if not checked:
        raise MessageError("messages is empty; a prompt needs at least one message")
    for index, message in enumerate(checked):
        where = f"messages[{index}].role"
        if not checks.text(message.get("role"), where):
            raise MessageError(f"{where} is empty; it is 'system', 'user', 'assistant' or 'tool'")
    return checked


def _last_plain_answer(messages: list[Mapping[str, Any]]) -> int:
    """Index of the last assistant message without calls; reasoning up to there is history."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["role"] == "assistant" and not messages[index].get("tool_calls"):
            return index
    return -1


def _write_message(out: PromptBuilder, message: Mapping[str, Any], where: str, turn: _Turn, queue: MediaQueue) -> None:
    role = message["role"]
    out.special(ROLE_TOKENS.get(role, sp.IM_SYSTEM))
    out.text(checks.optional_text(message, "name", where) or role)
    out.special(sp.IM_MIDDLE)
    if role == "assistant":
        _write_assistant(out, message, where, turn, queue)
        return
    if role == "tool":
        out.text(f"## Return of {checks.optional_text(message, 'tool_call_id', where)}\n")
    _write_content(out, message, where, queue, trained=False)
    out.special(sp.IM_END)


def _write_assistant(
    out: PromptBuilder, message: Mapping[str, Any], where: str, turn: _Turn, queue: MediaQueue
) -> None:
    said = checks.optional_text(message, "reasoning_content", where)
    shown = said if turn.keeps_reasoning else ""
    out.special(sp.THINK)
    out.text(shown, trained=True)
    # Where reasoning was dropped, training on the closing token would teach the model to skip reasoning.
    out.special(sp.END_THINK, trained=turn.thinking and shown == said)
    _write_content(out, message, where, queue, trained=True)
    calls = message.get("tool_calls")
    name = f"{where}.tool_calls"
    calls = checks.at_most(MAX_CALLS, checks.sequence([] if calls is None else calls, name), name)
    if turn.open_end:
        return
    if calls:
        out.special(sp.SECTION_BEGIN, trained=True)
        for index, call in enumerate(calls):
            _write_call(out, call, f"{where}.tool_calls[{index}]")
        out.special(sp.SECTION_END, trained=True)
    out.special(sp.IM_END, trained=True)


def _write_call(out: PromptBuilder, call: Any, where: str) -> None:
    call = checks.mapping(call, where)
    function = checks.mapping(call.get("function"), f"{where}.function")
    if "arguments" not in function:
        raise MessageError(f"{where}.function.arguments is missing; a call without any has '{{}}'")
    arguments, name = function["arguments"], f"{where}.function.arguments"
    out.special(sp.CALL_BEGIN, trained=True)
    out.text(checks.text(call.get("id"), f"{where}.id"), trained=True)
    out.special(sp.ARGUMENT_BEGIN, trained=True)
    is_text = isinstance(arguments, str)
    out.text(checks.text(arguments, name) if is_text else checks.dump_json(arguments, name), trained=True)
    out.special(sp.CALL_END, trained=True)


def _write_content(
    out: PromptBuilder, message: Mapping[str, Any], where: str, queue: MediaQueue, *, trained: bool
) -> None:
    content, where = message.get("content"), f"{where}.content"
    if content is None:
        return
    if isinstance(content, str):
        out.text(checks.text(content, where), trained)
        return
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise MessageError(f"{where} must be a string or a list of parts, got {checks.kind(content)}")
    for index, part in enumerate(checks.at_most(MAX_PARTS, content, where)):
        _write_part(out, part, f"{where}[{index}]", queue, trained)


def _write_part(out: PromptBuilder, part: Any, where: str, queue: MediaQueue, trained: bool) -> None:
    part = checks.mapping(part, where)
    part_type = part.get("type")
    if part_type in (None, "text"):
        out.text(checks.text(part.get("text"), f"{where}.text"), trained)
        return
    kind = PART_KINDS.get(part_type) if isinstance(part_type, str) else None
    if kind is None:
        known = ", ".join(["text", *PART_KINDS])
        raise MessageError(f"{where}.type must be one of {known}; got {part_type!r}")
    _write_media(out, kind, where, queue)


def _write_media(out: PromptBuilder, kind: str, where: str, queue: MediaQueue) -> None:
    blocks = queue.take(kind, where)
    if blocks is None and kind == "video":
        out.text(VIDEO_PLACEHOLDER)
    elif blocks is None:
        _write_block(out, kind, 1)
    else:
        for block in blocks:
            out.text(block.before)
            _write_block(out, block.word, block.pads)
    out.text("\n")


def _write_block(out: PromptBuilder, word: str, pads: int) -> None:
    out.special(sp.MEDIA_BEGIN)
    out.text(word)
    out.special(sp.MEDIA_CONTENT, *[sp.MEDIA_PAD] * pads, sp.MEDIA_END)
