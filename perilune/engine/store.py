"""The prefix store: what a model has read lies on disk, and is reused the next time.

A node is the state after one more segment of tokens; its key is a hash of the model and of every token so far, so equal
beginnings share nodes, in one process or in several. It is a cache: whatever is damaged, full or in the way costs one
warning and a second reading, never an answer. Files: store_node.py, the folder: store_folder.py.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perilune.engine import store_folder as folder
from perilune.engine import store_node as files
from perilune.errors import WeightsError

logger = logging.getLogger("perilune.store")

DEFAULT_MAX_BYTES = 8 << 30
LOOK_SHARE = 16  # the folder is listed again when this process has added a sixteenth of the limit
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class NodeKey:
    """SHA-256 in hex, made by node_key."""

    digest: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError("a node key is 64 hexadecimal digits in lower case")


@dataclass(frozen=True)
class Entry:
    """What the store knows of a node; used is in seconds since 1970."""

    key: NodeKey
    parent: NodeKey | None
    nbytes: int
    used: float
    label: str
    tokens: int


@dataclass(frozen=True)
class Damage:
    key: NodeKey
    reason: str


@dataclass(frozen=True)
class Report:
    """Of reading everything: whole nodes, their bytes, and those that are damaged."""

    nodes: int
    nbytes: int
    damaged: tuple[Damage, ...]


def node_key(model: str, parent: NodeKey | None, ids: np.ndarray) -> NodeKey:
    """The key of the state after `ids`. `model` names weights, config and the form of the state; None starts afresh."""
    ids = np.asarray(ids)
    if ids.ndim != 1 or not ids.size or ids.dtype.kind not in "iu":
        raise ValueError(f"a node needs a list of at least one id, got {ids.dtype} {list(ids.shape)}")
    words = ids.astype("<i8")
    if words.min() < 0:
        raise ValueError("token ids are not negative")
    name = model.encode("utf-8", "surrogatepass")
    # Every part has a fixed or a stated length, so no two inputs make the same bytes.
    start = b"perilune node" + files.VERSION.to_bytes(4, "little") + len(name).to_bytes(8, "little") + name
    line = b"\0" if parent is None else b"\1" + bytes.fromhex(parent.digest)
    return NodeKey(hashlib.sha256(start + line + words.tobytes()).hexdigest())


class PrefixStore:
    """Nodes on disk, at most `max_bytes` together, shared by processes and threads.

    Each further process that writes at the same time may go a sixteenth, or one node, over the limit for a while.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError("a store cannot have a negative limit")
        self.directory = Path(directory)
        self.max_bytes = max_bytes
        self._writing = threading.Lock()
        self._pinned: set[str] = set()  # put or used by this process: what others left goes first
        self._bad: set[str] = set()  # warned about; may be overwritten
        self._room = 0  # bytes this process may add before it looks at the folder
        self._is_failing = False

    @classmethod
    def default(cls, max_bytes: int = DEFAULT_MAX_BYTES) -> PrefixStore:
        return cls(folder.default_directory(), max_bytes)

    @property
    def nbytes(self) -> int:
        return folder.scan(self.directory).nbytes

    def __contains__(self, key: NodeKey) -> bool:
        """Whether a file is there; only get says whether it is whole."""
        return bool(folder.paths_of(self.directory, key.digest))

    def get(self, key: NodeKey) -> dict[str, np.ndarray] | None:
        """The node's arrays, read-only and checked, or None. Counts as a use."""
        for path in folder.paths_of(self.directory, key.digest):
            try:
                _, arrays = files.read(path)
            except FileNotFoundError:
                continue
            except WeightsError as error:
                self._warn(key.digest, error)
                folder.unlink(path)
                continue
            except (OSError, MemoryError) as error:  # perhaps only for now, so the file stays
                self._warn(key.digest, error)
                continue
            self._use(key.digest, path)
            return arrays
        return None

    def put(
        self,
        key: NodeKey,
        parent: NodeKey | None,
        arrays: Mapping[str, np.ndarray],
        *,
        label: str = "",
        tokens: int = 0,
    ) -> bool:
        """Store a node, or mark it used when it is there; False when it cannot be kept."""
        above = parent.digest if parent else None
        with self._writing:
            here = folder.paths_of(self.directory, key.digest)
            if here and key.digest not in self._bad:
                self._use(key.digest, here[0])
                return True
            pieces = files.encode(key.digest, above, arrays, label=label, tokens=tokens)
            size = sum(piece.nbytes for piece in pieces)
            if size > min(self.max_bytes, files.MAX_NODE_BYTES):
                return False
            try:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if size > self._room and not self._make_room(size, above):
                    return False
                shard = self.directory / key.digest[:2]
                files.write(shard, files.file_name(key.digest, above), pieces)
            except OSError as error:
                if not self._is_failing:
                    logger.warning("the prefix store cannot be written, going on without it: %s", _reason(error))
                self._is_failing = True
                return False
            self._is_failing = False
            self._room -= size
            self._bad.discard(key.digest)
            self._pinned.add(key.digest)
            return True

    def entries(self) -> list[Entry]:
        """Every node with a readable header, the last used first."""
        found = []
        for node in folder.scan(self.directory).nodes:
            try:
                header = files.read_header(Path(node.path))
            except FileNotFoundError:
                continue
            except (WeightsError, OSError) as error:
                self._warn(node.key, error)
                continue
            parent = NodeKey(node.parent) if node.parent else None
            entry = Entry(NodeKey(node.key), parent, node.nbytes, node.used / 1e9, header.label, header.tokens)
            found.append(entry)
        return sorted(found, key=lambda entry: (-entry.used, entry.key.digest))

    def present(self) -> list[NodeKey]:
        """Every node, damaged or not, by names alone."""
        return sorted({NodeKey(node.key) for node in folder.scan(self.directory).nodes}, key=lambda key: key.digest)

    def remove(self, keys: Collection[NodeKey]) -> int:
        """Drop nodes and all that build on them, which nobody could reach any more; how many are gone."""
        wanted = {key.digest for key in keys}
        return sum(folder.unlink(node.path) for node in folder.descendants(folder.scan(self.directory).nodes, wanted))

    def clear(self) -> int:
        """Drop every node, and what dead writers left."""
        listing = folder.scan(self.directory)
        folder.sweep(listing)
        return sum(folder.unlink(node.path) for node in listing.nodes)

    def verify(self, *, delete: bool = False, progress: Callable[[int, int], None] | None = None) -> Report:
        """Read and check everything. It counts as no use. With `delete`, damaged nodes are removed."""
        nodes = folder.scan(self.directory).nodes
        total, done, whole, nbytes = sum(node.nbytes for node in nodes), 0, 0, 0
        damaged = []
        for node in nodes:
            try:
                files.read(Path(node.path))
                whole, nbytes = whole + 1, nbytes + node.nbytes
            except FileNotFoundError:
                pass
            except WeightsError as error:
                damaged.append(Damage(NodeKey(node.key), str(error)))
                if delete:
                    folder.unlink(node.path)
            except (OSError, MemoryError) as error:
                damaged.append(Damage(NodeKey(node.key), f"cannot be read: {_reason(error)}"))
            done += node.nbytes
            if progress:
                progress(done, total)
        return Report(whole, nbytes, tuple(damaged))

    def _use(self, digest: str, path: Path) -> None:
        self._pinned.add(digest)
        self._bad.discard(digest)
        try:
            files.touch(path)
        except OSError:
            logger.debug("the use of %s… cannot be noted", digest[:12])

    def _warn(self, digest: str, error: Exception) -> None:
        if digest not in self._bad:
            reason = error if isinstance(error, WeightsError) else f"cannot be read: {_reason(error)}"
            logger.warning("node %s… of the prefix store is ignored: it %s", digest[:12], reason)
        self._bad.add(digest)

    def _make_room(self, size: int, parent: str | None) -> bool:
        """Evicts until `size` more bytes fit; what the new node builds on stays in any case."""
        with folder.locked(self.directory):
            listing = folder.scan(self.directory)
            free = self.max_bytes - listing.nbytes + folder.sweep(listing)
            self._pinned &= {node.key for node in listing.nodes}
            if free < size:
                victims = self._victims(listing.nodes, size - free, parent)
                free += sum(node.nbytes for node in victims if folder.unlink(node.path))
        fits = free >= size
        self._room = max(size, min(free, self.max_bytes // LOOK_SHARE)) if fits else 0
        return fits

    def _victims(self, nodes: list[folder.Found], needed: int, parent: str | None) -> list[folder.Found]:
        """Nodes of at least this many bytes together; none when even all that may go would not do."""
        victims = []
        for node in folder.eviction_order(nodes, self._pinned, folder.ancestors(nodes, parent)):
            victims.append(node)
            needed -= node.nbytes
            if needed <= 0:
                return victims
        return []


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
