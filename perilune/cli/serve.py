"""`perilune serve`: a model behind the API that OpenAI's clients speak."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perilune.cli import options as opt
from perilune.errors import RequestError

if TYPE_CHECKING:
    from perilune.server.door import MakeDoor
    from perilune.server.kept import Kept

OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


def serve(
    model: opt.ModelOption = "nano",
    name: Annotated[str | None, typer.Option("--name", help="What clients call the model.")] = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen; others than this machine need a key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key: opt.ApiKeyOption = None,
    api_key_file: Annotated[Path | None, typer.Option("--api-key-file", help="Keys, one a line.")] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option("--allow-origin", help="Pages of this site may call, such as https://a.example.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, max=1024, help="Requests that may be open at a time.")] = 64,
    most_of_key: Annotated[
        int | None, typer.Option("--most-of-key", min=1, help="Requests of one key that may be open at a time.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Where files, responses and batches are kept (default: the user's state folder)."),
    ] = None,
    allow_remote_media: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-remote-media",
            help="A host that pictures, sounds and clips may be fetched from, such as example.org or *.example.org.",
        ),
    ] = None,
    strict_k2: Annotated[
        bool, typer.Option("--strict-k2", help="Refuse chats that K2's hosted service would refuse.")
    ] = False,
    ray: Annotated[
        int | None,
        typer.Option(
            "--ray",
            min=1,
            max=256,
            help="Replicas on the Ray cluster of RAY_ADDRESS, or on this machine, behind one address; "
            "--threads is for each of them, --ram for all together. SIGHUP replaces them one by one.",
        ),
    ] = None,
    threads: opt.ThreadsOption = None,
    ram: opt.RamOption = None,
    gpu: opt.GpuOption = False,
    gpu_ram: opt.GpuRamOption = None,
    context: opt.ContextOption = None,
    backbone: opt.BackboneOption = opt.BACKBONE_DEFAULT,
    text_only: opt.TextOnlyOption = False,
    mirror: opt.MirrorOption = None,
    int4: opt.Int4Option = opt.INT4_DEFAULT,
    open_browser: OpenOption = False,
) -> None:
    """Serve a model to OpenAI's clients, and a page to people, on this machine only unless told otherwise."""
    from perilune.media.fetch import Remote
    from perilune.server.app import make_app
    from perilune.server.app import serve as run

    keys = _keys(api_key, api_key_file, host)
    remote = Remote(allow_remote_media) if allow_remote_media else None
    served = name or (Path(model).name if "/" in model else model)
    asked = dict(keys=keys, origins=tuple(allow_origin or ()), strict_k2=strict_k2, most=most, most_of_key=most_of_key)
    page = None if ray else find_page()
    tell = partial(_tell, served, host, page is not None, open_browser)
    if ray is not None:
        from perilune.fleet.serve import serve_fleet

        if remote is not None or gpu:
            raise RequestError("--ray takes neither --allow-remote-media nor --gpu yet: leave them out")
        load = opt.given(ram=ram, threads=threads, int4=int4, context=context, backbone=backbone, mirrors=mirror)
        load |= {"text_only": text_only}
        serve_fleet(ray, model, served, load, host, port, kept=kept_of(state, served, port), on_ready=tell, **asked)
        return
    opened = opt.open_model(model, ram, threads, int4, context, backbone, mirror, gpu, gpu_ram, text_only)
    opt.tell_speed(opened, backbone)
    kept = kept_of(state, served, port)
    run(make_app(opened, served, kept=kept, remote=remote, page=page, **asked), host, port, tell)


def kept_of(state: Path | None, served: str, port: int) -> Kept:
    """What is kept of this model, at whichever port it is served; where another server holds that, this port's own."""
    from perilune.server.kept import HeldError, Kept, state_folder

    if state is not None:
        return Kept(state)
    try:
        return Kept(state_folder(served))
    except HeldError:
        folder = state_folder(f"{served}-{port}")
        typer.echo(f"Another server of {served} runs; chats and files of this one lie apart, in {folder}", err=True)
        return Kept(folder)


def _keys(api_key: str | None, file: Path | None, host: str) -> tuple[str, ...]:
    """Those that were given; where others can reach the server and none was, one is made and told."""
    from perilune.server.guard import is_loopback, new_key, read_keys

    keys = read_keys(api_key, file)
    if keys or is_loopback(host):
        return keys
    made = new_key()
    typer.echo(f"others can reach {host}, so a key was made: {made}", err=True)
    return (made,)


def find_page() -> MakeDoor | None:
    """The page, unless its folder was deleted: the server runs without it."""
    try:
        from perilune.app.mount import Page
    except ModuleNotFoundError as error:
        if error.name not in ("perilune.app", "perilune.app.mount"):
            raise
        return None
    return Page


def _tell(served: str, host: str, has_page: bool, open_browser: bool, port: int) -> None:
    typer.echo(f"{served} is served at http://{host}:{port}/v1", err=True)
    if not has_page:
        return
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/"
    typer.echo(f"the page is at {address}", err=True)
    if open_browser:
        import webbrowser

        webbrowser.open(address)
