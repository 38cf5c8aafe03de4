"""Checked reading of what a caller sent: every fault is a MessageError that names the field.

`where` is the path of a value as a client would write it, for example `messages[3].content[0].text`.
A key set to null counts as absent.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from perilune.errors import MessageError

MAX_DEPTH = 100
MAX_VALUES = 500_000


def text(value: Any, where: str) -> str:
    """A string that has an UTF-8 form."""
    if not isinstance(value, str):
        raise MessageError(f"{where} must be a string, got {kind(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise MessageError(
            f"{where} has a lone surrogate at character {error.start}, which no UTF-8 text can hold"
        ) from None
    return value


def optional_text(parent: Mapping[str, Any], key: str, where: str) -> str:
    """The string under a key, empty when the key is absent or null."""
    value = parent.get(key)
    return "" if value is None else text(value, f"{where}.{key}")


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MessageError(f"{where} must be an object, got {kind(value)}")
    return value


def sequence(value: Any, where: str) -> Sequence[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise MessageError(f"{where} must be a list, got {kind(value)}")
    return value


def at_most(limit: int, values: Sequence[Any], where: str) -> Sequence[Any]:
    """A list of no more than `limit` entries."""
    if len(values) > limit:
        raise MessageError(f"{where} holds {len(values)} entries, the limit is {limit}")
    return values


def whole_number(value: Any, where: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise MessageError(f"{where} must be a whole number from {low} to {high}")
    return value


def check_json(value: Any, where: str) -> None:
    """Refuse what JSON cannot say, and nesting or size that no real tool needs.

    The walk keeps its own stack, so depth costs no recursion; a cycle ends at the depth limit.
    """
    pending: list[tuple[Any, int]] = [(value, 0)]
    seen = 0
    while pending:
        item, depth = pending.pop()
        seen += 1
        if depth > MAX_DEPTH:
            raise MessageError(f"{where} is nested deeper than {MAX_DEPTH} levels")
        if seen > MAX_VALUES:
            raise MessageError(f"{where} holds more than {MAX_VALUES} values")
        if isinstance(item, Mapping):
            for key in item:
                text(key, f"a key in {where}")
            pending += [(child, depth + 1) for child in item.values()]
        elif isinstance(item, list | tuple):
            pending += [(child, depth + 1) for child in item]
        else:
            _check_scalar(item, where)


def dump_json(value: Any, where: str, separators: tuple[str, str] = (", ", ": ")) -> str:
    """JSON as the published template writes it: Python numbers, insertion order, non-ASCII kept."""
    check_json(value, where)
    return json.dumps(value, ensure_ascii=False, separators=separators, default=dict)


def kind(value: Any) -> str:
    """The JSON word for the type of a value."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    if isinstance(value, Mapping):
        return "an object"
    return names.get(type(value), "a list" if isinstance(value, list | tuple) else type(value).__name__)


def _check_scalar(item: Any, where: str) -> None:
    if isinstance(item, str):
        text(item, f"a string in {where}")
    elif isinstance(item, float):
        if not math.isfinite(item):
            raise MessageError(f"{where} holds {item}, which is not JSON")
    elif isinstance(item, int):
        # Longer integers would raise inside the JSON writer (the interpreter's digit limit is 4300).
        if item.bit_length() > 10_000:
            raise MessageError(f"{where} holds a whole number of more than 3,000 digits")
    elif item is not None:
        raise MessageError(f"{where} holds a {type(item).__name__}, which is not JSON")
