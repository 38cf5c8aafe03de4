"""The verbs of the `perilune` command. An error of the user's making is one line on stderr, exit code 2."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from perilune.cli import attach
from perilune.cli import options as opt
from perilune.cli.ask import ask
from perilune.cli.batch import batch
from perilune.cli.bench import bench_app
from perilune.cli.demo import demo
from perilune.cli.launch import launch
from perilune.cli.listen import listen
from perilune.cli.models import show, synth
from perilune.cli.page import page
from perilune.cli.plan import plan
from perilune.cli.score import score_app
from perilune.cli.serve import serve
from perilune.cli.store import store_app
from perilune.cli.watch import watch
from perilune.errors import MessageError, PeriluneError, RequestError
from perilune.train.cli import app as train_app

MAX_TOOLS_BYTES = 4 << 20
MAX_STDIN_CHARACTERS = 64 << 20
RAW_MAX_TOKENS = 128  # a raw continuation seldom ends by itself


class _Group(TyperGroup):
    """Turns the errors that perilune raises on purpose into one line; a traceback would only hide it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PeriluneError as error:
            typer.echo(f"perilune: {error}", err=True)
            ctx.exit(2)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Run, own and understand a Kimi-K2.6-class model on your own machine.",
)
app.command("app")(page)
app.command()(ask)
app.command()(batch)
app.command()(demo)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(launch)
app.command()(listen)
app.command()(plan)
app.command()(serve)
app.command()(show)
app.command()(synth)
app.command()(watch)
app.add_typer(bench_app, name="bench")
app.add_typer(score_app, name="score")
app.add_typer(store_app, name="store")
app.add_typer(train_app, name="train")


def main() -> None:
    app(prog_name="perilune")


@app.command(cls=attach.MediaCommand)
def chat(
    ctx: typer.Context,
    question: Annotated[str | None, typer.Argument(help="Ask once; without it, a conversation.")] = None,
    model: opt.ModelOption = "nano",
    image: attach.ImageOption = None,
    audio: attach.AudioOption = None,
    video: attach.VideoOption = None,
    system: Annotated[str | None, typer.Option("--system", help="A system message.")] = None,
    thinking: Annotated[bool, typer.Option("--thinking/--no-thinking", help="Reason first.")] = True,
    tools: Annotated[
        Path | None, typer.Option("--tools", help="A JSON file with a list of tools.", metavar="FILE")
    ] = None,
    temperature: opt.TemperatureOption = None,
    top_p: opt.TopPOption = None,
    top_k: opt.TopKOption = None,
    min_p: opt.MinPOption = None,
    max_tokens: opt.MaxTokensOption = None,
    seed: opt.SeedOption = None,
    stop: opt.StopOption = None,
    threads: opt.ThreadsOption = None,
    ram: opt.RamOption = None,
    gpu: opt.GpuOption = False,
    gpu_ram: opt.GpuRamOption = None,
    context: opt.ContextOption = None,
    backbone: opt.BackboneOption = opt.BACKBONE_DEFAULT,
    text_only: opt.TextOnlyOption = False,
    mirror: opt.MirrorOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write which experts every token used.", metavar="FILE")
    ] = None,
    json: opt.JsonOption = False,
) -> None:
    """Talk to a model: interactively, once with a question, or with a question on stdin."""
    from perilune.cli.session import Session

    sampling = opt.given(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        max_tokens=max_tokens,
        seed=seed,
        stop=stop,
    )
    declared = _read_tools(tools) if tools else None
    interactive = question is None and sys.stdin.isatty()
    if json and interactive:
        raise RequestError('--json answers one question: perilune chat --json "question"')
    asked = None if interactive else _question(question)
    opened = opt.open_model(model, ram, threads, int4, context, backbone, mirror, gpu, gpu_ram, text_only)
    opt.tell_speed(opened, backbone)
    media = attach.in_order(ctx, {"image": image, "audio": audio, "video": video})
    session = Session(opened, {"thinking": thinking, **sampling}, system, declared, attached=media)
    with _traced(session.model, trace):
        if asked is None:
            session.run()
        else:
            _ask_once(session, asked, model, json)


