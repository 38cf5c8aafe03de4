"""`perilune train`: prepare data, run, export. Each verb can be repeated: finished work is kept."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from perilune.train.recipe import TrainConfig

app = typer.Typer(help="Train a model of your own.", no_args_is_help=True)

_SWITCH = {"True": True, "False": False}
DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(TrainConfig)}


@app.command()
def run(
    data: Annotated[Path, typer.Option(help="Packed corpus.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder with tiktoken.model.")],
    out: Annotated[Path, typer.Option(help="Run folder; a run found there goes on.")],
    model: Annotated[str, typer.Option(help="nano, nano-full (full attention), or a config.json.")] = DEFAULTS["model"],
    start: Annotated[
        str, typer.Option(help="A model folder; the run begins with whatever fits of its weights.")
    ] = DEFAULTS["start"],
    steps: Annotated[int, typer.Option(help="Steps in all.")] = DEFAULTS["steps"],
    rows: Annotated[int, typer.Option(help="Packed rows a step.")] = DEFAULTS["rows"],
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = DEFAULTS["lr"],
    seed: Annotated[int, typer.Option(help="Seed of the fresh weights.")] = DEFAULTS["seed"],
    threads: Annotated[int, typer.Option(help="Threads; rows are split over them.")] = DEFAULTS["threads"],
    minutes: Annotated[float, typer.Option(help="Save and stop after this time; 0 = never.")] = DEFAULTS["minutes"],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, as name=value; see train/recipe.py.")
    ] = None,
) -> None:
    """Train, or go on where the run in --out stopped. Ctrl-C saves first."""
    from perilune.train.loop import train

    options: dict[str, Any] = dict(
        data=str(data),
        tokenizer=str(tokenizer),
        out=str(out),
        model=model,
        start=start,
        steps=steps,
        rows=rows,
        lr=lr,
        seed=seed,
        threads=threads,
        minutes=minutes,
    )
    train(TrainConfig(**{**options, **_settings(set_ or [])}))


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="Run folder.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    tokenizer: Annotated[Path | None, typer.Option(help="Tokenizer folder, if it has moved.")] = None,
) -> None:
    """Write the newest checkpoint in the published layout, routed experts in INT4."""
    from perilune.train.export import export_run

    typer.echo(f"wrote {export_run(run, out, tokenizer)}")


@app.command()
def prepare(
    out: Annotated[Path, typer.Option(help="Folder for the packed corpus.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder of the vocabulary; made when it is not there.")],
    seed: Annotated[int, typer.Option(help="Seed of the mixture.")] = 0,
    scale: Annotated[float, typer.Option(help="Share of the full corpus.")] = 1.0,
    context: Annotated[int, typer.Option(help="Tokens of a row; longer documents are cut.", min=16, max=65536)] = 1024,
) -> None:
    """Read the sources, make the vocabulary, pack the mixture."""
    from perilune.train.prepare import prepare_data

    prepare_data(out, tokenizer, seed=seed, scale=scale, context=context, say=typer.echo)


def _settings(pairs: list[str]) -> dict[str, Any]:
    """["qat_from=0.8"] → {"qat_from": 0.8}, each value in the type of its default."""
    known = {name: value for name, value in DEFAULTS.items() if isinstance(value, int | float | str)}
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint="--set")
        try:
            settings[name] = _SWITCH[text] if isinstance(known[name], bool) else type(known[name])(text)
        except ValueError:
            raise typer.BadParameter(f"{pair!r}: not a number", param_hint="--set") from None
        except KeyError:
            raise typer.BadParameter(f"{pair!r}: neither True nor False", param_hint="--set") from None
    return settings
