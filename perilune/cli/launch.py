"""`perilune launch`: a coding agent, or any program, that talks to a perilune server."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def launch(
    ctx: typer.Context,
    program: Annotated[str, typer.Argument(help="claude, codex, opencode, aider, or any program for these SDKs.")],
    url: Annotated[str, typer.Option("--url", help="Where the server listens.")] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None, typer.Option("--api-key", envvar="PERILUNE_API_KEY", help="The key it asks for.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the settings and start nothing.")] = False,
) -> None:
    """Start a coding agent on your own model: everything after its name goes to it, and its own settings stay."""
    from perilune.server.clients import ask_server, find_program, settings_for

    path = "" if show else find_program(program)
    at = ask_server(url, api_key)
    settings = settings_for(os.path.basename(program), at)
    if show:
        for name, value in settings.environment.items():
            typer.echo(f"{name}={value}")
        typer.echo(" ".join((program, *settings.arguments, *ctx.args)))
        return
    typer.echo(f"{program} talks to {at.model} at {at.url}", err=True)
    words = [program, *settings.arguments, *ctx.args]
    os.execve(path, words, {**os.environ, **settings.environment})
