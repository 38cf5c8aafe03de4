"""GET /openapi.json: what the server takes and tells, for programs that make clients and tests from it.

Field by field where a request is checked field by field; what stands inside messages and tools is what the protocols'
own documents say. Limits come from where they are checked.
"""

from __future__ import annotations

from typing import Any

import perilune
from perilune.api.embeddings import FORMATS, MOST_TEXTS
from perilune.api.openai import MOST_CHOICES
from perilune.api.responses import LONGEST_NAME, LONGEST_VALUE, MOST_PAIRS
from perilune.engine.types import (
    MAX_BIAS,
    MAX_NEW_TOKENS,
    MAX_PRIORITY,
    MAX_SEED,
    MAX_STOP_CHARACTERS,
    MAX_STOP_STRINGS,
    MAX_TEMPERATURE,
    MAX_TOP_LOGPROBS,
)
from perilune.server.files import PURPOSES
from perilune.server.kept import MOST_LISTED

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": ["boolean", "null"]}
OBJECT: Schema = {"type": ["object", "null"]}
ANY: Schema = {}


def number(low: float, high: float, kind: str = "number") -> Schema:
    return {"type": [kind, "null"], "minimum": low, "maximum": high}


TOKENS = number(1, MAX_NEW_TOKENS, "integer")
TOP_P: Schema = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1}
TOP_K = number(0, 2**31 - 1, "integer")
TEMPERATURE = number(0, MAX_TEMPERATURE)
OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
STOP_STRING: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARACTERS}
STOPS: Schema = {"type": "array", "items": STOP_STRING, "maxItems": MAX_STOP_STRINGS}
BIASES: Schema = {"type": ["object", "null"], "additionalProperties": number(-MAX_BIAS, MAX_BIAS)}
METADATA: Schema = {
    "type": ["object", "null"],
    "maxProperties": MOST_PAIRS,
    "propertyNames": {"maxLength": LONGEST_NAME},
    "additionalProperties": {"type": "string", "maxLength": LONGEST_VALUE},
}
IGNORED = ("user", "metadata", "store", "service_tier", "prompt_cache_key", "safety_identifier", "stream_options")

CHAT_FIELDS: dict[str, Schema] = {
    **dict.fromkeys(IGNORED, ANY),
    "model": TEXT,
    "messages": {**OBJECTS, "minItems": 1},
    "tools": {**OBJECTS, "type": ["array", "null"]},
    "tool_choice": {"type": ["string", "object", "null"]},
    "parallel_tool_calls": BOOLEAN,
    "response_format": OBJECT,
    "structured_outputs": OBJECT,
    "stream": BOOLEAN,
    "n": number(1, MOST_CHOICES, "integer"),
    "max_tokens": TOKENS,
    "max_completion_tokens": TOKENS,
    "temperature": TEMPERATURE,
    "top_p": TOP_P,
    "top_k": TOP_K,
    "min_p": number(0, 1),
    "seed": number(0, MAX_SEED, "integer"),
    "stop": {"anyOf": [STOP_STRING, STOPS, {"type": "null"}]},
    "repetition_penalty": number(0.1, 10),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "logit_bias": BIASES,
    "logprobs": BOOLEAN,
    "top_logprobs": number(0, MAX_TOP_LOGPROBS, "integer"),
    "ignore_eos": BOOLEAN,
    "priority": number(0, MAX_PRIORITY, "integer"),
    "thinking": OBJECT,
    "reasoning_effort": ANY,
    "chat_template_kwargs": OBJECT,
}
MESSAGE_FIELDS: dict[str, Schema] = {
    **dict.fromkeys(("metadata", "service_tier", "context_management"), ANY),
    "model": TEXT,
    "messages": {**OBJECTS, "minItems": 1},
    "system": {"type": ["string", "array", "null"]},
    "max_tokens": TOKENS,
    "temperature": TEMPERATURE,
    "top_p": TOP_P,
    "top_k": TOP_K,
    "stop_sequences": {**STOPS, "type": ["array", "null"]},
    "stream": BOOLEAN,
    "tools": {**OBJECTS, "type": ["array", "null"]},
    "tool_choice": OBJECT,
    "thinking": OBJECT,
    "output_config": OBJECT,
}
RESPONSE_FIELDS: dict[str, Schema] = {
    **dict.fromkeys((*IGNORED, "include", "client_metadata", "max_tool_calls", "prompt_cache_retention"), ANY),
    **{name: {"type": "null"} for name in ("background", "conversation", "prompt", "top_logprobs")},
    "metadata": METADATA,
    "model": TEXT,
    "input": {"type": ["string", "array"]},
    "instructions": {"type": ["string", "null"]},
    "previous_response_id": {"type": ["string", "null"]},
    "store": BOOLEAN,
    "stream": BOOLEAN,
    "max_output_tokens": TOKENS,
    "temperature": TEMPERATURE,
    "top_p": TOP_P,
    "text": OBJECT,
    "reasoning": OBJECT,
    "tools": {**OBJECTS, "type": ["array", "null"]},
    "tool_choice": {"type": ["string", "object", "null"]},
    "parallel_tool_calls": BOOLEAN,
    "truncation": ANY,
}
SOME_TEXT: Schema = {"type": "string", "minLength": 1}
IDS: Schema = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
INPUT: Schema = {
    "anyOf": [
        *(SOME_TEXT, IDS),
        *({"type": "array", "minItems": 1, "maxItems": MOST_TEXTS, "items": one} for one in (SOME_TEXT, IDS)),
    ]
}
EMBEDDING_FIELDS: dict[str, Schema] = {
    "user": ANY,
    "model": TEXT,
    "input": INPUT,
    "encoding_format": {"enum": [*FORMATS, None]},
    "dimensions": {"type": ["integer", "null"], "minimum": 1},
}
BATCH_FIELDS: dict[str, Schema] = {
    "input_file_id": TEXT,
    "endpoint": {"const": "/v1/chat/completions"},
    "completion_window": {"const": "24h"},
    "metadata": OBJECT,
}
UPLOAD_FIELDS: dict[str, Schema] = {
    "file": {"type": "string", "format": "binary"},
    "purpose": {"enum": list(PURPOSES)},
}
ERROR: Schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "object"}}}


