"""Stop strings in streamed text: whatever could be the beginning of one is held back until it is decided."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Feed text piece by piece; what comes out never holds a stop string, wherever the pieces were cut."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.matched: str | None = None
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that is certain now. After a match (`matched` is set) nothing more comes."""
        if self.matched is not None:
            return ""
        if not self.stops:
            return text
        self._held += text
        places = [(self._held.find(stop), stop) for stop in self.stops if stop in self._held]
        if places:
            # The one complete first wins, so that the cut of the pieces cannot matter.
            at, self.matched = min(places, key=lambda place: (place[0] + len(place[1]), place[0]))
            certain, self._held = self._held[:at], ""
            return certain
        keep = self._undecided()
        certain, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return certain

    def finish(self) -> str:
        """What was held back, once no more text comes."""
        rest, self._held = self._held, ""
        return rest

    def _undecided(self) -> int:
        """Length of the longest tail that could still grow into a stop string."""
        longest = max(len(stop) for stop in self.stops) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-size:]
            if any(stop.startswith(tail) for stop in self.stops):
                return size
        return 0
