"""Run, own and understand a Kimi-K2.6-class model on your own machine.

model = perilune.load("nano"); print(model.chat([{"role": "user", "content": "Hello!"}]).content)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perilune.api import Model, load
    from perilune.engine.types import SamplingParams
    from perilune.text.chat import Rendered, render
    from perilune.text.reply import Reply, ReplyParser, parse
    from perilune.text.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = [
    "Model",
    "Rendered",
    "Reply",
    "ReplyParser",
    "SamplingParams",
    "Tokenizer",
    "load",
    "parse",
    "render",
]

# Names are fetched when first used: reading a config or splitting text should not wait for torch.
_HOMES = {
    "Model": "perilune.api",
    "load": "perilune.api",
    "SamplingParams": "perilune.engine.types",
    "Rendered": "perilune.text.chat",
    "render": "perilune.text.chat",
    "Reply": "perilune.text.reply",
    "ReplyParser": "perilune.text.reply",
    "parse": "perilune.text.reply",
    "Tokenizer": "perilune.text.tokenizer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'perilune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
