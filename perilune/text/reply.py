"""Reads a reply as it is generated: reasoning, content and tool calls, the same in any split.

What has been handed out is never taken back, so a call is handed out when its end has come and its
arguments have been checked. A call that is none ends as content, with the reason among the problems.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

from perilune.errors import RequestError
from perilune.text import specials as sp
from perilune.text.calls import BadCall, Problem, ToolCall, read_call
from perilune.text.scan import SINGULAR, SPELLED, UNTOKENIZED, Scanner, Scrubber
from perilune.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Reply:
    """A whole reply. `problems` lists what looked like a call and was none."""

    reasoning: str = ""
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Delta:
    """A piece of a reply: more text of one kind, or one whole call."""

    kind: Literal["reasoning", "content", "tool_call"]
    text: str = ""
    call: ToolCall | None = None


class _State(Enum):
    REASONING = auto()
    CONTENT = auto()
    SECTION = auto()  # in a tool section, outside of a call
    HEADER = auto()
    ARGUMENTS = auto()
    DONE = auto()


_IN_CALL = (_State.HEADER, _State.ARGUMENTS)


def parse(
    reply: str | Iterable[int],
    *,
    tokenizer: Tokenizer | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    thinking: bool = True,
    calls_before: int = 0,
    keep_ids: bool = False,
) -> Reply:
    """Read a whole reply, given as text (special tokens spelled out) or as ids with their tokenizer."""
    known = None if isinstance(reply, str) else tokenizer
    parser = ReplyParser(tokenizer=known, tools=tools, thinking=thinking, calls_before=calls_before, keep_ids=keep_ids)
    parser.feed(reply)
    parser.finish()
    return parser.reply


class ReplyParser:
    """Reads what follows the generation prompt, piece by piece.

    With a tokenizer it takes ids, which tell a special token from text that only spells one. Without, it
    takes text, where each spelling counts as the token. `thinking` is the option the prompt was rendered
    with, `calls_before` the number of calls in the conversation so far, and `keep_ids` keeps call ids as
    the model wrote them.
    """

    def __init__(
        self,
        *,
        tokenizer: Tokenizer | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool = True,
        calls_before: int = 0,
        keep_ids: bool = False,
    ):
        self._tools, self._calls_before, self._keep_ids = tools, calls_before, keep_ids
        self.tokenizer = tokenizer
        self._decoder = tokenizer.stream_decoder() if tokenizer else None
        pattern = UNTOKENIZED if tokenizer else SPELLED
        self._ends = {sp.IM_END, sp.EOS, sp.EOT} if tokenizer else {sp.IM_END}
        self._scanner = Scanner(pattern)
        self._scrubbers = {"reasoning": Scrubber(pattern), "content": Scrubber(pattern)}
        self._state = _State.REASONING if thinking else _State.CONTENT
        self._untouched = True
        self._in_section = False
        self._gap: str | None = ""
        self._header: list[str] = []
        self._arguments: list[str] = []
        self._deltas: list[Delta] = []
        self._said: dict[str, list[str]] = {"reasoning": [], "content": []}
        self._calls: list[ToolCall] = []
        self._problems: list[Problem] = []

    @property
    def ended(self) -> bool:
        """Whether the end of the reply has been read; what follows is ignored."""
        return self._state is _State.DONE

    @property
    def reasons(self) -> bool:
        """Whether what comes next is reasoning."""
        return self._state is _State.REASONING

    @property
    def reply(self) -> Reply:
        """Everything handed out so far."""
        reasoning, content = ("".join(self._said[kind]) for kind in ("reasoning", "content"))
        return Reply(reasoning, content, tuple(self._calls), tuple(self._problems))

    def feed(self, piece: str | Iterable[int]) -> list[Delta]:
        if isinstance(piece, str):
            if self.tokenizer:
                raise RequestError("this parser was made with a tokenizer, so it takes ids, not text")
            self._read_text(piece)
        else:
            self._read_ids(piece)
        return self._take()

    def finish(self) -> list[Delta]:
        """The last pieces, when nothing more comes. A call that is still open was cut off."""
        self._settle_text()
        if self._state in _IN_CALL:
            self._drop_call("the reply was cut off inside a call")
        for kind in ("reasoning", "content"):
            self._flush(kind)
        self._state = _State.DONE
        return self._take()

    def _take(self) -> list[Delta]:
        deltas, self._deltas = self._deltas, []
        return deltas

    def _read_ids(self, ids: Iterable[int]) -> None:
        if self.tokenizer is None or self._decoder is None:
            raise RequestError("ids need the tokenizer that made them: ReplyParser(tokenizer=...)")
        for token_id in ids:
            name = self.tokenizer.special_name(token_id)
            if name is None:
                self._read_text(self._decoder.feed([token_id]))
            else:
                self._settle_text()
                self._marker(name)

    def _read_text(self, text: str) -> None:
        for piece, is_marker in self._scanner.feed(text):
            if is_marker:
                self._marker(SINGULAR.get(piece, piece))
            else:
                self._text(piece)

    def _settle_text(self) -> None:
        """What is held back was text after all, because a token or the end follows."""
        if self._decoder:
            self._read_text(self._decoder.finish())
        tail = self._scanner.flush()
        if tail:
            self._text(tail)

    def _text(self, text: str) -> None:
        self._untouched = False
        if self._state is _State.REASONING:
            self._say("reasoning", text)
        elif self._state is _State.CONTENT:
            self._say("content", text)
        elif self._state is _State.SECTION:
            self._text_in_section(text)
        elif self._state is _State.HEADER:
            self._header.append(text)
        elif self._state is _State.ARGUMENTS:
            self._arguments.append(text)

    def _text_in_section(self, text: str) -> None:
        """Blank space alone between two markers is layout; with anything else it is content."""
        if self._gap is not None:
            text = self._gap + text
            self._gap = None if text.strip() else text
        if self._gap is None:
            self._say("content", text)

    def _marker(self, name: str) -> None:
        if self._state is _State.DONE:
            return
        untouched, self._untouched = self._untouched, False
        self._gap = ""
        if name in self._ends:
            self._fail_open_call("the reply ended inside a call")
            self._enter(_State.DONE)
        elif name == sp.SECTION_BEGIN:
            self._fail_open_call("a tool section began inside a call")
            self._in_section = True
            self._enter(_State.SECTION)
        elif name == sp.CALL_BEGIN:
            self._begin_call()
        elif self._state in _IN_CALL:
            self._marker_in_call(name)
        elif name == sp.SECTION_END and self._state is _State.SECTION:
            self._in_section = False
            self._enter(_State.CONTENT)
        elif name == sp.END_THINK and self._state is _State.REASONING:
            self._enter(_State.CONTENT)
        elif name == sp.THINK and untouched:
            self._enter(_State.REASONING)

    def _begin_call(self) -> None:
        if self._state is _State.HEADER:
            self._drop_call("the next call began before the arguments of this one")
        else:
            self._fail_open_call("the next call began before the end of this one")
        self._header, self._arguments = [], []
        self._enter(_State.HEADER)

    def _marker_in_call(self, name: str) -> None:
        if name == sp.SECTION_END:
            self._fail_open_call("the tool section ended inside a call")
            self._in_section = False
            self._enter(_State.CONTENT)
        elif name == sp.CALL_END and self._state is _State.HEADER:
            self._fail_open_call("the call has no arguments")
        elif name == sp.CALL_END:
            self._end_call()
        elif name == sp.ARGUMENT_BEGIN and self._state is _State.HEADER:
            self._enter(_State.ARGUMENTS)
        else:
            # Not structure here: text inside the arguments may well spell it, for example in code.
            self._text(name)

    def _end_call(self) -> None:
        header, arguments = "".join(self._header), "".join(self._arguments)
        try:
            call = read_call(header, arguments, self._tools, len(self._calls), self._calls_before, self._keep_ids)
        except BadCall as bad:
            if bad.as_text:
                self._fail_open_call(str(bad))
            else:
                self._drop_call(str(bad))
            return
        self._leave_call()
        self._calls.append(call)
        self._deltas.append(Delta("tool_call", call=call))

    def _fail_open_call(self, reason: str) -> None:
        """An open call becomes content."""
        if self._state in _IN_CALL:
            self._say("content", self._drop_call(reason))

    def _drop_call(self, reason: str) -> str:
        scrubber = Scrubber(SPELLED)
        text = scrubber.feed("".join(self._header + self._arguments)) + scrubber.flush()
        self._problems.append(Problem(reason, text))
        self._leave_call()
        return text

    def _leave_call(self) -> None:
        self._enter(_State.SECTION if self._in_section else _State.CONTENT)

    def _enter(self, state: _State) -> None:
        if self._state is _State.REASONING and state is not _State.REASONING:
            self._flush("reasoning")
        self._state = state

    def _say(self, kind: Literal["reasoning", "content"], text: str) -> None:
        self._hand_out(kind, self._scrubbers[kind].feed(text))

    def _flush(self, kind: Literal["reasoning", "content"]) -> None:
        self._hand_out(kind, self._scrubbers[kind].flush())

    def _hand_out(self, kind: Literal["reasoning", "content"], text: str) -> None:
        if not text:
            return
        self._said[kind].append(text)
        if self._deltas and self._deltas[-1].kind == kind:
            text = self._deltas.pop().text + text
        self._deltas.append(Delta(kind, text))
