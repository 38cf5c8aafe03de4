"""`perilune bench decode|prefill|read|stream|serve|senses|cache|kernel|page`: options in, a table or JSON out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perilune.cli import options as opt

if TYPE_CHECKING:
    from perilune.bench.kernel import KernelResult
    from perilune.bench.long import LongResult
    from perilune.bench.page import PageResult
    from perilune.bench.senses import SensesResult
    from perilune.bench.serve import ServeResult
    from perilune.bench.speed import Result
    from perilune.bench.stream import StreamResult

bench_app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine.")

Repeats = Annotated[int, typer.Option("--repeats", help="Measured runs after the warm-up.")]


@bench_app.command()
def decode(
    model: opt.ModelOption = "nano",
    tokens: Annotated[int, typer.Option("--tokens", help="Tokens to write per sequence.")] = 64,
    prompt: Annotated[int, typer.Option("--prompt", help="Tokens read before.")] = 32,
    batch: Annotated[int, typer.Option("--batch", help="Sequences decoded together.")] = 1,
    repeats: Repeats = 5,
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Tokens a second while writing."""
    from perilune.bench.speed import bench_decode

    opened = opt.open_model(model, None, threads, int4)
    _print(bench_decode(opened, tokens=tokens, prompt=prompt, batch=batch, repeats=repeats), json)


@bench_app.command()
def stream(
    ram: Annotated[str, typer.Option("--ram", help="Memory the model may take, less than it needs.")],
    model: opt.ModelOption = "nano",
    prompt: Annotated[int, typer.Option("--prompt", help="Tokens to read first.")] = 128,
    tokens: Annotated[int, typer.Option("--tokens", help="Tokens to write.")] = 32,
    ahead: Annotated[bool, typer.Option("--ahead/--no-ahead", help="Guess the next layer's experts.")] = True,
    backbone: opt.BackboneOption = opt.BACKBONE_DEFAULT,
    mirror: opt.MirrorOption = None,
    gpu: opt.GpuOption = False,
    gpu_ram: opt.GpuRamOption = None,
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Reading and writing with experts from disk, against what the disk allows."""
    from perilune.bench.stream import bench_stream

    told = {"backbone": backbone, "mirrors": mirror, "gpu": gpu, "gpu_ram": gpu_ram, "text_only": True}
    opened = opt.open_model(model, ram, threads, int4, **told)
    _print(bench_stream(opened, prompt=prompt, tokens=tokens, ahead=ahead), json)


@bench_app.command()
def serve(
    model: opt.ModelOption = "nano",
    clients: Annotated[str, typer.Option("--clients", help="Clients at a time, such as 1,4,16.")] = "1,4,16",
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of each reply.")] = 64,
    soak: Annotated[
        float, typer.Option("--soak", min=0, help="Seconds of mixed load by the most clients, after that.")
    ] = 0,
    backbone: opt.BackboneOption = opt.BACKBONE_DEFAULT,
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Throughput, first tokens, fairness and memory of a server under load, against the same without a server."""
    from rich.console import Console

    from perilune.bench.serve import bench_serve
    from perilune.errors import RequestError

    try:
        counts = [int(count) for count in clients.split(",")]
    except ValueError:
        raise RequestError(f"--clients must be numbers with commas between, got {clients[:80]!r}") from None
    opened = opt.open_model(model, None, threads, int4, backbone=backbone)
    words = ["--model", model, "--int4", int4, "--backbone", backbone]
    words += [] if threads is None else ["--threads", str(threads)]
    with Console(stderr=True).status("serving") as status:
        result = bench_serve(opened, words, counts, tokens, soak, lambda part: status.update(part))
    _print(result, json)


@bench_app.command()
def senses(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A model that sees or hears (default: nano, with fresh towers if need be)."),
    ] = None,
    against: Annotated[
        bool, typer.Option("--against-transformers", help="Run the same towers in transformers in turn with ours.")
    ] = False,
    repeats: Repeats = 9,
    threads: opt.ThreadsOption = None,
    json: opt.JsonOption = False,
) -> None:
    """Pictures, clips and sound into tokens, and the time from the end of speech to the first word."""
    from perilune.bench.senses import bench_senses, with_fresh_senses

    opened = opt.open_model(model or "nano", threads=threads)
    if model is None and not opened.config.senses:
        opened = with_fresh_senses(opened)
    _print(bench_senses(opened, repeats=repeats, against=against), json)


