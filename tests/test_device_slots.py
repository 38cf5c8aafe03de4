"""Slots on a device: what moves in, who leaves, in what time, and that what lies there is what was lent."""

import pytest
import torch
from devices import DEVICES

from perilune.kernels.int4_cpu import random_experts
from perilune.presets import preset
from perilune.weights import device_slots as slots_file
from perilune.weights import int4
from perilune.weights.device_slots import DeviceSlots, device_slot_bytes

CONFIG = preset("tiny")
COUNT = 8
PACKED, SCALES, TABLE_E6 = random_experts(COUNT, CONFIG.hidden_size, CONFIG.moe_intermediate_size)


@pytest.fixture(params=DEVICES)
def make(request):
    return lambda count, layers=2: DeviceSlots(CONFIG, count, request.param, layers)


class Host:
    """Lends experts by their number, and knows which are lent."""

    def __init__(self):
        self.lent, self.refuses = [], set()

    def lend(self, expert):
        if expert in self.refuses:
            return None
        self.lent.append(expert)
        return TABLE_E6[expert].tolist()

    def returned(self, expert):
        self.lent.remove(expert)


def use(slots, host, layer, **uses):
    """Passes a layer with so many uses of experts, written e3=2; who was there."""
    held = dict(slots.here(layer))
    slots.used(layer, {int(name[1:]): count for name, count in uses.items()}, host.lend, host.returned)
    return set(held)


def test_what_was_used_is_there_the_next_time_and_is_what_was_lent(make):
    slots, host = make(4, layers=1), Host()
    assert use(slots, host, 0, e3=1, e5=1) == set() and host.lent == [3, 5]
    held = dict(slots.here(0))
    assert set(held) == {3, 5} and host.lent == [] and slots.stats.moves == 2
    for expert, slot in held.items():
        for which in range(3):
            shape = (-1, CONFIG.moe_intermediate_size if which == 2 else CONFIG.hidden_size)
            scale = torch.from_numpy(SCALES[expert, which]).view(torch.bfloat16).view(shape[0], shape[1] // 32)
            words = torch.from_numpy(PACKED[expert, which]).view(shape[0], shape[1] // 8)
            assert slots.matrix(slot, which).cpu().equal(int4.dequantize(words, scale))


def test_free_slots_go_evenly_to_all_layers(make):
    slots, host = make(4), Host()
    use(slots, host, 0, e0=4, e1=3, e2=2, e3=1)
    use(slots, host, 1, e7=1, e6=1)
    assert set(slots.here(0)) == {0, 1} and set(slots.here(1)) == {6, 7}


def test_the_hottest_takes_the_slot_of_the_coldest_once_it_is_worth_twice_as_much(make):
    slots, host = make(2, layers=1), Host()
    use(slots, host, 0, e0=8, e1=2)
    assert use(slots, host, 0, e2=3) == {0, 1}
    assert set(slots.here(0)) == {0, 1}, "three uses are not twice two"
    use(slots, host, 0, e2=3)
    assert set(slots.here(0)) == {0, 2}


def test_an_expert_that_nobody_lends_does_not_move(make):
    slots, host = make(4, layers=1), Host()
    host.refuses = {2}
    use(slots, host, 0, e2=5, e4=1)
    assert set(slots.here(0)) == {4} and slots.stats.moves == 1


def test_only_so_many_move_for_a_token(make, monkeypatch):
    monkeypatch.setattr(slots_file, "MOVES", 2)
    slots, host = make(8, layers=1), Host()
    use(slots, host, 0, **{f"e{e}": 1 for e in range(8)})
    assert len(host.lent) == 2
    use(slots, host, 0, **{f"e{e}": 1 for e in range(8)})
    assert len(slots.here(0)) == 4


def test_frozen_slots_keep_what_they_hold(make):
    slots, host = make(2, layers=1), Host()
    use(slots, host, 0, e0=1, e1=1)
    slots.frozen = True
    for _ in range(9):
        assert use(slots, host, 0, e5=9) == {0, 1}
    assert slots.stats.hits == 0 and slots.stats.misses == 2 + 81


def test_a_copy_that_fails_is_told_and_the_slots_are_free_again(make, monkeypatch):
    slots, host = make(2, layers=1), Host()
    with monkeypatch.context() as patch:
        patch.setattr(slots_file, "_bytes_at", lambda address, size: 1 / 0)
        use(slots, host, 0, e0=1, e1=1)
        with pytest.raises(ZeroDivisionError):
            slots.here(0)
    assert host.lent == [] and use(slots, host, 0, e0=1, e1=1) == set()
    assert set(slots.here(0)) == {0, 1}


def test_a_slot_is_as_large_as_an_expert_is_published():
    assert device_slot_bytes(preset("k2.6")) == 24_772_608
