"""Options that several verbs share, written once. None means: not given, so the model's own default holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from perilune.api import Model

ModelOption = Annotated[str, typer.Option("--model", "-m", help="A model directory, or a bundled name.")]
RamOption = Annotated[
    str | None,
    typer.Option(
        "--ram",
        help='Memory the model may take, such as "16GiB", or "auto" for most of what is free. '
        "Experts that do not fit are read from disk when they are needed.",
    ),
]
ContextOption = Annotated[
    int | None, typer.Option("--context", help="With --ram or --gpu: tokens of conversations to keep room for (8192).")
]
GpuOption = Annotated[
    bool,
    typer.Option(
        "--gpu", help="Keep what every token uses, and the experts that are used most, on a GPU; --ram counts the rest."
    ),
]
GpuRamOption = Annotated[
    str | None, typer.Option("--gpu-ram", help="With --gpu: memory it may take of the GPU (default: what is free).")
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="CPU threads (default: all cores).")]
INT4_DEFAULT = "float"
Int4Option = Annotated[
    str, typer.Option("--int4", help='INT4 experts: "float" (exact) or "int8" (faster, activations rounded).')
]
BACKBONE_DEFAULT = "bf16"
BackboneOption = Annotated[
    str,
    typer.Option(
        "--backbone",
        help='Weights that every token uses: "bf16" as published, or "int8" or "int4" where memory is short.',
    ),
]
TextOnlyOption = Annotated[
    bool, typer.Option("--text-only", help="Set no memory aside to see and hear with; pictures and sounds are refused.")
]
MirrorOption = Annotated[
    list[Path] | None,
    typer.Option("--mirror", help="With --ram: a folder on another disk with copies of shards; both are read."),
]
MaxTokensOption = Annotated[int | None, typer.Option("--max-tokens", help="Longest reply, in tokens.")]
TemperatureOption = Annotated[
    float | None, typer.Option("--temperature", help="0 always takes the most likely token; up to 2.")
]
TopPOption = Annotated[float | None, typer.Option("--top-p", help="Keep the likeliest up to this mass.")]
TopKOption = Annotated[int | None, typer.Option("--top-k", help="Keep the k likeliest tokens; 0 is off.")]
MinPOption = Annotated[
    float | None,
    typer.Option("--min-p", help="Drop tokens below this share of the likeliest one."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Same seed, same reply.")]
StopOption = Annotated[list[str] | None, typer.Option("--stop", help="Stop at this text; may be given several times.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
ApiKeyOption = Annotated[str | None, typer.Option("--api-key", envvar="PERILUNE_API_KEY", help="A key to ask for.")]
DirectoryArgument = Annotated[Path, typer.Argument(help="A model directory.", metavar="DIR")]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None and value != []}


def open_model(
    model: str,
    ram: str | None = None,
    threads: int | None = None,
    int4: str = INT4_DEFAULT,
    context: int | None = None,
    backbone: str = BACKBONE_DEFAULT,
    mirrors: list[Path] | None = None,
    gpu: bool = False,
    gpu_ram: str | None = None,
    text_only: bool = False,
) -> Model:
    from perilune.api import load
    from perilune.errors import RequestError

    if gpu_ram is not None and not gpu:
        raise RequestError("--gpu-ram goes with --gpu")
    opened = load(
        model,
        ram=_size(ram),
        threads=threads,
        device="cuda" if gpu else "cpu",
        int4=int4,
        context=context,
        backbone=backbone,
        mirrors=mirrors or (),
        gpu_ram=_size(gpu_ram),
        text_only=text_only,
    )
    for split in (opened.gpu, opened.memory):
        if split is not None:
            typer.echo(str(split), err=True)
    return opened


def _size(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def tell_speed(opened: Model, backbone: str) -> None:
    """What to expect of a model whose experts come from disk; a few seconds of measuring."""
    if opened.memory is None or not opened.memory.streamed or opened.directory is None:
        return
    from perilune.plan.expect import expectation

    told = expectation(opened.config, opened.directory, opened.memory, backbone, opened.gpu)
    if told:
        typer.echo(told, err=True)
