"""perilune listen: a sound as it plays, or the microphone: heard as it comes, answered at pauses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from perilune.cli import options as opt
from perilune.cli.attach import costs, user_message

if TYPE_CHECKING:
    from perilune.api import ChatReply, Model, ReplyStream
    from perilune.api.listening import Listener, Turn
    from perilune.media.incoming import Incoming
    from perilune.text.reply import Delta

INTERRUPTED = 130
# Seconds: a warning comes above the first and is armed again below the second.
BEHIND, CAUGHT_UP = 1.0, 0.5


def listen(
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A sound; without it, the microphone.", metavar="SOUND")
    ] = None,
    model: opt.ModelOption = "nano",
    prompt: Annotated[str, typer.Option("--prompt", help='Goes with what is heard, such as "What is said?"')] = "",
    system: Annotated[str | None, typer.Option("--system", help="A system message.")] = None,
    thinking: Annotated[bool, typer.Option("--thinking/--no-thinking", help="Reason first.")] = False,
    pause: Annotated[float | None, typer.Option("--pause", help="Seconds of silence that end a turn (0.5).")] = None,
    floor: Annotated[
        float | None, typer.Option("--floor", help="What is quieter is silence: dB of full scale (-45).")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="With --file: do not wait for the sound to play.")] = False,
    temperature: opt.TemperatureOption = None,
    max_tokens: opt.MaxTokensOption = 256,
    seed: opt.SeedOption = None,
    threads: opt.ThreadsOption = None,
    json: opt.JsonOption = False,
) -> None:
    """Hear speech while it comes, and answer after every pause and at the end; Ctrl-C ends it.

    A turn begins where sound gets louder than the floor and ends after a pause; silence between turns is left out and
    counted. Hearing goes on while an answer is written. With --json there is one object a turn.
    """
    from perilune.api.listening import Listener
    from perilune.errors import RequestError
    from perilune.media.audio import load_audio
    from perilune.media.incoming import Microphone, Paced
    from perilune.media.pauses import Pauses

    if fast and file is None:
        raise RequestError("--fast goes with --file: a microphone has its own pace")
    pauses = Pauses(**opt.given(floor_db=floor, pause_seconds=pause))
    opened = opt.open_model(model, threads=threads)
    listener = Listener(opened.senses, pauses)
    sampling = opt.given(temperature=temperature, max_tokens=max_tokens, seed=seed)
    samples_T = None if file is None else load_audio(file)
    with Microphone().opened() if samples_T is None else nullcontext(Paced(samples_T, fast)) as incoming:
        name = "the microphone" if file is None else str(file)
        talk = _Talk(opened, listener, incoming, name, prompt, {"thinking": thinking, **sampling}, json)
        talk.messages = [{"role": "system", "content": system}] if system else []
        talk.run(model)


@dataclass
class _Talk:
    """A conversation with somebody who speaks."""

    model: Model
    listener: Listener
    incoming: Incoming
    name: str
    prompt: str
    options: dict[str, Any]
    json: bool
    messages: list[dict[str, Any]] = field(default_factory=list)
    aside: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    ended: bool = False
    turns: int = 0
    most_behind: float = 0.0
    warned: bool = False

    def run(self, model: str) -> None:
        """Until the sound ends or Ctrl-C; what was heard by then is summed up in any case."""
        status = self.aside.status("listening") if self.aside.is_terminal else None
        try:
            while not self.ended or self.listener.turns:
                if self.listener.turns:
                    if status:
                        status.stop()
                    self._answer(self.listener.turns[0], model)
                    self.listener.turns.popleft()
                    continue
                if status:
                    status.update(f"listening: {self._pace()}")
                    status.start()
                self._hear(wait=True)
        except KeyboardInterrupt:
            left = self.listener.open_seconds + self.incoming.behind
            self._say(f"stopped; {left:.1f} s of sound stay unanswered" if left else "stopped")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            if status:
                status.stop()
            self._sum_up()

    def _hear(self, wait: bool = False) -> bool:
        """Hears what has come; false where nothing has."""
        piece_T = None if self.ended else self.incoming.take(wait)
        if piece_T is None:
            if not self.ended:
                self.ended = True
                self.listener.finish()
            return False
        self.listener.feed(piece_T)
        behind = self.incoming.behind
        self.most_behind = max(self.most_behind, behind)
        if behind > BEHIND and not self.warned:
            self._say(f"warning: hearing is {behind:.1f} s behind the sound, which waits; answers come later")
        self.warned = behind > (CAUGHT_UP if self.warned else BEHIND)
        return piece_T.shape[0] > 0

    def _answer(self, turn: Turn, model: str) -> None:
        from perilune.api.messages import as_message
        from perilune.cli import output

        media = [turn.item(self.name)]
        messages = [*self.messages, user_message(self.prompt, media)]
        self._say(f"heard {turn.begin:.1f} to {turn.end:.1f} s, {self._factor()}")
        with self.model.stream(messages, on_prefill=lambda *_: self._catch_up(), **self.options) as stream:
            if self.json:
                for _ in self._hearing_on(stream):
                    pass
            else:
                output.show_deltas(self._hearing_on(stream), Console(highlight=False))
            reply = stream.reply
        self.messages = [*messages, as_message(reply)]
        self.turns += 1
        self._tell(turn, reply, costs(media, reply.media_tokens), model)

    def _hearing_on(self, stream: ReplyStream) -> Iterator[Delta]:
        """Between the words of a reply, what has come is heard."""
        for delta in stream:
            self._catch_up()
            yield delta

    def _catch_up(self) -> None:
        while self._hear():
            pass

    def _tell(self, turn: Turn, reply: ChatReply, spent: list[dict[str, Any]], model: str) -> None:
        from perilune.cli import output

        if self.json:
            heard = {"begin": round(turn.begin, 2), "end": round(turn.end, 2)}
            factor = round(self.listener.real_time_factor, 4)
            told = output.reply_json(reply, model, media=spent)
            output.print_json({**told, "heard": {**heard, "real_time_factor": factor}})
        elif self.aside.is_terminal:
            self.aside.print(output.footer(reply.usage, reply.finish_reason, media=spent))

    def _sum_up(self) -> None:
        left_out = f"{self.listener.left_out_seconds:.1f} s of silence left out"
        turns = f"{self.turns} turn" + ("" if self.turns == 1 else "s")
        self._say(f"{self._pace()}; {turns} answered, {left_out}")
        if self.most_behind > BEHIND:
            self._say(f"warning: hearing was up to {self.most_behind:.1f} s behind the sound")
        if self.incoming.lost_seconds:
            self._say(f"warning: at least {self.incoming.lost_seconds:.1f} s of sound were lost before they were heard")

    def _pace(self) -> str:
        return f"{self.listener.heard_seconds:.1f} s heard, {self._factor()}"

    def _factor(self) -> str:
        return f"real-time factor {self.listener.real_time_factor:.2f}"

    def _say(self, text: str) -> None:
        from perilune.cli import output

        output.say_aside(self.aside, text)
