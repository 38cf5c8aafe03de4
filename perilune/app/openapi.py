"""What the page's own endpoints take and tell, for /openapi.json. Limits come from where they are checked."""

from __future__ import annotations

from typing import Any

from perilune.app import chats, export, files, projects, replies
from perilune.app.asked import API, MARK
from perilune.app.extract import LONGEST_FILE_NAME
from perilune.app.history import TITLE_CHARACTERS
from perilune.engine.types import MAX_NEW_TOKENS, MAX_TEMPERATURE
from perilune.server.guard import LONGEST_KEY
from perilune.server.openapi import ANY, BOOLEAN, TEXT, Schema, body, does, named_in_path, number

ID: Schema = {"type": ["string", "null"], "maxLength": 64}
CHANGE = {"name": MARK, "in": "header", "required": True, "schema": {"const": "1"}}
NAME = named_in_path()
FIELDS_OF_PROJECT: dict[str, Schema] = {
    "name": {**TEXT, "minLength": 1, "maxLength": projects.LONGEST_NAME},
    "instructions": {"type": ["string", "null"], "maxLength": projects.LONGEST_INSTRUCTIONS},
    "files": {"type": ["array", "null"], "maxItems": projects.MOST_FILES, "items": {**TEXT, "maxLength": 64}},
}
TITLE: Schema = {"type": ["string", "null"], "maxLength": TITLE_CHARACTERS}
PART: Schema = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"type": {"const": kind}, kind: TEXT},
            "required": ["type", kind],
            "additionalProperties": False,
        }
        for kind in ("text", "file")
    ]
}
MESSAGE: dict[str, Schema] = {
    "parent": ID,
    "content": {"type": "array", "minItems": 1, "maxItems": chats.MOST_PARTS, "items": PART},
}
REPLY: dict[str, Schema] = {
    "parent": {**TEXT, "minLength": 1, "maxLength": 64},
    "thinking": BOOLEAN,
    "max_tokens": number(1, MAX_NEW_TOKENS, "integer"),
    "temperature": number(0, MAX_TEMPERATURE),
    "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
    "system": {"type": ["string", "null"], "maxLength": replies.LONGEST_SYSTEM},
    "alternatives": number(0, replies.MOST_ALTERNATIVES, "integer"),
    "routing": BOOLEAN,
}
IMPORT: dict[str, Schema] = {
    "form": {"const": export.FORM},
    "version": {"const": export.VERSION},
    "exported": ANY,
    **{name: {"type": "array", "items": {"type": "object"}} for name in ("files", "projects", "chats")},
    "tutor": {"type": ["object", "null"]},
}
TUTOR: dict[str, Schema] = {
    "subjects": {"type": "array"},
    "plan": {"type": "object"},
    "mastery": {"type": "object"},
}


def _query(name: str, schema: Schema, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _get(summary: str, *parameters: dict[str, Any], told: str = "application/json") -> dict[str, Any]:
    return {"get": does(summary, told, parameters=list(parameters))}


def _change(
    method: str, summary: str, *parameters: dict[str, Any], status: str = "200", **more: Any
) -> dict[str, dict[str, Any]]:
    return {method: does(summary, status=status, parameters=[CHANGE, *parameters], **more)}


_CHATS = (
    _query("project", TEXT),
    _query("query", {**TEXT, "maxLength": chats.LONGEST_QUERY}),
    _query("limit", {"type": "integer", "minimum": 1, "maximum": chats.MOST_LISTED}),
    _query("before", {"type": "number", "minimum": 0, "exclusiveMaximum": 1e12}),
)
_LINES = (
    _query("from", {"type": "integer", "minimum": 1, "maximum": 10**9}),
    _query("to", {"type": "integer", "minimum": 1, "maximum": 10**9 + files.MOST_LINES}),
    _query("part", TEXT),
)
_BYTES = {"application/octet-stream": {"schema": {**TEXT, "minLength": 1}}}
_UPLOAD = {"requestBody": {"required": True, "content": _BYTES}}
_FILE_NAME = _query("name", {**TEXT, "minLength": 1, "maxLength": LONGEST_FILE_NAME}, required=True)
_FORM = _query("format", {"enum": ["markdown", "json"]})
_KEY = body({"key": {**TEXT, "minLength": 1, "maxLength": LONGEST_KEY}}, "key")
_PATHS: dict[str, dict[str, Any]] = {
    "/state": _get("What is served, and who asks."),
    "/session": {
        **_change("post", "Begins a session with a key; a cookie stands for it.", **_KEY),
        **_change("delete", "Ends it."),
    },
    "/chats": {
        **_get("Chats, the last used first; with a query, those that say it.", *_CHATS),
        **_change("post", "A new chat.", status="201", **body({"project": ID, "title": TITLE})),
    },
    "/chats/{name}": {
        **_get("A chat with all its messages.", NAME),
        **_change(
            "patch",
            "Its title, its project, the branch that is shown.",
            NAME,
            **body({"title": TITLE, "leaf": ID, "project": ID}),
        ),
        **_change("delete", "Deletes it for good, with files that nothing else uses.", NAME),
    },
    "/chats/{name}/messages": _change("post", "A message.", NAME, status="201", **body(MESSAGE, "content")),
    "/chats/{name}/replies": _change("post", "Begins a reply.", NAME, status="201", **body(REPLY, "parent")),
    "/chats/{name}/export": _get("A chat as a file.", NAME, _FORM),
    "/replies/{name}/events": _get(
        "What comes of a reply, as server-sent events with numbers.",
        *(NAME, _query("after", {"type": "integer", "minimum": 0, "maximum": 10**11})),
        told="text/event-stream",
    ),
    "/replies/{name}/stop": _change("post", "Ends a reply; it stays with what it has.", NAME, **body({})),
    "/replies/{name}/answer": _change("post", "Ends its reasoning; it answers now.", NAME, **body({})),
    "/files": _change("post", "Takes a file in: the body is the file.", _FILE_NAME, status="201", **_UPLOAD),
    "/files/{name}": {
        **_get("What is known of a file: its parts, what it costs, whether it was read.", NAME),
        **_change("delete", "Deletes a file that nothing uses.", NAME),
    },
    "/files/{name}/content": _get("Its bytes.", NAME, told="application/octet-stream"),
    "/files/{name}/text": _get("Lines of its text.", NAME, *_LINES),
    "/projects": {
        **_get("Projects."),
        **_change("post", "A new project.", status="201", **body(FIELDS_OF_PROJECT, "name")),
    },
    "/projects/{name}": {
        **_get("A project.", NAME),
        **_change("patch", "Changes it.", NAME, **body(FIELDS_OF_PROJECT)),
        **_change("delete", "Deletes it; its chats stay.", NAME),
    },
    "/export": _get("Everything of a user's."),
    "/import": _change("post", "Takes an export in.", status="201", **body(IMPORT, "form", "version")),
    "/tutor": {
        **_get("What the tutor knows of the learner."),
        **_change("patch", "Changes it.", **body(TUTOR)),
    },
}
PATHS: dict[str, dict[str, Any]] = {
    "/": _get("The page.", told="text/html"),
    "/app": _get("The page.", told="text/html"),
    "/app/{path}": {
        "get": does("A file of the page.", "*/*", parameters=[{**NAME, "name": "path"}]),
    },
    **{API + path: told for path, told in _PATHS.items()},
}
