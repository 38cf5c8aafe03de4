"""What a machine and its cgroups leave: the tightest limit on the way up, in both versions."""

from pathlib import Path

import pytest

from perilune.api import free_memory
from perilune.api.free_memory import available_memory, own_memory
from perilune.errors import RequestError

FREE = 8_000_000


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Writes files of a machine that has 8 MB free: {path: text}, where "own" lists the process's cgroups."""
    for name in ("MEMINFO", "OWN_CGROUPS", "CGROUPS"):
        monkeypatch.setattr(free_memory, name, tmp_path / name.lower())
    (tmp_path / "meminfo").write_text(f"MemTotal: 100000 kB\nMemAvailable: {FREE >> 10} kB\n")

    def write(own: str, **folders):
        (tmp_path / "own_cgroups").write_text(own)
        for folder, files in folders.items():
            path = tmp_path / "cgroups" / folder.replace("__", "/")
            path.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (path / name).write_text(text)

    return write


def v2(limit, used=1_000_000, spare=0):
    stat = f"anon 5\ninactive_file {spare}\n"
    return {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": stat}


def v1(limit, used=1_000_000, spare=0):
    stat = f"inactive_file 7\ntotal_inactive_file {spare}\n"
    return {"memory.limit_in_bytes": f"{limit}\n", "memory.usage_in_bytes": f"{used}\n", "memory.stat": stat}


def test_this_machine_tells():
    assert 0 < available_memory() < 1 << 50
    before, block = own_memory(), b"x" * (64 << 20)
    assert before > 1 << 20 and own_memory() > before + len(block) // 2


def test_without_limits_the_machine_decides(machine):
    machine("0::/user/me\n", user__me=v2("max"))
    assert available_memory() == FREE >> 10 << 10


@pytest.mark.parametrize("tight", ["user__me", "user"])
def test_the_tightest_limit_on_the_way_up_decides(machine, tight):
    machine("0::/user/me\n", **{"user": v2(6_000_000), "user__me": v2("max"), tight: v2(4_000_000)})
    assert available_memory() == 3_000_000


def test_pages_that_can_be_taken_back_are_room(machine):
    machine("0::/me\n", me=v2(4_000_000, used=3_900_000, spare=2_000_000))
    assert available_memory() == 2_100_000


def test_version_one_and_both_at_once(machine):
    machine("4:cpu:/no\n3:memory:/a/b\n0::/\n", memory__a__b=v1(5_000_000, spare=500_000), cpu__no=v1(1_000_001))
    assert available_memory() == 4_500_000


def test_a_container_sees_its_cgroup_as_the_root(machine):
    machine("0::/../../docker/3fa1\n", **{"": v2(4_000_000)})
    assert available_memory() == 3_000_000


def test_used_up_is_nothing_and_no_files_are_an_error(machine, monkeypatch):
    machine("0::/me\n", me=v2(1_000_000, used=2_000_000))
    assert available_memory() == 0
    monkeypatch.setattr(free_memory, "CGROUPS", Path("/nowhere"))
    monkeypatch.setattr(free_memory, "MEMINFO", Path("/nowhere"))
    with pytest.raises(RequestError, match="16GiB"):
        available_memory()
