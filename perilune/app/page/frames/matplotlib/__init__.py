"""What the page's Python has of matplotlib: a small pyplot that draws SVG."""

from typing import Any


def use(backend: str, **named: Any) -> None:
    """There is one way to draw."""


def __getattr__(name: str) -> Any:
    raise AttributeError(f"matplotlib.{name} is not here: this page's Python has a small matplotlib.pyplot only")
