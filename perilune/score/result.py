"""The result of a scoring run as a frozen record: JSON for programs, a table for people."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perilune.score.exact import FIXED_QUESTIONS, TaskScore, score_task, scored_families
from perilune.score.per_byte import LossScore, score_losses


@dataclass(frozen=True)
class ScoreReport:
    model: str
    tasks: tuple[TaskScore, ...]
    losses: tuple[LossScore, ...]

    def to_dict(self) -> dict[str, Any]:
        tasks, losses = [score.to_dict() for score in self.tasks], [score.to_dict() for score in self.losses]
        return {"model": self.model, "tasks": tasks, "losses": losses}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def table(self) -> str:
        """Two Markdown tables, ready for a README."""
        lines = ["| task | exact match | 95 % interval | n |", "|---|---|---|---|"]
        for score in self.tasks:
            low, high = score.interval
            seen = " (fixed questions, seen in training)" if score.task in FIXED_QUESTIONS else ""
            lines.append(f"| {score.task}{seen} | {score.share:.0%} | {low:.0%} to {high:.0%} | {score.total} |")
        if self.losses:
            lines += ["", "| held-out text | bits per byte | documents | bytes |", "|---|---|---|---|"]
            lines += [f"| {s.name} | {s.bits_per_byte:.3f} | {s.documents} | {s.bytes:,} |" for s in self.losses]
        return "\n".join(lines) + "\n"


def score_model(
    model: Any,
    name: str,
    *,
    root: Path | None = None,
    count: int = 50,
    documents: int = 20,
    on_part: Callable[[str], None] = lambda name: None,
) -> ScoreReport:
    """Exact match on `count` held-out questions per task; losses on `documents` per source under `root`.
    `on_part` hears the name of each task before it starts."""
    tasks = []
    for family in scored_families():
        on_part(family.name)
        tasks.append(score_task(model, family.name, count))
    on_part("loss per byte")
    return ScoreReport(name, tuple(tasks), score_losses(model, root, documents))