@bench_app.command()
def cache(
    trace: Annotated[
        list[Path],
        typer.Option("--trace", help="A file that perilune chat --trace wrote; several go on in turn.", metavar="FILE"),
    ],
    json: opt.JsonOption = False,
) -> None:
    """Hit rates that cache policies and sizes would have had on recorded routing traces."""
    from rich.console import Console

    from perilune.api.trace import read_traces
    from perilune.bench.cache import as_table, replay_all, to_dicts
    from perilune.cli.output import print_json

    recorded = read_traces(trace)
    replays = replay_all(recorded)
    if json:
        print_json({"tokens": recorded.tokens, "layers": len(recorded.layers), "replays": to_dicts(replays)})
    else:
        Console(highlight=False).print(as_table(recorded, replays))


@bench_app.command()
def kernel(
    rows: Annotated[int, typer.Option("--rows", help="Rows that go through an expert together.")] = 1,
    repeats: Repeats = 9,
    threads: opt.ThreadsOption = None,
    json: opt.JsonOption = False,
) -> None:
    """The INT4 kernel against the memory's read rate, torch and, where it is installed, onnxruntime (with onnx)."""
    from perilune.bench.kernel import bench_kernel
    from perilune.kernels.threads import set_threads

    set_threads(threads)
    _print(bench_kernel(rows, repeats), json)


@bench_app.command()
def page(
    repeats: Annotated[int, typer.Option("--repeats", help="Fresh visits, of which medians are told.")] = 5,
    slow: Annotated[float, typer.Option("--slow", help="Make the browser's processor so many times slower.")] = 1,
    json: opt.JsonOption = False,
) -> None:
    """The page in a real Chromium: first load, frames while scrolling a long chat, a long file at a citation."""
    from rich.console import Console

    from perilune.bench.page import bench_page

    with Console(stderr=True).status("starting") as status:
        result = bench_page(repeats, slow, on_part=lambda part: status.update(part))
    _print(result, json)


@bench_app.command()
def prefill(
    model: opt.ModelOption = "nano",
    prompt: Annotated[int, typer.Option("--prompt", help="Tokens to read.")] = 512,
    repeats: Repeats = 5,
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Tokens a second while reading a prompt."""
    from perilune.bench.speed import bench_prefill

    opened = opt.open_model(model, None, threads, int4)
    _print(bench_prefill(opened, prompt=prompt, repeats=repeats), json)


@bench_app.command()
def read(
    model: opt.ModelOption = "nano",
    lengths: Annotated[str, typer.Option("--lengths", help="Tokens to read, such as 4k,32k,2m.")] = "4k,32k,128k",
    full: Annotated[str, typer.Option("--full", help="Lengths to read with full attention besides.")] = "",
    threads: opt.ThreadsOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Reading ahead of a question, answering, and reopening from disk, by length."""
    from rich.console import Console

    from perilune.bench.long import bench_read

    opened = opt.open_model(model, None, threads, int4)
    with Console(stderr=True).status("reading") as status:
        result = bench_read(opened, _lengths(lengths), _lengths(full), lambda now: status.update(f"reading {now}"))
    _print(result, json)


def _lengths(text: str) -> list[int]:
    from perilune.score.needle import parse_lengths

    return list(parse_lengths(text)) if text else []


def _print(
    result: Result | KernelResult | LongResult | PageResult | SensesResult | ServeResult | StreamResult, json: bool
) -> None:
    from perilune.cli.output import print_json

    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.to_text())
