"""What a user names: a model directory, an amount of memory, a number of threads; checked, with help."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from perilune.config import ModelConfig
from perilune.engine.types import SamplingParams
from perilune.errors import ConfigError, RequestError
from perilune.fields import read_json_object

MODELS_DIR = Path(__file__).parents[1] / "models"
MAX_GENERATION_CONFIG_BYTES = 1 << 20
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
UNITS["ti"] = 1 << 40


def find_model(path_or_name: str | Path) -> Path:
    """The directory of a bundled name or of a path; the error says what can be given."""
    if not isinstance(path_or_name, str | os.PathLike):
        raise ConfigError(f"a model is named by a path or a bundled name, got {type(path_or_name).__name__}")
    bundled = MODELS_DIR / path_or_name if str(path_or_name) in bundled_names() else None
    # Unlike Path, os.path takes an unknown ~user and a name that is too long for what they are: not there.
    directory = bundled or Path(os.path.expanduser(path_or_name))
    if not os.path.exists(directory):
        known = ", ".join(bundled_names()) or "none in this installation"
        raise ConfigError(
            f"there is no model {str(path_or_name)[:200]!r}: give a directory that holds config.json and "
            f"safetensors files, or a bundled name ({known})"
        )
    if not directory.is_dir():
        raise ConfigError(f"{directory} is a file; give the directory that holds config.json")
    if not (directory / "config.json").is_file():
        raise ConfigError(f"{directory} has no config.json, so it is not a model directory")
    return directory


def bundled_names() -> list[str]:
    return sorted(path.parent.name for path in MODELS_DIR.glob("*/config.json"))


def parse_bytes(size: int | str) -> int:
    """16000000000, "16GB" and "16GiB" as bytes; "16G" is decimal like "16GB"."""
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]?i?)b?\s*", str(size).lower())
    if isinstance(size, bool) or not match or match[2] == "i" or float(match[1]) <= 0:
        raise RequestError(f'a size is bytes, or such as "16GiB" or "16GB"; got {str(size)[:40]!r}')
    return int(float(match[1]) * UNITS[match[2]])


def use_threads(threads: int | None) -> None:
    """Sets the thread count of torch and of the kernels, for the whole process; None leaves it alone."""
    cores = os.cpu_count() or 1
    if threads is None:
        return
    if type(threads) is not int or not 1 <= threads <= cores:
        raise RequestError(f"threads must be an integer from 1 to {cores} here, got {str(threads)[:40]!r}")
    import torch

    from perilune.kernels.threads import region, set_threads

    set_threads(threads)
    with region():  # the first one starts the kernels' threads, and with OpenMP also says how many torch has
        torch.set_num_threads(threads)


def read_defaults(directory: Path) -> tuple[dict[str, Any], frozenset[int]]:
    """Sampling defaults and extra end ids out of generation_config.json, where there is one."""
    path = directory / "generation_config.json"
    if not path.exists():
        return {}, frozenset()
    raw = read_json_object(path, MAX_GENERATION_CONFIG_BYTES)
    defaults = {
        name: raw[name]
        for name in ("temperature", "top_p", "min_p", "top_k", "repetition_penalty")
        if raw.get(name) is not None
    }
    if raw.get("do_sample") is False:
        defaults["temperature"] = 0.0
    ends = raw.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(type(end) is int and end >= 0 for end in ends):
        raise ConfigError("eos_token_id in generation_config.json must be a token id or a list of them")
    try:
        SamplingParams(**defaults)
    except RequestError as error:
        raise ConfigError(f"generation_config.json: {error}") from None
    return defaults, frozenset(ends)


def check_vocabulary(config: ModelConfig, tokenizer_size: int) -> None:
    if tokenizer_size > config.vocab_size:
        raise ConfigError(
            f"the tokenizer has {tokenizer_size} ids but the model's vocab_size is {config.vocab_size}; "
            "these files do not belong together"
        )
