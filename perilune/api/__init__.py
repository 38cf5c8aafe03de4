"""The front door of the library: `load` a model directory, then chat with it or continue text."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perilune.api.model import Model, load
    from perilune.api.streams import ChatReply, Completion, ReplyStream, TextStream

__all__ = ["ChatReply", "Completion", "Model", "ReplyStream", "TextStream", "load"]


def __getattr__(name: str) -> Any:
    # On first use, so that finding a model directory does not wait for torch.
    if name not in __all__:
        raise AttributeError(f"module 'perilune.api' has no attribute {name!r}")
    home = "model" if name in ("Model", "load") else "streams"
    return getattr(import_module(f"perilune.api.{home}"), name)
