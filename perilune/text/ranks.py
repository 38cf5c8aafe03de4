"""Reads the files of a tokenizer directory: the ranks file and the names of its special tokens.

Both are data from outside, so every size is capped and every line is checked before anything is built.
"""

import binascii
import json
from operator import itemgetter
from pathlib import Path

from perilune.errors import TokenizerError
from perilune.text.specials import SPECIAL_COUNT

RANKS_FILE = "tiktoken.model"
CONFIG_FILE = "tokenizer_config.json"

MAX_RANKS_BYTES = 64 << 20
MAX_CONFIG_BYTES = 4 << 20
MAX_RANKS = 1 << 20
MAX_LINE_BYTES = 4096
MAX_NAME_CHARS = 256


def read_ranks(path: Path) -> dict[bytes, int]:
    """A file of `base64 rank` lines as {token bytes: rank}, ordered by rank."""
    name = path.name
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(_read(path, MAX_RANKS_BYTES).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            token, rank = _read_line(line)
        except ValueError as fault:
            raise TokenizerError(f"{name} line {number}: {fault}") from None
        if token in ranks:
            raise TokenizerError(f"{name} line {number}: the token {token!r} appears twice")
        ranks[token] = rank
        if len(ranks) > MAX_RANKS:
            raise TokenizerError(f"{name}: more than {MAX_RANKS} tokens")
    return check_ranks(ranks, name)


def check_ranks(ranks: dict[bytes, int], source: str = "ranks") -> dict[bytes, int]:
    """The same ranks ordered by rank, if they are 0 … n-1 once each and cover every single byte."""
    ordered = sorted(ranks.items(), key=itemgetter(1))
    for expected, (token, rank) in enumerate(ordered):
        if rank == expected:
            continue
        fault = f"rank {rank} is given twice" if rank < expected else f"rank {expected} is missing"
        raise TokenizerError(f"{source}: {fault} (at {token!r}); ranks must be 0 to {len(ordered) - 1}")
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise TokenizerError(
            f"{source}: {len(missing)} of the 256 single bytes have no rank, the first is 0x{missing[0]:02x}"
        )
    return dict(ordered)


def read_special_names(path: Path, base: int) -> dict[int, str] | None:
    """{id: name} from `added_tokens_decoder`, or None when there is no such file or table."""
    if not path.exists():
        return None
    try:
        raw = json.loads(_read(path, MAX_CONFIG_BYTES))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path.name} is not valid JSON: {error}") from None
    table = raw.get("added_tokens_decoder") if isinstance(raw, dict) else None
    if table is None:
        return None
    if not isinstance(table, dict):
        raise TokenizerError(f"{path.name}: added_tokens_decoder must be an object of id: token")
    return check_special_names({_id(key, path): _name(key, value, path) for key, value in table.items()}, base)


def check_special_names(names: dict[int, str], base: int) -> dict[int, str]:
    """The same names, if every id lies in the special range and no name is empty or used twice."""
    for token_id, name in names.items():
        if not base <= token_id < base + SPECIAL_COUNT:
            raise TokenizerError(
                f"special token {name!r} has id {token_id}; with {base} ranks it must be"
                f" {base} to {base + SPECIAL_COUNT - 1}"
            )
        if not name or len(name) > MAX_NAME_CHARS:
            raise TokenizerError(f"special token {token_id}: a name has 1 to {MAX_NAME_CHARS} characters")
        if any("\ud800" <= char <= "\udfff" for char in name):
            raise TokenizerError(f"special token {token_id}: the name {name!r} has a lone surrogate")
    if len(set(names.values())) != len(names):
        twice = sorted(name for name in set(names.values()) if list(names.values()).count(name) > 1)
        raise TokenizerError(f"special token name used for two ids: {twice[0]!r}")
    return names


def _read(path: Path, limit: int) -> bytes:
    if not path.is_file():
        raise TokenizerError(f"{path.name} is missing in {path.parent}")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise TokenizerError(f"{path.name} is larger than {limit} bytes")
    return data


def _read_line(line: bytes) -> tuple[bytes, int]:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
    parts = line.split()
    if len(parts) != 2:
        raise ValueError(f"expected `base64 rank`, got {len(parts)} fields")
    encoded, rank = parts
    try:
        token = binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"bad base64 ({error})") from None
    if not token:
        raise ValueError("empty token")
    if not rank.isdigit() or len(rank) > 8:
        raise ValueError(f"the rank must be a whole number, got {rank[:20]!r}")
    return token, int(rank)


def _id(key: str, path: Path) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= 8):
        raise TokenizerError(f"{path.name}: added_tokens_decoder key {key[:20]!r} is not a token id")
    return int(key)


def _name(key: str, value: object, path: Path) -> str:
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, str):
        raise TokenizerError(f"{path.name}: added_tokens_decoder[{key!r}] has no text `content`")
    return content
