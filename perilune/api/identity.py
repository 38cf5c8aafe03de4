"""What names a model's weights, so that what one model has read is never taken for what another would read."""

from __future__ import annotations

import hashlib
from pathlib import Path

HASHED_WHOLE = 256 << 20  # larger directories are known by their files' names, sizes and times
BLOCK = 1 << 20


def identity_of(directory: Path) -> str:
    """A digest of config and weights; of a large directory's weights, of what the file system says about them."""
    files = sorted(path for path in directory.iterdir() if path.name == "config.json" or path.suffix == ".safetensors")
    whole = sum(path.stat().st_size for path in files) <= HASHED_WHOLE
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        status = path.stat()
        digest.update(f"{path.name}\0{status.st_size}\0".encode())
        if whole or path.name == "config.json":
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        else:
            digest.update(f"{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()
