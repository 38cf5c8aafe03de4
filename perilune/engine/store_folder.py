"""The folder of the prefix store: what lies in it, which node goes first, and what a killed writer left behind.

    STORE/lock                      held while somebody evicts
    STORE/ab/abcd….PARENT.node      one node; its modification time is the time of its last use
    STORE/ab/.PID-RANDOM.tmp        a node being written

Several processes share a folder, so anything listed may be gone a moment later: then it is absent, not an error.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from perilune.engine.store_node import NAME
from perilune.errors import ConfigError

try:
    import fcntl
except ImportError:  # not every system has it; two evicting at once then drop a little more than they need
    fcntl = None

VARIABLE = "PERILUNE_STORE"
SHARD = re.compile(r"[0-9a-f]{2}")
TEMPORARY = re.compile(r"\.(\d{1,9})-[0-9a-f]{16}\.tmp")
STALE_SECONDS = 3600
LOCK_SECONDS = 1.0


class Found(NamedTuple):
    """A node as the listing shows it; used is in nanoseconds."""

    path: str
    key: str
    parent: str | None
    nbytes: int
    used: int


class Temporary(NamedTuple):
    path: str
    writer: int
    nbytes: int
    modified: float


class Listing(NamedTuple):
    nodes: list[Found]
    temporaries: list[Temporary]

    @property
    def nbytes(self) -> int:
        return sum(node.nbytes for node in self.nodes) + sum(part.nbytes for part in self.temporaries)


def default_directory() -> Path:
    """The folder named by PERILUNE_STORE, or one in the user's cache."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser()
    return user_folder("XDG_CACHE_HOME", ".cache", VARIABLE) / "store"


def user_folder(named: str, below_home: str, instead: str) -> Path:
    """perilune's part of the user's folder that the variable `named` names, or else of one below the home folder;
    where there is no home, the error says to set `instead`."""
    given = os.environ.get(named, "")
    try:
        base = Path(given) if os.path.isabs(given) else Path.home() / below_home
    except RuntimeError:
        raise ConfigError(f"this user has no home folder: set {instead} to a folder for the store") from None
    return base / "perilune"


def paths_of(directory: Path, key: str) -> list[Path]:
    """Where a node lies: one path or none, unless somebody gave one key two parents."""
    shard = directory / key[:2]
    try:
        names = os.listdir(shard)
    except OSError:
        return []
    return [shard / name for name in names if name.startswith(key) and NAME.fullmatch(name)]


def scan(directory: Path) -> Listing:
    """All nodes, by names and file sizes alone. What is not ours is passed over."""
    listing = Listing([], [])
    for shard in _entries(directory):
        if not SHARD.fullmatch(shard.name):
            continue
        for entry in _entries(shard.path):
            node, part = NAME.fullmatch(entry.name), TEMPORARY.fullmatch(entry.name)
            if not part and not (node and node[1].startswith(shard.name)):
                continue
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if node:
                    parent = None if node[2] == "root" else node[2]
                    listing.nodes.append(Found(entry.path, node[1], parent, status.st_size, status.st_mtime_ns))
                elif part:
                    temporary = Temporary(entry.path, int(part[1]), status.st_size, status.st_mtime)
                    listing.temporaries.append(temporary)
    return listing


def _entries(directory: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return list(found)
    except OSError:
        return []


def unlink(path: str | Path) -> bool:
    """Whether it is gone; a store on a read-only disk keeps what it has."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def sweep(listing: Listing) -> int:
    """Removes what dead writers left; the bytes that are free again."""
    now = time.time()
    return sum(
        part.nbytes
        for part in listing.temporaries
        if (now - part.modified > STALE_SECONDS or _is_dead(part.writer)) and unlink(part.path)
    )


def _is_dead(process: int) -> bool:
    """Of a process on another machine this may be wrong; then that machine's node is simply not stored."""
    if fcntl is None or process < 1:  # elsewhere, signal 0 may mean Ctrl-C
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def ancestors(nodes: list[Found], key: str | None) -> set[str]:
    """A node and all it builds on, as far as they are present."""
    parents = {node.key: node.parent for node in nodes}
    line: set[str] = set()
    while key in parents and key not in line:
        line.add(key)
        key = parents[key]
    return line


def descendants(nodes: list[Found], keys: Collection[str]) -> list[Found]:
    """These nodes and all that build on them."""
    children: dict[str | None, list[Found]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    line = [node for node in nodes if node.key in keys]
    seen = set(line)
    for node in line:  # grows while it is read
        new = [child for child in children.get(node.key, ()) if child not in seen]
        seen.update(new)
        line += new
    return line


def eviction_order(nodes: list[Found], pinned: Collection[str], kept: Collection[str]) -> Iterator[Found]:
    """Least recently used first, pinned ones last, kept ones never; a parent follows its last child."""
    by_key = {node.key: node for node in nodes}
    children = Counter(node.parent for node in nodes)
    heap = [(node.key in pinned, node.used, node) for node in nodes if not children[node.key] and node.key not in kept]
    heapq.heapify(heap)
    while heap:
        node = heapq.heappop(heap)[2]
        yield node
        children[node.parent] -= 1
        parent = by_key.get(node.parent or "")
        if parent is not None and not children[parent.key] and parent.key not in kept:
            heapq.heappush(heap, (parent.key in pinned, parent.used, parent))


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process evicts at a time. Nobody waits long: without the lock, eviction is wasteful but still safe."""
    try:
        file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600) if fcntl else None
    except OSError:
        file = None
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while fcntl and file is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        yield
    finally:
        if file is not None:
            os.close(file)
