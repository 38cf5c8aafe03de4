"""What K2's hosted service refuses is refused: for those who test here what shall run there.

The hosted service fixes how tokens are chosen, knows fewer fields than this server, and has limits of its own. This
is about chat completions; the other protocols are not touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perilune.api.openai import chat_options
from perilune.errors import RequestError
from perilune.fields import show_value

SAID = ("messages", "model", "tools", "tool_choice", "response_format", "thinking", "prompt_cache_key", "user")
TOLD = ("stream", "stream_options", "logprobs", "top_logprobs", "safety_identifier")
FIXED = {"top_p": 0.95, "presence_penalty": 0, "frequency_penalty": 0}
LIMITS = ("max_completion_tokens", "max_tokens", "stop")
FIELDS = frozenset((*SAID, *TOLD, *FIXED, *LIMITS, "temperature", "n"))
TEMPERATURES = {True: 1.0, False: 0.6}  # by whether it thinks
MOST_STOPS, MOST_STOP_BYTES = 5, 32
MOST_TOOLS = 128
TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,255}")


def strict_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request that the hosted service would take, with the values that it fixes."""
    unknown = sorted(set(body) - FIELDS)
    if unknown:
        raise RequestError(f"the hosted service knows no field {show_value(unknown[0])}")
    options = chat_options(body)
    fixed = FIXED | {"temperature": TEMPERATURES[options.get("thinking", True)]}
    for name, right in {**fixed, "n": 1}.items():
        if body.get(name) not in (None, right) or isinstance(body.get(name), bool):
            raise RequestError(f"the hosted service takes {name} {right} only, got {show_value(body[name])}")
    _check_stops(body.get("stop"))
    _check_tools(body.get("tools") or ())
    return {**body, **fixed}


def _check_stops(stop: Any) -> None:
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > MOST_STOPS or any(len(str(one).encode()) > MOST_STOP_BYTES for one in stops):
        raise RequestError(f"the hosted service takes up to {MOST_STOPS} stop strings of {MOST_STOP_BYTES} bytes")


def _check_tools(tools: Any) -> None:
    if len(tools) > MOST_TOOLS:
        raise RequestError(f"the hosted service takes up to {MOST_TOOLS} tools, got {len(tools)}")
    for tool in tools:
        function = tool.get("function") if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            raise RequestError(f"the hosted service takes no tool called {show_value(name)}: {TOOL_NAME.pattern}")
