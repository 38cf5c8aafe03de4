"""`perilune app`: a server and its page, opened in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perilune.cli import options as opt
from perilune.cli.serve import find_page, serve
from perilune.errors import RequestError


def page(
    model: opt.ModelOption = "nano",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key: opt.ApiKeyOption = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Where chats and files are kept (default: the user's state folder).")
    ] = None,
    threads: opt.ThreadsOption = None,
    ram: opt.RamOption = None,
    gpu: opt.GpuOption = False,
    context: opt.ContextOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
) -> None:
    """Open the page: chats, documents, pictures and sounds with a model of your own. It is `serve --open`."""
    if find_page() is None:
        raise RequestError("this installation has no page; perilune chat talks to a model in the terminal")
    given = {"threads": threads, "ram": ram, "gpu": gpu, "context": context, "int4": int4}
    serve(model=model, port=port, api_key=api_key, state=state, open_browser=True, **given)
