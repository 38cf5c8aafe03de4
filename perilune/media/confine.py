"""The limits of a process that opens a stranger's file: memory, processor time, and nothing written to disk."""

from __future__ import annotations


def confine(most_bytes: int, seconds: int) -> None:
    """Holds for this process from here on; it cannot be taken back."""
    try:
        import resource
    except ImportError:  # no such limits on this system; the parent's clock remains
        return
    for kind, most in (
        (resource.RLIMIT_AS, most_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # Processor time: the soft limit says SIGXCPU, the hard one kills what does not listen.
        resource.setrlimit(kind, (most, most + 1 if kind == resource.RLIMIT_CPU and most < hard else most))
