"""One JSON Schema as a TypeScript type, in the published spelling.

Schemas are walked in the published order, because a reference resolves only to definitions already met:
definitions of an object first, then its additionalProperties, then its properties by name. Keys arrive
sorted and the depth is capped by the caller.
"""

import json
from dataclasses import dataclass, field
from typing import Any

INDENT = "  "
DEFINITIONS = "#/$defs/"

UNION_WORDS = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "{}",
    "array": "Array<any>",
}
ENUM_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
}
CONSTRAINTS = {
    "string": ("maxLength", "minLength", "pattern"),
    "number": ("maximum", "minimum"),
    "integer": ("maximum", "minimum"),
    "array": ("maxItems", "minItems"),
}


class Inexpressible(Exception):
    """A schema that the format cannot spell."""


@dataclass
class Scope:
    """What the walk over one function has met so far."""

    definitions: dict[str, Any] = field(default_factory=dict)
    refers_to_root: bool = False


@dataclass(frozen=True)
class ObjectType:
    """The fields of an object, already written one indent deeper, in name order."""

    required: list[str]
    optional: list[str]
    by_name: list[str]
    rest: list[str]

    def text(self, indent: str) -> str:
        return _braces([*self.required, *self.optional, *self.rest], indent)

    def plain_order(self) -> str:
        """The form of the root interface: by name alone, and without the rest of the keys."""
        return _braces(self.by_name, "")


def type_of(schema: Any, scope: Scope, indent: str) -> str:
    if isinstance(schema, bool):
        return "any" if schema else "null"
    if not isinstance(schema, dict):
        raise Inexpressible("a schema is an object or a boolean")
    if "$ref" in schema:
        return _reference(schema["$ref"], scope)
    if "anyOf" in schema:
        return " | ".join([type_of(member, scope, indent) for member in schema["anyOf"]])
    if "enum" in schema:
        return _enum(schema)
    if "type" in schema:
        return _typed(schema, scope, indent)
    if schema:
        raise Inexpressible("a schema needs one of $ref, anyOf, enum or type")
    return "any"


def object_type(schema: dict[str, Any], scope: Scope, indent: str) -> ObjectType:
    if schema.get("$defs"):
        scope.definitions.update(schema["$defs"].items())
    inner = indent + INDENT
    rest = _rest(schema.get("additionalProperties"), scope, inner)
    if "properties" not in schema:
        return ObjectType([], [], [], rest)
    properties = schema["properties"]
    optional_names = set(properties.keys()) - set(schema.get("required", []))
    required, optional, by_name = [], [], []
    for name, prop in properties.items():
        is_optional = name in optional_names
        by_name.append(_field(name, prop, is_optional, scope, inner))
        (optional if is_optional else required).append(by_name[-1])
    return ObjectType(required, optional, by_name, rest)


def comment(description: Any, indent: str) -> list[str]:
    """A description as comment lines; an empty line stays empty."""
    if not description:
        return []
    return [f"{indent}// {line}" if line else "" for line in description.split("\n")]


def _braces(parts: list[str], indent: str) -> str:
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}" if parts else "{}"


def _rest(extra: Any, scope: Scope, inner: str) -> list[str]:
    if extra is None:
        return []
    word = "never" if extra is False else type_of(extra, scope, inner)
    return [f"{inner}[k: string]: {word}"]


def _field(name: str, schema: Any, is_optional: bool, scope: Scope, indent: str) -> str:
    written = type_of(schema, scope, indent)
    lines = _documentation(schema, indent)
    default = schema.get("default") if isinstance(schema, dict) else None
    if default is not None:
        lines.append(f"{indent}// Default: {_default(default)}")
    return "\n".join([*lines, f"{indent}{name}{'?' if is_optional else ''}: {written}"])


def _documentation(schema: Any, indent: str) -> list[str]:
    if not isinstance(schema, dict):
        return []
    lines = comment(schema.get("description"), indent)
    shown = [f"{key}: {schema[key]}" for key in _constraint_keys(schema) if key in schema]
    if shown:
        lines.append(f"{indent}// {', '.join(shown)}")
    return lines


def _constraint_keys(schema: dict[str, Any]) -> tuple[str, ...]:
    word = schema.get("type")
    if not isinstance(word, str) or any(key in schema for key in ("$ref", "anyOf", "enum")):
        return ()
    return CONSTRAINTS.get(word, ())


def _default(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def _reference(target: Any, scope: Scope) -> str:
    if target == "#":
        scope.refers_to_root = True
        return "parameters"
    name = target.split("/")[-1]
    if not target.startswith(DEFINITIONS) or not isinstance(scope.definitions.get(name), dict):
        raise Inexpressible(f"no definition {target} has been met")
    return name


def _enum(schema: dict[str, Any]) -> str:
    word = _enum_word(schema["type"]) if "type" in schema else None
    allowed = ENUM_TYPES.get(word) if isinstance(word, str) else None
    for value in schema["enum"]:
        if allowed is not None and value is not None and not isinstance(value, allowed):
            raise Inexpressible(f"the enum value {value!r} is not of type {word}")
    return " | ".join([f'"{value}"' if isinstance(value, str) else str(value) for value in schema["enum"]])


def _enum_word(declared: Any) -> Any:
    """The one type that enum values are checked against, beside null."""
    if not isinstance(declared, list):
        return declared
    if len(declared) == 1:
        return declared[0]
    if len(declared) != 2 or "null" not in declared:
        raise Inexpressible("an enum has one type, or one type and null")
    return declared[1] if declared[0] == "null" else declared[0]


def _typed(schema: dict[str, Any], scope: Scope, indent: str) -> str:
    word = schema["type"]
    if isinstance(word, list):
        return " | ".join([UNION_WORDS[member] for member in word])
    if word == "object":
        return object_type(schema, scope, indent).text(indent)
    if word == "array":
        return _array(schema.get("items"), scope, indent)
    # Anything else is copied. What is not a string prints alone, but cannot be joined with others.
    return "number" if word == "integer" else word


def _array(items: Any, scope: Scope, indent: str) -> str:
    if not items:
        return "Array<any>"
    inner = indent + INDENT
    lines = _documentation(items, inner)
    if not lines:
        return f"Array<{type_of(items, scope, indent)}>"
    return "\n".join(["Array<", *lines, inner + type_of(items, scope, inner), f"{indent}>"])
