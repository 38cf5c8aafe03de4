"""The limits of a process that opens a stranger's file: memory, processor time, and nothing written to disk."""

from __future__ import annotations

MOST_LIKELY = "1000"  # to be ended where the whole machine runs out of memory


def confine(most_bytes: int, seconds: int | None = None) -> None:
    """Holds for this process from here on; it cannot be taken back. With `seconds`, those of all its work."""
    try:
        with open("/proc/self/oom_score_adj", "w") as mine:
            mine.write(MOST_LIKELY)
    except OSError:  # another system
        pass
    try:
        import resource
    except ImportError:  # no such limits on this system; the parent's clock remains
        return
    kinds = {resource.RLIMIT_AS: most_bytes, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    for kind, most in (kinds if seconds is None else {**kinds, resource.RLIMIT_CPU: seconds}).items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # Processor time: the soft limit says SIGXCPU, the hard one kills what does not listen.
        resource.setrlimit(kind, (most, most + 1 if kind == resource.RLIMIT_CPU and most < hard else most))


def confine_job(most_bytes: int, seconds: int) -> None:
    """Memory, and processor time from now on, of one of many jobs; beyond it SIGXCPU ends the process."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + seconds
    for kind, most in ((resource.RLIMIT_AS, most_bytes), (resource.RLIMIT_CPU, until)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
