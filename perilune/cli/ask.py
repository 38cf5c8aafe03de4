"""perilune ask: read files, folders or a pipe, and answer questions about them with the place."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from perilune.cli import options as opt
from perilune.cli.store import StoreOption, StoreSizeOption, open_store
from perilune.errors import DocumentError, RequestError

if TYPE_CHECKING:
    from perilune.api.documents import DocumentReading
    from perilune.api.reading import Found
    from perilune.documents.collect import Collection

INTERRUPTED = 130
SHOWN_LINES = 6
SHOWN_CHARACTERS = 400


def ask(
    question: Annotated[str, typer.Argument(help="What to ask about the files.")],
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help='A file or a folder; "-" is the pipe. May be given several times.'),
    ] = None,
    model: opt.ModelOption = "nano",
    store: StoreOption = None,
    store_size: StoreSizeOption = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep nothing of what is read on disk.")] = False,
    hidden: Annotated[bool, typer.Option("--hidden", help="Read hidden files of folders too.")] = False,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Of the files, where it is not UTF-8.")] = None,
    temperature: opt.TemperatureOption = 0.0,
    max_tokens: opt.MaxTokensOption = 256,
    seed: opt.SeedOption = None,
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Read files, folders or a pipe, up to the model's context, and answer with the place the answer came from.

    What was read is kept in the store: asking again, or going on after Ctrl-C, reads only what is new.
    """
    from perilune.cli import output
    from perilune.documents.collect import collect

    if not question.strip():
        raise RequestError("nothing was asked: give a question")
    if not file and sys.stdin.isatty():
        raise RequestError('name what to read: perilune ask --file BOOK.txt "question", or pipe a text in')
    named = file or ["-"]
    found = collect(named, stdin=sys.stdin.buffer if "-" in named else None, include_hidden=hidden, encoding=encoding)
    aside = Console(stderr=True)
    if found.skipped:
        aside.print(found.summary(), markup=False)
    opened = opt.open_model(model, None, threads, int4)
    kept = None if no_store else open_store(store, store_size)
    reading = _read(opened, found, kept, aside)
    sampling = opt.given(temperature=temperature, max_tokens=max_tokens, seed=seed)
    with reading.stream(question, **sampling) as stream:
        if json:
            for _ in stream:
                pass
        else:
            output.show_deltas(stream, Console())
        answer = reading.found(stream)
    if json:
        output.print_json(_json(answer, reading, model))
    else:
        _show_places(answer, reading)


def _read(opened: Any, found: Collection, kept: Any, aside: Console) -> DocumentReading:
    from perilune.api.documents import read_documents

    try:
        with _Bar(aside) as bar:
            return read_documents(opened, found.sources, store=kept, on_read=bar)
    except KeyboardInterrupt:
        rest = "" if kept is None else "; what was read is kept, and the next call goes on from there"
        aside.print(f"stopped{rest}")
        raise typer.Exit(INTERRUPTED) from None


class _Bar:
    """Percent, tokens a second and time left, for people; one line at the end for everybody."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("reading"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:,} tokens"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.console = console
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.progress.add_task("read", total=None, rate="")

    def __call__(self, done: int, known: int, total: int) -> None:
        speed = self.progress.tasks[0].speed
        rate = "" if speed is None else f"{speed:,.0f} tokens/s"
        self.progress.update(self.task, completed=done, total=total, rate=rate)
        self.last = f"read {done:,} tokens" + (f", {known:,} of them from the store" if known else "")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.progress.stop()
        if kind is None:
            self.console.print(self.last, markup=False)


def _places(answer: Found, reading: DocumentReading) -> list[dict[str, Any]]:
    places = []
    for passage in answer.passages:
        try:
            place = reading.place(passage)
        except DocumentError as error:  # the file has changed since: the lines may be others now
            places.append({"file": None, "problem": str(error), "share": round(passage.share, 3)})
            continue
        where = {"file": place.name, "first_line": place.first_line, "last_line": place.last_line}
        places.append({**where, "share": round(passage.share, 3), "text": place.text})
    return places


def _show_places(answer: Found, reading: DocumentReading) -> None:
    from perilune.cli import output

    console = Console()
    for place in _places(answer, reading):
        if place["file"] is None:
            console.print(f"  {place['problem']}", markup=False, style="yellow")
            continue
        first, last = place["first_line"], place["last_line"]
        lines = f"line {first}" if first == last else f"lines {first}–{last}"
        console.print(f"  {output.plain(place['file'])}, {lines}", markup=False, style="bold")
        shown = place["text"][:SHOWN_CHARACTERS].split("\n")[:SHOWN_LINES]
        console.print(
            "\n".join(f"    {output.plain(line)}" for line in shown), markup=False, style="dim", highlight=False
        )


def _json(answer: Found, reading: DocumentReading, model: str) -> dict[str, Any]:
    from perilune.cli import output

    return {
        **output.reply_json(answer.reply, model),
        "read_tokens": reading.length,
        "places": _places(answer, reading),
    }
