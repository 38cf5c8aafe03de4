"""`perilune show` and `perilune synth`: what a model directory holds, and random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from perilune.cli import options as opt
from perilune.presets import PRESETS

Shape = Annotated[str, typer.Argument(help=f"A shape ({', '.join(PRESETS)}) or a config.json.", metavar="SHAPE")]


def show(directory: opt.DirectoryArgument, json: opt.JsonOption = False) -> None:
    """Parameters, bytes, context and quantisation of a model directory, out of its headers."""
    from perilune.api.locate import find_model
    from perilune.show import as_table, summarize

    summary = summarize(find_model(directory))
    if json:
        typer.echo(summary.to_json())
    else:
        Console(highlight=False).print(as_table(summary))


def synth(
    shape: Shape,
    out: Annotated[Path, typer.Option("--out", help="The directory to write.")],
    layers: Annotated[int | None, typer.Option("--layers", help="Only the first N layers.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 0,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="A directory whose tokenizer files are copied.")
    ] = None,
) -> None:
    """Write a checkpoint with random weights in the published layout."""
    from perilune.config import ModelConfig
    from perilune.synth import synthesize

    console = Console(stderr=True, highlight=False)
    source = ModelConfig.load(Path(shape).parent) if Path(shape).name == "config.json" else shape
    with console.status("writing") as status:

        def progress(done: int, total: int, name: str) -> None:
            status.update(f"{done / 1e9:.2f} of {total / 1e9:.2f} GB · {name}")

        made = synthesize(
            source,
            out,
            layers=layers,
            seed=seed,
            tokenizer=tokenizer,
            progress=progress if console.is_terminal else None,
        )
    typer.echo(f"{made.directory}: {made.tensors} tensors, {made.bytes / 1e9:.2f} GB in {made.shards} shards")
