"""Programs that other people wrote, and the settings with which they speak to a perilune server.

Settings go by environment and arguments, for one start only: no file of the user's is written.
"""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from perilune.errors import RequestError

NO_KEY = "none"  # programs want a key where the server wants none
MOST_ANSWER = 1 << 20
WAIT_SECONDS = 10.0
LONGEST_REPLY = 8192  # tokens that a program may ask for at a time, where it has to be told


@dataclass(frozen=True)
class Served:
    """A running server, and the model it serves."""

    url: str  # without /v1
    model: str
    context: int
    key: str = NO_KEY


@dataclass(frozen=True)
class Settings:
    environment: dict[str, str]
    arguments: tuple[str, ...] = ()


def ask_server(url: str, key: str | None) -> Served:
    """Which model is served there; raises RequestError where none is."""
    base = url.rstrip("/").removesuffix("/v1")
    if not base.startswith(("http://", "https://")):
        raise RequestError(f"--url must begin with http:// or https://, got {url[:80]!r}")
    request = urllib.request.Request(base + "/v1/models", headers={"authorization": f"Bearer {key or NO_KEY}"})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            listed = json.loads(answer.read(MOST_ANSWER))
        first = listed["data"][0]
        return Served(base, str(first["id"]), int(first["context_length"]), key or NO_KEY)
    except urllib.error.HTTPError as error:
        told = "it wants another key: --api-key, or PERILUNE_API_KEY" if error.code == 401 else f"it said {error}"
        raise RequestError(f"the server at {base} cannot be used: {told}") from None
    except OSError as error:
        raise RequestError(f"no server answers at {base} ({error}); start one with: perilune serve") from None
    except (ValueError, LookupError, TypeError):
        raise RequestError(f"what answers at {base} is no perilune server") from None


def _claude(at: Served) -> Settings:
    models = {name: at.model for name in ("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL")}
    ours = {"ANTHROPIC_BASE_URL": at.url, "ANTHROPIC_AUTH_TOKEN": at.key}
    return Settings({**ours, **models, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"})


def _codex(at: Served) -> Settings:
    provider = f'{{name="perilune", base_url="{at.url}/v1", wire_api="responses", env_key="PERILUNE_API_KEY"}}'
    settings = {
        "model": f'"{at.model}"',
        "model_context_window": str(at.context),
        "model_provider": '"perilune"',
        "model_providers.perilune": provider,
    }
    words = tuple(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
    return Settings({"PERILUNE_API_KEY": at.key}, words)


def _opencode(at: Served) -> Settings:
    limit = {"context": at.context, "output": min(LONGEST_REPLY, at.context // 2)}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "perilune",
        "options": {"baseURL": f"{at.url}/v1", "apiKey": at.key},
        "models": {at.model: {"name": at.model, "limit": limit}},
    }
    chosen = f"perilune/{at.model}"
    config = {"model": chosen, "small_model": chosen, "provider": {"perilune": provider}}
    return Settings({"OPENCODE_CONFIG_CONTENT": json.dumps(config)})


def _aider(at: Served) -> Settings:
    return Settings({"OPENAI_API_BASE": f"{at.url}/v1", "OPENAI_API_KEY": at.key}, ("--model", f"openai/{at.model}"))


CLIENTS: dict[str, Callable[[Served], Settings]] = {
    "aider": _aider,
    "claude": _claude,
    "codex": _codex,
    "opencode": _opencode,
}


def settings_for(program: str, at: Served) -> Settings:
    """Any other program gets the variables that OpenAI's and Anthropic's own SDKs read."""
    if program in CLIENTS:
        return CLIENTS[program](at)
    openai = {"OPENAI_BASE_URL": f"{at.url}/v1", "OPENAI_API_KEY": at.key}
    return Settings({**openai, "ANTHROPIC_BASE_URL": at.url, "ANTHROPIC_API_KEY": at.key})


def find_program(program: str) -> str:
    """Its path; raises RequestError where it is not installed."""
    found = shutil.which(program)
    if found is None:
        known = ", ".join(CLIENTS)
        raise RequestError(f"no program is called {program[:80]!r} here; install it first (known: {known})")
    return found