def body(fields: dict[str, Schema], *required: str, kind: str = "application/json") -> dict[str, Any]:
    schema = {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


def does(summary: str, told: str = "application/json", status: str = "200", **more: Any) -> dict[str, Any]:
    """One operation: what it does, and how it answers."""
    good = {"description": "what was asked for", "content": {told: {"schema": ANY if "json" in told else TEXT}}}
    bad = {"description": "what was wrong", "content": {"application/json": {"schema": ERROR}}}
    return {"summary": summary, **more, "responses": {status: good, "default": bad}}


def _named(summary: str, told: str = "application/json") -> dict[str, Any]:
    return does(summary, told, parameters=[named_in_path()])


def named_in_path() -> dict[str, Any]:
    return {"name": "name", "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}


PAGE = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED}},
    {"name": "after", "in": "query", "schema": TEXT},
]
CHAT = body(CHAT_FIELDS, "messages")
PATHS: dict[str, dict[str, Any]] = {
    "/health": {"get": does("Whether the server lives.")},
    "/ready": {"get": does("Whether it answers requests.")},
    "/version": {"get": does("Its version.")},
    "/metrics": {"get": does("Counts, in Prometheus' form.", "text/plain")},
    "/openapi.json": {"get": does("This description.")},
    "/v1/models": {"get": does("The model that is served.")},
    "/v1/models/{name}": {"get": _named("One model.")},
    "/v1/chat/completions": {"post": does("A reply to a conversation, whole or as events.", **CHAT)},
    "/v1/tokenizers/estimate-token-count": {"post": does("How many tokens a conversation has.", **CHAT)},
    "/v1/messages": {"post": does("The same in Anthropic's words.", **body(MESSAGE_FIELDS, "messages"))},
    "/v1/messages/count_tokens": {"post": does("How many tokens it has.", **body(MESSAGE_FIELDS, "messages"))},
    "/v1/embeddings": {"post": does("Texts as vectors.", **body(EMBEDDING_FIELDS, "input"))},
    "/v1/responses": {"post": does("A response to items.", **body(RESPONSE_FIELDS, "input"))},
    "/v1/responses/{name}": {"get": _named("A response that is kept."), "delete": _named("Forgets it.")},
    "/v1/responses/{name}/input_items": {"get": _named("What its request said.")},
    "/v1/files": {
        "get": does("Files, newest first.", parameters=PAGE),
        "post": does("Keeps a file.", **body(UPLOAD_FIELDS, "file", "purpose", kind="multipart/form-data")),
    },
    "/v1/files/{name}": {"get": _named("What is known of a file."), "delete": _named("Deletes it.")},
    "/v1/files/{name}/content": {"get": _named("Its bytes.", "application/octet-stream")},
    "/v1/batches": {
        "get": does("Batches, newest first.", parameters=PAGE),
        "post": does("Answers a file.", **body(BATCH_FIELDS, "input_file_id", "endpoint", "completion_window")),
    },
    "/v1/batches/{name}": {"get": _named("How far a batch is.")},
    "/v1/batches/{name}/cancel": {"post": _named("Stops it.")},
}


def description(paths: set[str], more: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """OpenAPI 3.1 of those of the paths that a server has, and of `more`."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "perilune", "version": perilune.__version__},
        "paths": {path: told for path, told in (PATHS | more).items() if path in paths},
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }
