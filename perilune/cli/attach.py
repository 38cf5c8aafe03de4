"""Pictures, sounds and clips on the command line: in the order in which they stand there, and what each costs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from perilune.media.parts import MediaItem

KINDS = ("image", "audio", "video")
_ORDER = "perilune.order"

ImageOption = Annotated[
    list[Path] | None, typer.Option("--image", help="Show it a picture; may be given several times.", metavar="FILE")
]
AudioOption = Annotated[
    list[Path] | None, typer.Option("--audio", help="Play it a sound; may be given several times.", metavar="FILE")
]
VideoOption = Annotated[
    list[Path] | None, typer.Option("--video", help="Show it a clip; may be given several times.", metavar="FILE")
]


class MediaCommand(TyperCommand):
    """A command that knows in which order its options were given: a parser tells it, but values come name by name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        *_, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[_ORDER] = [parameter.name for parameter in order if parameter.name in KINDS]
        return super().parse_args(ctx, args)


def in_order(ctx: typer.Context, given: Mapping[str, Sequence[Path] | None]) -> list[MediaItem]:
    """The media of a MediaCommand, kind by kind in `given`, as they stand on its command line."""
    of_kind = {kind: iter(paths or ()) for kind, paths in given.items()}
    return [attached(kind, next(of_kind[kind])) for kind in ctx.meta[_ORDER]]


def attached(kind: str, path: str | os.PathLike[str]) -> MediaItem:
    """A file as a medium; errors name it as the user did."""
    return MediaItem(kind, Path(path), os.fspath(path))


def user_message(text: str, media: Sequence[MediaItem]) -> dict[str, Any]:
    """Media stand before the text."""
    if not media:
        return {"role": "user", "content": text}
    said = [{"type": "text", "text": text}] if text else []
    return {"role": "user", "content": [*(item.part for item in media), *said]}


def costs(media: Sequence[MediaItem], tokens: Sequence[int]) -> list[dict[str, Any]]:
    """What the media of the last message take, of the tokens that all media of a conversation take."""
    last = tokens[len(tokens) - len(media) :]
    return [{"type": item.kind, "file": item.where, "tokens": count} for item, count in zip(media, last, strict=True)]
