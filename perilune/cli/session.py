"""An interactive conversation: streaming replies, Ctrl-C stops one, Ctrl-D leaves."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from perilune.api.messages import as_message
from perilune.cli.output import Progress, footer, show_deltas, streaming
from perilune.errors import PeriluneError

if TYPE_CHECKING:
    from perilune.api import ChatReply, Model

HELP = """/reset   start a new conversation
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

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
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
        elif line.startswith("/") and " " not in line:
            self.console.print(f"no command {line}; there are /reset, /help and /quit", markup=False)
        else:
            self.ask(line)

    def ask(self, text: str) -> None:
        """Adds a user message and the reply to it; a refused message is taken back."""
        before = len(self.messages)
        self.messages.append({"role": "user", "content": text})
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
        self.console.print(footer(reply.usage, reply.finish_reason, streamed()))
        return reply

    def _name(self) -> str:
        return self.model.directory.name if self.model.directory else "model"
