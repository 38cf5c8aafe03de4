"""The interactive conversation: turns, commands, Ctrl-C, tools."""

from __future__ import annotations

import io

from rich.console import Console
from tiny_models import TOKENIZER, chain_transformer

from perilune.api import Model
from perilune.cli.session import Session
from perilune.text import specials as sp

CALL = f"{sp.SECTION_BEGIN}{sp.CALL_BEGIN}f:0{sp.ARGUMENT_BEGIN}{{}}{sp.CALL_END}{sp.SECTION_END}"


class Typed(Console):
    """A console whose lines are typed beforehand; an exception among them is raised instead."""

    def __init__(self, *lines):
        super().__init__(file=io.StringIO(), width=200)
        self._lines = list(lines)

    def input(self, *args, **kwargs):
        line = self._lines.pop(0) if self._lines else EOFError()
        if isinstance(line, BaseException | type):
            raise line
        return line

    @property
    def shown(self):
        return self.file.getvalue()


def session(*lines, chain=f"{sp.THINK}abc{sp.END_THINK}xyz", context=512, **options) -> Session:
    model = Model(chain_transformer(chain, context=context), TOKENIZER, defaults={"temperature": 0})
    return Session(model, options, console=Typed(*lines))


def test_turns_add_up_and_are_reused():
    one = session("hello", "again")
    one.run()
    assert [m["role"] for m in one.messages] == ["user", "assistant", "user", "assistant"]
    assert one.messages[1] == {"role": "assistant", "content": "xyz", "reasoning_content": "abc"}
    assert one.console.shown.count("xyz") == 2
    assert "(0 cached)" in one.console.shown.split("again")[0]


def test_commands():
    one = session("/help", "hello", "/reset", "", "/what", "/quit", "never asked")
    one.system = "Be brief."
    one.run()
    assert one.messages == [{"role": "system", "content": "Be brief."}]
    assert "Ctrl-C" in one.console.shown and "no command /what" in one.console.shown


def test_ctrl_c_at_the_prompt_does_not_leave():
    one = session(KeyboardInterrupt, "hello")
    one.run()
    assert len(one.messages) == 2 and "Ctrl-D leaves" in one.console.shown


def test_ctrl_c_stops_a_reply_and_keeps_the_session():
    one = session("hello", "again")
    file, interrupted = one.console.file, []
    original = file.write

    def interrupt_once(text):
        original(text)
        if text == "y" and not interrupted:
            interrupted.append(text)
            raise KeyboardInterrupt

    file.write = interrupt_once
    one.run()
    assert one.messages[1]["content"] == "xy" and one.messages[3]["content"] == "xyz"
    assert "stopped" in one.console.shown
    assert not one.model.engine.has_work


def test_a_message_that_does_not_fit_is_taken_back():
    one = session("x" * 500, "hello", context=128)
    one.run()
    assert "context holds 128" in one.console.shown and "/reset" in one.console.shown
    assert [m["content"] for m in one.messages] == ["hello", "xyz"]


def test_a_tool_result_is_asked_for_and_sent_on():
    one = session("hello", "42", chain=f"{sp.THINK}{sp.END_THINK}{CALL}")
    one.run()  # the next reply calls again, and the end of input ends that turn
    assert "f({})" in one.console.shown and one.messages == []
