"""perilune watch: a clip as it plays, or a camera: looked at as it comes, asked about at its end or on the way."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console

from perilune.cli import options as opt
from perilune.cli.attach import costs

if TYPE_CHECKING:
    from perilune.api import ChatReply, Model, ReplyStream
    from perilune.api.watching import Watcher, Window
    from perilune.media.incoming_frames import IncomingFrames
    from perilune.text.reply import Delta

INTERRUPTED = 130
SHORTEST_EVERY = 1.0  # seconds
MAX_LINE_BYTES = 1 << 16


def watch(
    question: Annotated[str, typer.Argument(help="Asked at the end, at Enter, and with --every.")],
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A clip, as it plays.", metavar="CLIP")] = None,
    camera: Annotated[
        str | None, typer.Option("--camera", help="A camera: its number, or its name.", metavar="DEVICE")
    ] = None,
    model: opt.ModelOption = "nano",
    every: Annotated[
        float | None, typer.Option("--every", help="Ask after so many seconds, about those, again and again.")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", help="End after so many.")] = None,
    window: Annotated[
        float | None, typer.Option("--window", help="Seconds that are kept; older ones are let go (120).")
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="A system message.")] = None,
    thinking: Annotated[bool, typer.Option("--thinking/--no-thinking", help="Reason first.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="With --file: do not wait for the clip to play.")] = False,
    temperature: opt.TemperatureOption = None,
    max_tokens: opt.MaxTokensOption = 256,
    seed: opt.SeedOption = None,
    threads: opt.ThreadsOption = None,
    ram: opt.RamOption = None,
    gpu: opt.GpuOption = False,
    json: opt.JsonOption = False,
) -> None:
    """See a clip while it plays, and answer at its end; Ctrl-C ends it.

    At a terminal, Enter asks the question about what was seen so far, and a line asks that line. Seeing goes on while
    an answer is written. Where seeing takes longer than the clip, frames are skipped and counted. With --json there is
    one object an answer.
    """
    from perilune.api.watching import WINDOW_SECONDS, Watcher, warm_up
    from perilune.errors import RequestError
    from perilune.media import incoming_frames

    if (file is None) == (camera is None):
        raise RequestError("watch one thing: --file CLIP or --camera DEVICE")
    if not question.strip():
        raise RequestError('nothing was asked: perilune watch --file CLIP "What happens?"')
    kept = WINDOW_SECONDS if window is None else window
    _check(every, seconds, kept, fast, camera)
    opened = opt.open_model(model, ram, threads, gpu=gpu)
    warm_up(opened)
    limits = opened.senses.limits
    source = incoming_frames.playing(file, limits, fast) if file else incoming_frames.camera(str(camera), limits)
    with source as incoming:
        watcher = Watcher(
            opened,
            incoming,
            str(file or f"camera {camera}"),
            system=system,
            thinking=thinking,
            reply_tokens=max_tokens or 1,
            window_seconds=kept,
            **opt.given(seconds=seconds),
        )
        sampling = opt.given(temperature=temperature, max_tokens=max_tokens, seed=seed)
        _Watch(opened, watcher, incoming, question, every, {"thinking": thinking, **sampling}, model, json).run()


def _check(every: float | None, seconds: float | None, window: float, fast: bool, camera: str | None) -> None:
    from perilune.errors import RequestError

    if every is not None and not SHORTEST_EVERY <= every <= window:
        raise RequestError(f"--every must be from {SHORTEST_EVERY:g} s to the window of {window:g} s, got {every:g}")
    if seconds is not None and not seconds > 0:
        raise RequestError(f"--seconds must be above 0, got {seconds:g}")
    if camera is not None and fast:
        raise RequestError("--fast goes with --file: a camera has its own pace")
    if camera is not None and every is None and seconds is None and not sys.stdin.isatty():
        raise RequestError("a camera has no end at which to answer: give --seconds or --every")


class _Lines:
    """What is typed, line by line and with the moment, where somebody sits at a terminal."""

    def __init__(self, stream: TextIO):
        self.typed: deque[tuple[str, float]] = deque()
        if stream.isatty():
            # Read past Python's buffer: a thread that waits inside it keeps the interpreter from ending.
            threading.Thread(target=self._read, args=(stream.fileno(),), daemon=True).start()

    def _read(self, descriptor: int) -> None:
        while True:
            try:
                line = os.read(descriptor, MAX_LINE_BYTES)
            except OSError:
                return
            if not line:
                return
            self.typed.append((line.decode(errors="replace").strip(), monotonic()))


@dataclass
class _Watch:
    """Frames that come, and questions about them."""

    model: Model
    watcher: Watcher
    incoming: IncomingFrames
    question: str
    every: float | None
    options: dict[str, Any]
    name: str
    json: bool
    lines: _Lines = field(default_factory=lambda: _Lines(sys.stdin))
    aside: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    answers: int = 0
    together: int = 0  # questions that came due while the answer before them was written, but for the last of them
    longest_delay: float = 0.0
    warned: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Until the clip ends or Ctrl-C; what was seen by then is summed up in any case."""
        status = self.aside.status("watching") if self.aside.is_terminal else None
        self.watcher.until = self.every or float("inf")
        try:
            while not self.watcher.ended:
                if self.watcher.due or self.lines.typed:
                    if status:
                        status.stop()
                    self._asked()
                elif self.watcher.step(wait=True):
                    self.watcher.read_ahead()
                    self._warn()
                if status:
                    status.update(f"watching: {self._pace()}")
                    status.start()
            if status:
                status.stop()
            if self.watcher.has_seen:
                self._answer(self.question, self.incoming.due(self.watcher.end))
        except KeyboardInterrupt:
            self._say("stopped")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            if status:
                status.stop()
            self._sum_up()

    def _asked(self) -> None:
        """Answers what was typed, or else the question that has come due."""
        until, self.watcher.until = self.watcher.until, float("inf")  # an answer may take longer than `every`
        if self.lines.typed:
            line, moment = self.lines.typed.popleft()
            self._answer(line or self.question, moment)
        else:
            assert self.every is not None
            self._answer(self.question, self.incoming.due(until), forget=True)
            until += self.every
            while until + self.every <= self.watcher.end:
                until, self.together = until + self.every, self.together + 1
        self.watcher.until = until

    def _answer(self, question: str, asked: float, forget: bool = False) -> None:
        """`asked` is the moment of the question; with `forget` the next one is about what comes after it."""
        from perilune.cli import output

        if not self.watcher.has_seen:
            self._say("nothing was seen yet that could be asked about")
            return
        messages, window = self.watcher.ask(question)
        if forget:
            self.watcher.forget()
        self._say(f"asked about {window.frames} frames, {window.begin:.1f} to {window.end:.1f} s, {self._factor()}")
        began: list[float] = []
        with self.model.stream(messages, on_prefill=lambda *_: self.watcher.catch_up(), **self.options) as stream:
            deltas = self._watching_on(stream, began)
            if self.json:
                for _ in deltas:
                    pass
            else:
                output.show_deltas(deltas, Console(highlight=False))
            reply = stream.reply
        delay = (began[0] if began else monotonic()) - asked
        self.answers, self.longest_delay = self.answers + 1, max(self.longest_delay, delay)
        self._tell(window, reply, delay)
        self._warn()

    def _watching_on(self, stream: ReplyStream, began: list[float]) -> Iterator[Delta]:
        """Between the words of a reply, what has come is looked at; `began` gets the moment of the first one."""
        for delta in stream:
            if not began:
                began.append(monotonic())
            self.watcher.catch_up()
            yield delta

    def _tell(self, window: Window, reply: ChatReply, delay: float) -> None:
        from perilune.cli import output

        spent = costs([window.item], reply.media_tokens)
        if self.json:
            watched = {
                "begin": round(window.begin, 3),
                "end": round(window.end, 3),
                "frames": window.frames,
                "skipped": self.watcher.skipped,
                "let_go": self.watcher.let_go,
                "real_time_factor": round(self.watcher.real_time_factor, 4),
                "delay": round(delay, 3),
            }
            output.print_json({**output.reply_json(reply, self.name, media=spent), "watched": watched})
            return
        self._say(f"answered {delay:.1f} s after the question")
        if self.aside.is_terminal:
            self.aside.print(output.footer(reply.usage, reply.finish_reason, media=spent))

    def _warn(self) -> None:
        """Once; how often it happened stands in the end."""
        for count, told in (
            (self.watcher.skipped, "seeing takes longer than the clip: frames are skipped"),
            (self.watcher.let_go, "the window or the model's context is full: the older half of it is let go"),
        ):
            if count and told not in self.warned:
                self.warned.add(told)
                self._say(f"warning: {told}")

    def _sum_up(self) -> None:
        answers = f"{self.answers} question" + ("" if self.answers == 1 else "s")
        self._say(f"{self._pace()}; {answers} answered, begun within {self.longest_delay:.1f} s")
        for count, told in (
            (self.watcher.skipped, "frames were skipped, as seeing took longer than the clip"),
            (self.watcher.let_go, "frames were let go before the last question: see --window"),
            (self.together, "questions came due while an answer was written, and were asked with the next one"),
        ):
            if count:
                self._say(f"warning: {count} {told}")
        if self.incoming.recounted:
            self._say("warning: packets of the clip hold no picture; read as a whole, other frames are chosen")

    def _pace(self) -> str:
        return f"{self.watcher.clip_seconds:.1f} s of the clip, {self.watcher.frames} frames seen, {self._factor()}"

    def _factor(self) -> str:
        return f"real-time factor {self.watcher.real_time_factor:.2f}"

    def _say(self, text: str) -> None:
        from perilune.cli import output

        output.say_aside(self.aside, text)
