"""`perilune score`: tasks, loss per byte, needles in long texts, sights and sounds, all on what a model never saw."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perilune.cli import options as opt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

    from perilune.score.long_reading import Haystack, OnRead
    from perilune.score.long_report import LongReport

score_app = typer.Typer(invoke_without_command=True, help="Score a model on held-out questions and texts.")

Lengths = Annotated[str, typer.Option("--lengths", help="Lengths of the texts in tokens, such as 4k,128k,2m.")]
Png = Annotated[Path | None, typer.Option("--png", help="Also draw the heat map into this file.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Which texts and questions.")]


@score_app.callback()
def score(
    ctx: typer.Context,
    model: opt.ModelOption = "nano",
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="Questions per task.")] = 50,
    documents: Annotated[int, typer.Option("--documents", min=1, max=10_000, help="Texts per source.")] = 20,
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Held-out tasks, answered greedily, and held-out texts where PERILUNE_SHARED names the data."""
    if ctx.invoked_subcommand:
        return
    from rich.console import Console

    from perilune.score.result import score_model

    opened = opt.open_model(model, None, threads, int4)
    with Console(stderr=True).status("scoring") as status:
        report = score_model(
            opened,
            model,
            root=_data(),
            count=count,
            documents=documents,
            on_part=lambda name: status.update(f"scoring: {name}"),
        )
    typer.echo(report.to_json() if json else report.table(), nl=False)


@score_app.command()
def needle(
    lengths: Lengths = "4k,32k,128k,512k,1m,2m",
    depths: Annotated[int, typer.Option("--depths", min=1, max=100, help="Rows of the heat map.")] = 10,
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="Questions for each length.")] = 100,
    strict: Annotated[
        bool, typer.Option("--strict", help="One needle in each text: a read for each question.")
    ] = False,
    filler: Annotated[str, typer.Option("--filler", help="text, code, noise, or a file or folder of yours.")] = "text",
    needles: Annotated[
        str | None,
        typer.Option("--needles", help='"written" (283, by hand), or JSONL of needle, question, answer.'),
    ] = None,
    seed: Seed = 0,
    png: Png = None,
    model: opt.ModelOption = "nano",
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Facts of many forms hidden at all depths of a long text, and asked for."""
    from perilune.score.needle import Plan, parse_lengths, score_needles
    from perilune.score.opened import Opened
    from perilune.score.own import read_needles

    own = read_needles(needles) if needles else ()
    plan = Plan(parse_lengths(lengths), min(count, len(own)) if own else count, depths, strict, filler, seed, own)
    opened = Opened(opt.open_model(model, None, threads, int4))
    with _progress() as on_haystack:
        report = score_needles(opened, model, plan, opened.encode, _data(), on_haystack=on_haystack)
    _show(report, json, png)


@score_app.command()
def ruler(
    tasks: Annotated[
        str, typer.Option("--tasks", help="all, or names such as niah_single_1,niah_multikey,vt.")
    ] = "all",
    lengths: Lengths = "4k,32k,128k",
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="Questions per task and length.")] = 20,
    seed: Seed = 0,
    png: Png = None,
    model: opt.ModelOption = "nano",
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """RULER's tasks: needles among needles, several keys or values, chains of variables, most common words."""
    from perilune.score.needle import parse_lengths
    from perilune.score.opened import Opened
    from perilune.score.ruler import parse_tasks, score_ruler

    chosen, sizes = parse_tasks(tasks), parse_lengths(lengths)
    opened = Opened(opt.open_model(model, None, threads, int4))
    with _progress() as on_haystack:
        report = score_ruler(
            opened, model, chosen, sizes, count, opened.encode, _data(), seed=seed, on_haystack=on_haystack
        )
    _show(report, json, png)


@score_app.command()
def senses(
    families: Annotated[
        str, typer.Option("--families", help="all, or families and groups such as sights,sounds,motion.")
    ] = "all",
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="Questions for each family.")] = 50,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also fit linear probes to the pixels of pictographs and photos.")
    ] = False,
    model: opt.ModelOption = "nano",
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Pictures, sounds and clips that were held out, and questions about them; PERILUNE_SHARED names the data."""
    from perilune.corpus.sources import data_root
    from perilune.score.perception import parse_families, score_perception

    chosen, root = parse_families(families), data_root()
    opened = opt.open_model(model, None, threads, int4)
    with _bar() as (progress, bar):
        progress.update(bar, total=len(chosen) * count)

        def on_step(what: str, done: int) -> None:
            progress.update(bar, completed=done, description=what)

        report = score_perception(opened, model, chosen, root, count, probes=probe, on_step=on_step)
    typer.echo(report.to_json() if json else report.table(), nl=False)


def _data() -> Path | None:
    from perilune.corpus.sources import data_root

    return data_root() if os.environ.get("PERILUNE_SHARED") else None


@contextmanager
def _bar(title: str = "") -> Iterator[tuple[Progress, TaskID]]:
    """One bar on stderr, gone at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress, progress.add_task(title)


@contextmanager
def _progress() -> Iterator[Callable[[Haystack], OnRead]]:
    """The text being read, then its questions."""
    with _bar("laying needles") as (progress, bar):

        def on_haystack(haystack: Haystack) -> OnRead:
            progress.reset(bar, total=len(haystack.ids), description=f"reading {len(haystack.asked)} needles")
            return lambda tokens: progress.update(bar, completed=tokens)

        yield on_haystack


def _show(report: LongReport, json: bool, png: Path | None) -> None:
    if png is not None:
        from perilune.score.heatmap import save

        save(report.grid(), png)
    if json:
        typer.echo(report.to_json(), nl=False)
        return
    from rich.console import Console

    from perilune.score.heatmap import terminal

    console = Console()
    console.print(terminal(report.grid()), report.table(), report.task_table(), *report.notes, sep="\n")