@app.command()
def generate(
    prompt: Annotated[str | None, typer.Argument(help="Text to continue; without it, stdin.")] = None,
    model: opt.ModelOption = "nano",
    ids: Annotated[
        str | None, typer.Option("--ids", help="Token ids to continue, such as 1,2,3, instead of text.")
    ] = None,
    temperature: opt.TemperatureOption = None,
    top_p: opt.TopPOption = None,
    top_k: opt.TopKOption = None,
    min_p: opt.MinPOption = None,
    max_tokens: opt.MaxTokensOption = RAW_MAX_TOKENS,
    seed: opt.SeedOption = None,
    stop: opt.StopOption = None,
    threads: opt.ThreadsOption = None,
    ram: opt.RamOption = None,
    gpu: opt.GpuOption = False,
    gpu_ram: opt.GpuRamOption = None,
    context: opt.ContextOption = None,
    backbone: opt.BackboneOption = opt.BACKBONE_DEFAULT,
    mirror: opt.MirrorOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    json: opt.JsonOption = False,
) -> None:
    """Continue a text as it is, with no chat template."""
    from perilune.cli import output

    sampling = opt.given(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        max_tokens=max_tokens,
        seed=seed,
        stop=stop,
    )
    given = _parse_ids(ids) if ids is not None else _question(prompt)
    opened = opt.open_model(model, ram, threads, int4, context, backbone, mirror, gpu, gpu_ram, text_only=True)
    opt.tell_speed(opened, backbone)
    if json:
        done = opened.generate(given, **sampling)
        output.print_json(
            {
                "model": model,
                "text": done.text,
                "ids": list(done.ids),
                "finish_reason": done.finish_reason,
                "usage": output.usage_json(done.usage),
                "timings": output.timings_json(done.usage),
            }
        )
        return
    with opened.generate_stream(given, **sampling) as stream:
        for text in stream:
            sys.stdout.write(output.plain(text) if sys.stdout.isatty() else text)
            sys.stdout.flush()
        done = stream.completion
    sys.stdout.write("\n" if opened.tokenizer else ",".join(map(str, done.ids)) + "\n")


@app.command()
def version() -> None:
    """The versions of perilune and of what it stands on."""
    from importlib.metadata import version as installed

    from perilune import __version__

    parts = [f"{name} {installed(name)}" for name in ("torch", "numpy", "numba", "tiktoken")]
    typer.echo(f"perilune {__version__} ({', '.join(parts)}, python {sys.version.split()[0]})")


def _traced(model: Any, path: Path | None) -> AbstractContextManager[None]:
    if path is None:
        return nullcontext()
    from perilune.api.trace import recording

    return recording(model.transformer, path)


def _ask_once(session: Any, question: str, model: str, json: bool) -> None:
    from rich.console import Console

    from perilune.cli import output

    session.say(question)
    streamed = output.streaming(session.model)
    if json:
        reply = session.model.chat(session.messages, session.tools, **session.options)
        spent = attach.costs(session.attached, reply.media_tokens)
        output.print_json(output.reply_json(reply, model, streamed(), spent))
        return
    aside = Console(stderr=True)
    with (
        output.Progress(aside) as progress,
        session.model.stream(session.messages, session.tools, on_prefill=progress, **session.options) as stream,
    ):
        output.show_deltas(stream, session.console)
        reply = stream.reply
    if aside.is_terminal:
        spent = attach.costs(session.attached, reply.media_tokens)
        aside.print(output.footer(reply.usage, reply.finish_reason, streamed(), spent))


def _question(question: str | None) -> str:
    """The argument, or stdin when there is none."""
    if question is None:
        try:
            question = sys.stdin.read(MAX_STDIN_CHARACTERS + 1)
        except UnicodeDecodeError as error:
            raise RequestError(f"stdin is not {error.encoding} text: {error.reason}") from None
        if len(question) > MAX_STDIN_CHARACTERS:
            raise RequestError(f"stdin holds more than {MAX_STDIN_CHARACTERS} characters")
    if not question.strip():
        raise RequestError("nothing was asked: give a text as an argument or on stdin")
    return question


def _read_tools(path: Path) -> list[dict[str, Any]]:
    import json

    try:
        if path.stat().st_size > MAX_TOOLS_BYTES:
            raise MessageError(f"{path} is larger than {MAX_TOOLS_BYTES} bytes")
        tools = json.loads(path.read_bytes())
    except OSError as error:
        raise MessageError(f"--tools {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise MessageError(f"--tools {path} is not JSON: {str(error)[:120]}") from None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise MessageError(f'--tools {path} must hold a list such as [{{"type": "function", "function": …}}]')
    return tools


def _parse_ids(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise RequestError(f"--ids takes token ids such as 1,2,3, got {text[:40]!r}")
    return [int(part) for part in parts]
