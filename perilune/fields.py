"""Typed reading of a JSON object: every refusal names the field, the value and what would be right."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from perilune.errors import ConfigError


def show_value(value: object, limit: int = 80) -> str:
    """A value as JSON-like text, cut to a bounded length so that a hostile file cannot flood the message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, or nesting without end
        text = f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= limit else text[:limit] + "…"


def finite(number: str) -> float:
    """A parse_float and parse_constant for JSON from elsewhere: it knows no NaN and no infinity, and what is told on
    must be JSON again."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:20]} is not a finite number")
    return value


def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object_pairs_hook: a key that occurs twice has no defined value, so it is refused."""
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ConfigError(f"the key {show_value(twice)} occurs twice in one object; keep one of them")
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise ConfigError(f"{name} is not a JSON number; write a finite number")


def read_json_object(path: Path, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a small file; anything else is a ConfigError with the file's name."""
    try:
        if not path.is_file():
            raise ConfigError(f"no file {path.name} in {path.parent}; a model directory needs one")
        size = path.stat().st_size
        if size > max_bytes:
            raise ConfigError(f"{path.name} has {size} bytes; at most {max_bytes} are read")
        raw = json.loads(path.read_bytes(), object_pairs_hook=refuse_twice, parse_constant=_refuse_constant)
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name} is not valid JSON: {show_value(str(error), 200)}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name} must hold a JSON object, not {type(raw).__name__}")
    return raw


class Fields:
    """One or more objects read as one; a field written in two places (or two spellings) must agree.

    Null counts as absent, as the published configs use it.
    """

    def __init__(self, *places: tuple[str, dict[str, Any]]):
        self.places = places

    def find(self, *names: str, strict: bool = True) -> tuple[str, Any]:
        """(full name, value) of the first spelling that is present; (first name, None) if there is none."""
        found = [
            (prefix + name, place[name])
            for prefix, place in self.places
            for name in names
            if place.get(name) is not None
        ]
        if not found:
            return self.places[0][0] + names[0], None
        for name, value in found[1:]:
            if strict and value != found[0][1]:
                first = f"{found[0][0]} = {show_value(found[0][1])}"
                raise ConfigError(f"{first} but {name} = {show_value(value)}; they must agree")
        return found[0]

    def present(self, *names: str) -> bool:
        return self.find(*names, strict=False)[1] is not None

    def integer(self, *names: str, low: int, high: int, default: int | None = None) -> int:
        name, value = self.find(*names)
        value = self._or_default(name, value, default, f"an integer from {low} to {high}")
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(name, value, f"an integer from {low} to {high}")
        return value

    def optional_integer(self, *names: str, low: int, high: int) -> int | None:
        return self.integer(*names, low=low, high=high) if self.present(*names) else None

    def number(self, *names: str, low: float, high: float, default: float | None = None) -> float:
        name, value = self.find(*names)
        wanted = f"a number from {low:g} to {high:g}"
        value = self._or_default(name, value, default, wanted)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(name, value, wanted)
        if not low <= value <= high or not math.isfinite(value):
            self.refuse(name, value, wanted)
        return float(value)

    def flag(self, *names: str, default: bool) -> bool:
        name, value = self.find(*names)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(name, value, "true or false")
        return value

    def word(self, *names: str, choices: tuple[str, ...], default: str, strict: bool = True) -> str:
        name, value = self.find(*names, strict=strict)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            self.refuse(name, value, "one of " + ", ".join(choices) if len(choices) > 1 else repr(choices[0]))
        return value

    def table(self, *names: str) -> tuple[str, dict[str, Any] | None]:
        name, value = self.find(*names)
        if value is not None and not isinstance(value, dict):
            self.refuse(name, value, "a JSON object")
        return name, value

    def refuse(self, name: str, value: object, wanted: str) -> NoReturn:
        raise ConfigError(f"{name} = {show_value(value)} is not possible here; it must be {wanted}")

    @staticmethod
    def _or_default(name: str, value: Any, default: Any, wanted: str) -> Any:
        if value is None and default is None:
            raise ConfigError(f"{name} is missing; it must be {wanted}")
        return default if value is None else value
