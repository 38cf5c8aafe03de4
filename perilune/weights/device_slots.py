"""Slots for routed experts in the memory of a GPU, in the bytes of the published files: those used most move in.

An expert's worth is that of worth.py, fading more slowly than in RAM, since a move costs more than a read saves soon.
A move is a copy by a thread of its own, through one pinned buffer and on a stream of its own. It begins when a layer's
experts have been used and counts from the next time that the layer is passed; if it is not over by then, it is waited
for. So which expert lies where follows from the requests alone and not from how long a copy took.

Legend: S slots, B bytes of an expert, N outputs, K inputs, H int16 halves of words, G groups of 32 inputs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perilune.config import ModelConfig
from perilune.weights import int4
from perilune.weights.worth import FadingUses

FADE = 0.97  # what a use counts after one more token
MARGIN = 1.0  # log2: an expert takes the slot of one that is worth less than half as much
MOVES = 16  # that may begin for each token
MOST_MOVES = 64  # that may begin at once, after a long chunk

Lend = Callable[[int], Sequence[int] | None]


@dataclass
class SlotStats:
    """Counts since the slots were made: uses of experts in a slot and elsewhere, and moves that began."""

    hits: int = 0
    misses: int = 0
    moves: int = 0

    @property
    def hit_rate(self) -> float:
        return self.hits / max(1, self.hits + self.misses)

    def copy(self) -> SlotStats:
        return replace(self)

    def since(self, before: SlotStats) -> SlotStats:
        return SlotStats(self.hits - before.hits, self.misses - before.misses, self.moves - before.moves)


@dataclass(frozen=True)
class _Move:
    expert: int
    slot: int
    copied: Future[None]
    returned: Callable[[int], None]


class DeviceSlots:
    """`count` slots for experts of `layers` layers on a device. Used by one thread at a time. With `frozen` set nothing
    moves any more, and a request gives the same bits whatever came before it."""

    def __init__(self, config: ModelConfig, count: int, device: torch.device, layers: int):
        """Raises torch's own error where the device has no room."""
        self.count, self.device, self.frozen, self.stats = count, device, False, SlotStats()
        self._sizes = _tensor_bytes(config)
        self._widths = (config.hidden_size, config.hidden_size, config.moe_intermediate_size)
        on_gpu = device.type == "cuda"
        self._pool_SB = torch.empty(count, sum(self._sizes), dtype=torch.uint8, device=device)
        self._staging_B = torch.empty(sum(self._sizes), dtype=torch.uint8, pin_memory=on_gpu)
        self._stream = torch.cuda.Stream(device) if on_gpu else None
        # On one core, beside the kernels of the host.
        self._mover = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        self._table = int4.word_table(device)
        self._layers = max(1, layers)
        self._share = -(-count // self._layers)  # of a layer, while slots are free
        self._worth = FadingUses(layers, FADE)
        self._free = list(reversed(range(count)))
        self._where: dict[int, dict[int, int]] = {}  # by layer, then expert
        self._moving: dict[int, list[_Move]] = {}
        self._credit = 0.0

    def here(self, layer: int) -> Mapping[int, int]:
        """The layer's experts that lie in slots, each with its slot; holds until `used`. Passes the layer: what began
        to move when it was passed last is there. Raises what went wrong with a move, once all are over."""
        self._worth.next_layer()
        held, failed = self._where.setdefault(layer, {}), None
        for move in self._moving.pop(layer, ()):
            error = move.copied.exception()
            move.returned(move.expert)
            if error is not None:
                self._free.append(move.slot)
                failed = error
                continue
            held[move.expert] = move.slot
            self._worth.keep((layer, move.expert))
        if failed is not None:
            raise failed
        return held

    def used(self, layer: int, uses: Mapping[int, int], lend: Lend, returned: Callable[[int], None]) -> None:
        """So many tokens used these experts of a layer. The best of those that lie elsewhere begin to move in: `lend`
        tells where in memory six tensors are, and `returned` that they have been copied."""
        held, outside = self._where.setdefault(layer, {}), []
        for expert, tokens in uses.items():
            worth = self._worth.count((layer, expert), tokens)
            if expert in held:
                self._worth.keep((layer, expert))
                self.stats.hits += tokens
            else:
                outside.append((-worth, expert))
                self.stats.misses += tokens
        # The experts of a chunk are passed once, by at least as many tokens as use the busiest one.
        self._credit = min(MOST_MOVES, self._credit + MOVES / self._layers * max(uses.values(), default=0))
        for worth, expert in sorted(outside):
            if self.frozen or self._credit < 1 or not self._may_take(layer, -worth):
                return
            lent = lend(expert)
            if lent is not None:
                self._credit -= 1
                self._begin(layer, expert, lent, returned)

    def matrix(self, slot: int, which: int) -> Tensor:
        """Gate (0), up (1) or down (2) of the expert in a slot: float32 [N, K], the very numbers that are stored."""
        at = sum(self._sizes[: 2 * which])
        middle, end = at + self._sizes[2 * which], at + self._sizes[2 * which] + self._sizes[2 * which + 1]
        width = self._widths[which]
        half_NH = self._pool_SB[slot, at:middle].view(torch.int16).view(-1, width // 4)
        scale_NG = self._pool_SB[slot, middle:end].view(torch.bfloat16).view(-1, width // int4.GROUP)
        return int4.dequantize_by_table(half_NH, scale_NG, self._table)

    def _may_take(self, layer: int, worth: float) -> bool:
        """Whether there is a slot for an expert of such worth: free ones go evenly to all layers at first."""
        own = len(self._where[layer]) + len(self._moving.get(layer, ()))
        return bool(self._free and own < self._share) or self._worth.lowest() + MARGIN < worth

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        key = self._worth.least(lambda _: True)
        assert key is not None, "who may take a slot was found by the least worth of those held"
        return self._where[key[0]].pop(key[1])

    def _begin(self, layer: int, expert: int, lent: Sequence[int], returned: Callable[[int], None]) -> None:
        slot = self._take()
        # What was asked of the device so far may still read the expert that leaves the slot.
        before = None if self._stream is None else torch.cuda.current_stream(self.device).record_event()
        copied = self._mover.submit(self._copy, slot, lent, before)
        self._moving.setdefault(layer, []).append(_Move(expert, slot, copied, returned))
        self.stats.moves += 1

    def _copy(self, slot: int, lent: Sequence[int], before: torch.Event | None) -> None:
        at = 0
        for address, size in zip(lent, self._sizes, strict=True):
            self._staging_B[at : at + size].copy_(_bytes_at(address, size))
            at += size
        if self._stream is None or before is None:
            self._pool_SB[slot].copy_(self._staging_B)
            return
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(before)
            self._pool_SB[slot].copy_(self._staging_B, non_blocking=True)
        self._stream.synchronize()


def device_slot_bytes(config: ModelConfig) -> int:
    """What a slot takes on the device."""
    return sum(_tensor_bytes(config))


def _tensor_bytes(config: ModelConfig) -> tuple[int, ...]:
    """Words and scales of gate, up and down."""
    weights = config.hidden_size * config.moe_intermediate_size
    return (weights // 2, 2 * weights // int4.GROUP) * 3


def _bytes_at(address: int, size: int) -> Tensor:
    return torch.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype=torch.uint8)
