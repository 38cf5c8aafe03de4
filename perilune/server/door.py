"""What a page needs to stand on a server: what it is made with, and what the server asks of it.

The server knows no page; whoever starts it brings one along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.routing import Route

from perilune.api.model import Model
from perilune.server.kept import Kept
from perilune.server.running import Desk


@dataclass(frozen=True)
class Served:
    """What a page works with: the model under its name, who writes its replies, where things are kept, and the keys."""

    model: Model
    name: str
    desk: Desk
    kept: Kept
    keys: tuple[str, ...] = ()


class Door(Protocol):
    """A page on a server. `paths` describe its routes for /openapi.json."""

    routes: list[Route]
    paths: dict[str, dict[str, Any]]

    def is_open(self, path: str) -> bool:
        """Whether anybody may ask for it, since it says nothing of anybody."""
        ...

    def is_static(self, path: str) -> bool:
        """Whether it is a file of the page, which frames that have no origin may load too."""
        ...

    def owner(self, request: Request) -> str | None:
        """Whose session a request carries, if any."""
        ...

    def close(self) -> None:
        """The server ends: whatever is being written ends here."""
        ...


MakeDoor = Callable[[Served], Door]
