"""Energy counters of the processor: packages are added, full counters begin anew, and silence is no zero."""

import pytest

from perilune.api import energy
from perilune.api.energy import EnergyMeter


@pytest.fixture
def counters(tmp_path, monkeypatch):
    """Sets the counters of two packages, and of a part of the first, which must not count twice."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)

    def write(first, second):
        for name, count in (("intel-rapl:0", first), ("intel-rapl:1", second), ("intel-rapl:0:0", first)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "energy_uj").write_text(f"{count}\n")
            (tmp_path / name / "max_energy_range_uj").write_text("9999999\n")

    return write


def test_packages_are_added(counters):
    counters(1_000_000, 2_000_000)
    meter = EnergyMeter()
    assert meter.joules() == 0.0
    counters(1_500_000, 4_000_000)
    assert meter.joules() == 2.5
    counters(1_500_000, 4_250_000)
    assert meter.joules() == 2.75


def test_a_full_counter_begins_anew(counters):
    counters(9_000_000, 0)
    meter = EnergyMeter()
    counters(500_000, 0)
    assert meter.joules() == 1.5


def test_where_nothing_can_be_read_nothing_is_told(counters, tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "nowhere")
    assert EnergyMeter().joules() is None
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    counters("?", "?")
    assert EnergyMeter().joules() is None
