"""Which items are held out: decided by a hash of the item alone, so every run and every machine agrees."""

import hashlib

HELD_OUT_ONE_IN = 50


def is_held_out(source: str, key: str, one_in: int = HELD_OUT_ONE_IN) -> bool:
    """About one in `one_in` (2 % of text); they are never trained on and are what scores are read from."""
    digest = hashlib.sha256(f"{source}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % one_in == 0
