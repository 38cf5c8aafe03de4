"""Checkpoints of a run: one safetensors file each, with weights, optimiser, step and random state.

A file is written beside its final name and moved there when complete: a crash never leaves half of one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from perilune.errors import WeightsError
from perilune.train.optim import Optimizer

KEPT = 2


@dataclass(frozen=True)
class Saved:
    """A checkpoint read back: the JSON part and the tensors by room (model, optim, rng)."""

    meta: dict[str, Any]
    tensors: dict[str, Tensor]

    def room(self, name: str) -> dict[str, Tensor]:
        start = f"{name}."
        return {key.removeprefix(start): t for key, t in self.tensors.items() if key.startswith(start)}


def save(directory: Path, step: int, model: nn.Module, optimizer: Optimizer, meta: dict[str, Any]) -> Path:
    """Write the checkpoint of `step` and drop all but the last two."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"step-{step:07d}.safetensors"
    tensors = {f"model.{name}": t.contiguous() for name, t in model.state_dict().items()}
    tensors |= {f"optim.{name}": t for name, t in optimizer.state_dict().items()}
    tensors["rng.torch"] = torch.get_rng_state()
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"run": json.dumps({**meta, "step": step})})
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    for old in checkpoints(directory)[:-KEPT]:
        old.unlink()
    return path


def checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(directory.glob("step-*.safetensors"))


def load(path: Path) -> Saved:
    with safe_open(path, framework="pt") as file:
        meta = (file.metadata() or {}).get("run")
    if meta is None:
        raise WeightsError(f"{path} is not a checkpoint of a training run: it has no run record")
    return Saved(json.loads(meta), load_file(path))


def restore(saved: Saved, model: nn.Module, optimizer: Optimizer) -> int:
    """Put a checkpoint back in place; the step to go on with."""
    with torch.no_grad():
        model.load_state_dict(saved.room("model"))
    optimizer.load_state_dict(saved.room("optim"))
    torch.set_rng_state(saved.room("rng")["torch"])
    return int(saved.meta["step"])
