"""`perilune score`: exact match per task and loss per byte on what a model never saw."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from perilune.cli import options as opt

score_app = typer.Typer(invoke_without_command=True, help="Score a model on held-out questions and texts.")


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

    from perilune.corpus.sources import data_root
    from perilune.score.result import score_model

    root = data_root() if os.environ.get("PERILUNE_SHARED") else None
    opened = opt.open_model(model, None, threads, int4)
    with Console(stderr=True).status("scoring") as status:
        report = score_model(
            opened,
            model,
            root=root,
            count=count,
            documents=documents,
            on_part=lambda name: status.update(f"scoring: {name}"),
        )
    typer.echo(report.to_json() if json else report.table(), nl=False)
