"""`perilune store ls|rm|verify`: what the prefix store holds, removing it, checking it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perilune.cli import options as opt
from perilune.errors import RequestError

if TYPE_CHECKING:
    from perilune.engine.store import Entry, NodeKey, PrefixStore

SHOWN_DIGITS = 12
SHOWN_MATCHES = 5

store_app = typer.Typer(no_args_is_help=True, help="What models have read, kept on disk for the next time.")

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="The store (default: $PERILUNE_STORE, or the user's cache folder)."),
]
StoreSizeOption = Annotated[
    str | None, typer.Option("--store-size", metavar="SIZE", help='The most the store may hold, such as "8GiB".')
]


def open_store(directory: Path | None, size: str | None = None) -> PrefixStore:
    """The store that --store and --store-size name."""
    from perilune.api.locate import parse_bytes
    from perilune.engine.store import DEFAULT_MAX_BYTES, PrefixStore
    from perilune.engine.store_folder import default_directory

    try:
        limit = DEFAULT_MAX_BYTES if size is None else parse_bytes(int(size) if size.isdecimal() else size)
    except (RequestError, ValueError):
        raise RequestError(f'--store-size takes a size such as "8GiB" or "500MB", got {str(size)[:40]!r}') from None
    if directory is not None and directory.exists() and not directory.is_dir():
        raise RequestError(f"--store {directory} is a file; give a folder")
    return PrefixStore(default_directory() if directory is None else directory, limit)


@store_app.command()
def ls(store: StoreOption = None, json: opt.JsonOption = False) -> None:
    """List what is stored, the last used first."""
    from perilune.cli.output import print_json
    from perilune.show import human

    opened = open_store(store)
    entries = opened.entries()
    total = sum(entry.nbytes for entry in entries)
    if json:
        nodes = [_entry_json(entry) for entry in entries]
        print_json({"directory": str(opened.directory), "bytes": total, "nodes": nodes})
        return
    console = Console(highlight=False)
    if entries:
        console.print(_table(entries))
    console.print(Text(f"{_count(len(entries))}, {human(total, 'B')} in {printable(str(opened.directory))}"))


@store_app.command()
def rm(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY", help="The beginning of a node's key; what builds on it goes too."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every node.")] = False,
    store: StoreOption = None,
) -> None:
    """Remove nodes, and with each one all that was read after it."""
    if bool(keys) == everything:
        raise RequestError("give the beginning of a key (perilune store ls shows them), or --all")
    opened = open_store(store)
    if everything:
        removed = opened.clear()
    else:
        present = opened.present()
        removed = opened.remove([_find(prefix, present) for prefix in keys or []])
    typer.echo(f"removed {_count(removed)}")


@store_app.command()
def verify(
    store: StoreOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove damaged nodes.")] = False,
    json: opt.JsonOption = False,
) -> None:
    """Read and check everything; exit code 1 when something damaged stays."""
    from perilune.cli.output import print_json
    from perilune.show import human

    opened = open_store(store)
    aside = Console(stderr=True, highlight=False)
    with aside.status("checking") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"checked {human(done, 'B')} of {human(total, 'B')}")

        report = opened.verify(delete=delete, progress=progress if aside.is_terminal else None)
    left = {key.digest for key in opened.present()}
    remaining = [damage for damage in report.damaged if damage.key.digest in left]
    if json:
        damaged = [{"key": damage.key.digest, "reason": damage.reason} for damage in report.damaged]
        done = {"nodes": report.nodes, "bytes": report.nbytes, "damaged": damaged}
        print_json({"directory": str(opened.directory), **done, "removed": len(damaged) - len(remaining)})
    else:
        for damage in report.damaged:
            typer.echo(f"{damage.key.digest[:SHOWN_DIGITS]} {printable(damage.reason)}")
        removed = f", {len(report.damaged) - len(remaining)} removed" if delete else ""
        typer.echo(
            f"{_count(report.nodes)} whole ({human(report.nbytes, 'B')}), {len(report.damaged)} damaged{removed}"
        )
    raise typer.Exit(1 if remaining else 0)


def printable(text: str) -> str:
    """A label is a file's name: what could steer the terminal, or break a line, is shown and not obeyed."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _find(prefix: str, present: list[NodeKey]) -> NodeKey:
    matches = [key for key in present if prefix and key.digest.startswith(prefix.lower())]
    shown = repr(prefix[:70])
    if not matches:
        raise RequestError(f"no node's key begins with {shown}; perilune store ls shows the keys")
    if len(matches) > 1:
        some = ", ".join(key.digest[: max(SHOWN_DIGITS, len(prefix) + 4)] for key in matches[:SHOWN_MATCHES])
        more = ", …" if len(matches) > SHOWN_MATCHES else ""
        raise RequestError(f"{shown} is the beginning of {len(matches)} keys ({some}{more}); give more digits")
    return matches[0]


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key.digest,
        "parent": entry.parent.digest if entry.parent else None,
        "label": entry.label.encode("utf-8", "replace").decode(),  # a file name need not be text
        "tokens": entry.tokens,
        "bytes": entry.nbytes,
        "used": entry.used,
    }


def _table(entries: list[Entry]) -> Table:
    from perilune.show import human

    table = Table("key", "tokens", "size", "used", "label", box=None, padding=(0, 2))
    for column in table.columns[:4]:
        column.no_wrap = True
    for column in table.columns[1:3]:
        column.justify = "right"
    now = time.time()
    for entry in entries:
        words = [str(entry.tokens), human(entry.nbytes, "B"), _ago(now - entry.used)]
        table.add_row(entry.key.digest[:SHOWN_DIGITS], *words, Text(printable(entry.label), overflow="fold"))
    return table


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "now"


def _count(nodes: int) -> str:
    return f"{nodes} node{'s' * (nodes != 1)}"
