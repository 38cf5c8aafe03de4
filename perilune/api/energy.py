"""Energy that the processors count themselves, where the system lets it be read.

Linux shows the counters of Intel and AMD (RAPL) as files, one folder for each processor package; since they also tell
what neighbours compute, reading them often takes root. A counter begins anew when it is full, after some minutes at
full power, so a meter is to be asked more often than that. What it tells is of the whole machine, whoever used it.
"""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules of all processor packages since it was made."""

    def __init__(self) -> None:
        self._folders = [f for f in sorted(POWERCAP.glob("*-rapl:*")) if f.name.count(":") == 1]
        self._before = self._read()
        self._microjoules = 0

    def joules(self, parts: int = 1) -> float | None:
        """For each of so many equal parts of the work; None where nothing can be read."""
        now = self._read()
        for folder, count in now.items():
            before = self._before.get(folder, count)
            whole = 0 if count >= before else (_number(folder / "max_energy_range_uj") or 0) + 1
            self._microjoules += max(0, count - before + whole)
        self._before = now
        return self._microjoules / 1e6 / parts if now else None

    def _read(self) -> dict[Path, int]:
        counts = ((folder, _number(folder / "energy_uj")) for folder in self._folders)
        return {folder: count for folder, count in counts if count is not None}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
