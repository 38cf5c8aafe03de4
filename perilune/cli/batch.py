"""`perilune batch`: many conversations from a file, answered together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from perilune.cli import options as opt


def batch(
    lines: Annotated[Path, typer.Argument(help="Requests, one JSON object a line.", metavar="IN.jsonl")],
    out: Annotated[Path, typer.Option("--out", help="Where the answers go; a run that was stopped goes on there.")],
    model: opt.ModelOption = "nano",
    together: Annotated[int, typer.Option("--together", help="Conversations at a time.")] = 16,
    threads: opt.ThreadsOption = None,
    ram: opt.RamOption = None,
    gpu: opt.GpuOption = False,
    gpu_ram: opt.GpuRamOption = None,
    context: opt.ContextOption = None,
    backbone: opt.BackboneOption = opt.BACKBONE_DEFAULT,
    text_only: opt.TextOnlyOption = False,
    mirror: opt.MirrorOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Answer a file of requests in the shape of OpenAI's batch files; Ctrl-C stops, the same command goes on."""
    from dataclasses import asdict

    from perilune.api.batch import read_lines, run_batch
    from perilune.cli.output import plain, print_json

    requests = read_lines(lines)
    opened = opt.open_model(model, ram, threads, int4, context, backbone, mirror, gpu, gpu_ram, text_only)
    opt.tell_speed(opened, backbone)
    aside = Console(stderr=True)
    columns = (TextColumn("answering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=aside, disable=not aside.is_terminal) as progress:
        task = progress.add_task("", total=len(requests))
        try:
            done = run_batch(
                opened, requests, out, together=together, on_done=lambda n, _: progress.update(task, completed=n)
            )
        except KeyboardInterrupt:
            typer.echo("stopped; the same command goes on from here", err=True)
            raise typer.Exit(130) from None
    if json:
        print_json(asdict(done))
        return
    typer.echo(f"{done.answered} answered, {done.before} before, {done.failed} refused: {out}")
    for error in done.errors[:10]:
        typer.echo(f"  {plain(error)}", err=True)
