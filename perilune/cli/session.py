"""An interactive conversation: streaming replies, Ctrl-C stops one, Ctrl-D leaves."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from perilune.api.messages import as_message
from perilune.cli.attach import KINDS, attached, costs, user_message
from perilune.cli.output import Progress, footer, show_deltas, streaming
from perilune.errors import PeriluneError
from perilune.media.parts import MediaItem, gather

if TYPE_CHECKING:
    from perilune.api import ChatReply, Model

HELP = """/image PATH, /audio PATH, /video PATH   show or play a file with the next message
/reset   start a new conversation
/help    show this
/quit    leave (or Ctrl-D)
Ctrl-C   stop a reply and keep what has come"""


@dataclass
class Session:
    """The conversation so far and how to continue it."""

    model: Model
    options: dict[str, Any]
    system: str | None = None
    tools: list[dict[str, Any]] | None = None
    console: Console = field(default_factory=lambda: Console(highlight=False))
    messages: list[dict[str, Any]] = field(default_factory=list)
    attached: list[MediaItem] = field(default_factory=list)  # to the next message

    def __post_init__(self) -> None:
        self._begin()

    def reset(self) -> None:
        self._begin()
        self.attached = []

    def _begin(self) -> None:
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    def run(self) -> None:
        """Until the user leaves."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  line editing and history, where the system has it
        self.console.print(f"{self._name()} · /help for help, Ctrl-D to leave", style="dim", markup=False)
        while True:
            try:
                line = self.console.input("\n[bold]>[/bold] ").strip()
            except KeyboardInterrupt:
                self.console.print("\nCtrl-D leaves", style="dim")
                continue
            except EOFError:
                self.console.print()
                return
            if line in ("/quit", "/exit"):
                return
            self.take(line)

    def take(self, line: str) -> None:
        """One line of the user: a command, or a message to answer."""
        if not line:
            return
        if line == "/help":
            self.console.print(HELP, style="dim", markup=False)
        elif line == "/reset":
            self.reset()
            self.console.print("a new conversation", style="dim")
        elif (words := line.split(maxsplit=1))[0][1:] in KINDS and line[0] == "/":
            self.attach(words[0][1:], "".join(words[1:]))
        elif line.startswith("/") and " " not in line:
            told = ", ".join(f"/{kind}" for kind in KINDS)
            self.console.print(f"no command {line}; there are {told}, /reset, /help and /quit", markup=False)
        else:
            self.ask(line)

    def attach(self, kind: str, path: str) -> None:
        """A file to the next message, unless it is none of the kind or the model lacks the sense."""
        if not path:
            self.console.print(f"name a file: /{kind} PATH", markup=False)
            return
        item = attached(kind, os.path.expanduser(path))
        try:
            gather([user_message("", [item])], self.model.senses.has)
        except PeriluneError as error:
            self.console.print(str(error), markup=False)
            return
        self.attached.append(item)
        self.console.print(f"{path} goes with the next message", style="dim", markup=False)

    def say(self, text: str) -> None:
        """Adds a user message, with what is attached."""
        self.messages.append(user_message(text, self.attached))

    def ask(self, text: str) -> None:
        """Adds a user message and the reply to it; a refused message is taken back, with what was attached."""
        before = len(self.messages)
        self.say(text)
        try:
            reply = self._answer()
            while reply.tool_calls and reply.finish_reason == "tool_calls":
                for call in reply.tool_calls:
                    result = self.console.input(f"[cyan]result of {call.name}>[/cyan] ")
                    self.messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
                reply = self._answer()
        except (PeriluneError, KeyboardInterrupt, EOFError) as error:
            del self.messages[before:]
            if isinstance(error, PeriluneError):
                self.console.print(f"{error}\nThe message was taken back; /reset starts anew.", markup=False)
        finally:
            self.attached = []

    def _answer(self) -> ChatReply:
        progress, streamed = Progress(Console(stderr=True)), streaming(self.model)
        with self.model.stream(self.messages, self.tools, on_prefill=progress, **self.options) as stream:
            try:
                with progress:
                    show_deltas(stream, self.console)
            except KeyboardInterrupt:
                self.console.print()
        reply = stream.reply
        self.messages.append(as_message(reply))
        spent = costs(self.attached, reply.media_tokens)
        self.console.print(footer(reply.usage, reply.finish_reason, streamed(), spent))
        return reply

    def _name(self) -> str:
        return self.model.directory.name if self.model.directory else "model"
