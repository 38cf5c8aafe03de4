"""How much memory this process may still use: what the machine has free, or less where a cgroup limits it.

A limit may stand at the process's own cgroup or at any above it, and in both versions of cgroups. Pages of files that
nobody has used lately count as used there, but the kernel takes them back before it kills anyone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from perilune.errors import RequestError

MEMINFO = Path("/proc/meminfo")
OWN_STATUS = Path("/proc/self/status")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
# Limit, usage, and what memory.stat calls the pages that can be taken back: version 2, and version 1.
FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory() -> int:
    """Bytes that this process could still use; raises RequestError where the system does not tell."""
    found = [room for folder in _own_cgroups() if (room := _room(folder)) is not None]
    free = _field(MEMINFO, "MemAvailable:")
    if free is not None:
        found.append(free << 10)
    if not found:
        raise RequestError("how much memory there is cannot be told here; give --ram a size such as 16GiB")
    return max(0, min(found))


def own_memory() -> int:
    """Bytes that this process holds already and that are no pages of files; 0 where the system does not tell."""
    return (_field(OWN_STATUS, "RssAnon:") or 0) << 10


def peak_memory() -> int:
    """The most bytes of memory that this process has held; 0 where the system does not tell."""
    peak = _field(OWN_STATUS, "VmHWM:")
    if peak is not None:  # what getrusage tells begins with what the parent held when it made this process
        return peak << 10
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _own_cgroups() -> Iterator[Path]:
    """The folders of this process's cgroups for memory and of all above them. A container may see its own as the
    root, whatever path it is told, so folders that are not there say nothing."""
    for line in _text(OWN_CGROUPS).splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        for base in (CGROUPS / "memory",) if kinds else (CGROUPS, CGROUPS / "unified"):
            yield from (base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def _room(folder: Path) -> int | None:
    """What the limit of a cgroup leaves; None where it has none."""
    for limit, usage, spare in FILES:
        most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
        if most.isdecimal() and used.isdecimal():
            return int(most) - int(used) + (_field(folder / "memory.stat", spare) or 0)
    return None


def _field(path: Path, name: str) -> int | None:
    """The number after a name, in a file of such lines."""
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
