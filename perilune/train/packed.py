"""Read a packed corpus: which rows a step takes is a pure function of the step number.

Resuming exactly therefore needs no state but the step.
B rows of a batch, R rows of a group, T tokens of context; a row has S = T + 1 slots, since inputs and targets
are the same row shifted by one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perilune.errors import ConfigError

INDEX = "index.json"
FORMAT = 1
CONTEXT = 1024
PADDING = 65_535  # segment number of unused slots


@dataclass(frozen=True)
class Group:
    name: str
    ids_RS: np.ndarray
    mask_RS: np.ndarray
    segments_RS: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.ids_RS)


@dataclass(frozen=True)
class Packed:
    """A packed corpus. With `total_steps`, the language share falls linearly from first to last step."""

    index: dict[str, Any]
    groups: dict[str, Group]
    fingerprint: str
    total_steps: int | None = None
    language_first: float = 0.6
    language_last: float = 0.15

    @classmethod
    def open(cls, directory: str | Path, total_steps: int | None = None) -> Packed:
        directory = Path(directory)
        path = directory / INDEX
        if not path.is_file():
            raise ConfigError(f"{directory} holds no packed corpus ({INDEX} is missing): run the packing step first")
        text = path.read_text()
        index = json.loads(text)
        if index.get("format") != FORMAT:
            raise ConfigError(f"{path} has format {index.get('format')!r}, this version reads {FORMAT}: pack again")
        slots = index["context"] + 1
        groups = {name: _map(directory, name, about["rows"], slots) for name, about in index["groups"].items()}
        return cls(index, groups, hashlib.sha256(text.encode()).hexdigest(), total_steps)

    @property
    def context(self) -> int:
        return self.index["context"]

    @property
    def n_vocab(self) -> int:
        return self.index["n_vocab"]

    @property
    def rows(self) -> int:
        """Training rows of one pass."""
        return sum(group.rows for name, group in self.groups.items() if name != "held_out")

    def batch(self, step: int, batch_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of a step: ids [B,S] int64, mask [B,S] bool, segments [B,S] int32 (-1 where nothing stands).

        Tokens attend only within their segment; positions start at 0 in each. mask[:, 1:] marks targets.
        """
        first = self._language_rows(step, batch_rows)
        language = self._language_rows(step + 1, batch_rows) - first
        chosen = self._rows("language", first, language)
        chosen += self._rows("chat", step * batch_rows - first, batch_rows - language)
        return _stack(chosen)

    def held_out(self, start: int, batch_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Held-out rows in order, from row `start` on; fewer than asked at the end."""
        group = self.groups["held_out"]
        return _stack([(group, row) for row in range(start, min(start + batch_rows, group.rows))])

    def _language_rows(self, step: int, batch_rows: int) -> int:
        """How many language rows the steps before `step` used: the integral of the share, rounded down."""
        if self.total_steps is None:
            share = self.groups["language"].rows / self.rows
            return int(step * batch_rows * share)
        inside = min(step, self.total_steps)
        slope = (self.language_last - self.language_first) / self.total_steps
        area = self.language_first * inside + slope * inside * inside / 2
        return int(batch_rows * (area + self.language_last * (step - inside)))

    def _rows(self, name: str, first: int, count: int) -> list[tuple[Group, int]]:
        group = self.groups[name]
        chosen = []
        for number in range(first, first + count):
            epoch, place = divmod(number, group.rows)
            chosen.append((group, int(_order(self.index["seed"], name, epoch, group.rows)[place])))
        return chosen


@lru_cache(maxsize=16)
def _order(seed: int, name: str, epoch: int, rows: int) -> np.ndarray:
    digest = hashlib.sha256(f"{seed}:{name}:{epoch}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(rows)


def _map(directory: Path, name: str, rows: int, slots: int) -> Group:
    arrays: list[np.ndarray] = []
    for kind, dtype in (("ids", np.uint16), ("mask", np.uint8), ("segments", np.uint16)):
        path = directory / f"{name}.{kind}"
        expected = rows * slots * np.dtype(dtype).itemsize
        if not path.is_file() or path.stat().st_size != expected:
            raise ConfigError(f"{path} should hold {expected} bytes for {rows} rows of {slots}: pack again")
        arrays.append(np.memmap(path, dtype, "r", shape=(rows, slots)) if rows else np.zeros((0, slots), dtype))
    return Group(name, *arrays)


def _stack(chosen: list[tuple[Group, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids = np.stack([group.ids_RS[row] for group, row in chosen]).astype(np.int64)
    mask = np.stack([group.mask_RS[row] for group, row in chosen]).astype(bool)
    segments = np.stack([group.segments_RS[row] for group, row in chosen]).astype(np.int32)
    segments[segments == PADDING] = -1
    return ids, mask, segments


@dataclass(frozen=True)
class Batch:
    ids_BT: Tensor
    target_BT: Tensor
    mask_BT: Tensor
    segments_BT: Tensor

    @classmethod
    def of(cls, packed: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Batch:
        """From rows of T + 1 slots; the mask says which of them are learned as targets."""
        ids, mask, segments = (torch.from_numpy(array) for array in packed)
        return cls(ids[:, :-1], ids[:, 1:], mask[:, 1:], segments[:, :-1])

    def share(self, index: int, count: int) -> Batch:
        """Every `count`-th row: the rows of one thread, of all kinds alike."""
        rows = slice(index, None, count)
        return Batch(self.ids_BT[rows], self.target_BT[rows], self.mask_BT[rows], self.segments_BT[rows])

    @property
    def trained(self) -> int:
        return int(self.mask_BT.sum())
