"""What long readings came to: accuracy with its interval by length, depth and task, recall by layer, speed, memory."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.table import Table

from perilune.score.exact import TaskScore
from perilune.score.heatmap import Grid
from perilune.score.long_reading import Run, Trial


def counted(name: str, trials: Sequence[Trial]) -> TaskScore:
    return TaskScore(name, sum(trial.right for trial in trials), len(trials))


def size(tokens: int) -> str:
    """2097152 → "2M", 4096 → "4K", as lengths are asked for."""
    for unit, letter in ((1 << 20, "M"), (1 << 10, "K")):
        if tokens >= unit:
            return f"{tokens / unit:.3g}{letter}"
    return str(tokens)


def depth_row(depth: float, rows: int) -> int:
    return min(rows - 1, int(depth * rows))


@dataclass(frozen=True)
class LongReport:
    """`kind`: "needle" or "ruler". `notes` say how the haystacks were made; `depths` is the number of depth rows."""

    kind: str
    model: str
    depths: int
    notes: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def lengths(self) -> list[int]:
        return sorted({run.length for run in self.runs})

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(trial.task for trial in self.trials()))

    def trials(self, length: int | None = None) -> list[Trial]:
        return [trial for run in self.runs for trial in run.trials if length in (None, run.length)]

    def depth_names(self) -> list[str]:
        return [f"{100 * i / self.depths:.3g}-{100 * (i + 1) / self.depths:.3g} %" for i in range(self.depths)]

    def by_depth(self, trials: Iterable[Trial]) -> list[TaskScore]:
        rows: list[list[Trial]] = [[] for _ in range(self.depths)]
        for trial in trials:
            rows[depth_row(trial.depth, self.depths)].append(trial)
        return [counted(name, row) for name, row in zip(self.depth_names(), rows, strict=True)]

    def by_task(self, trials: Sequence[Trial]) -> list[TaskScore]:
        return [counted(task, [trial for trial in trials if trial.task == task]) for task in self.tasks]

    def grid(self) -> Grid:
        """Depths down and lengths across; for RULER tasks down."""
        names = self.tasks if self.kind == "ruler" else self.depth_names()
        split: Callable[[list[Trial]], list[TaskScore]] = self.by_task if self.kind == "ruler" else self.by_depth
        columns = [split(self.trials(length)) for length in self.lengths]
        cells = tuple(tuple(column[i] for column in columns) for i in range(len(names)))
        title = f"{self.model}: RULER tasks" if self.kind == "ruler" else f"{self.model}: needles found in a long text"
        rows = "task" if self.kind == "ruler" else "depth of the needle"
        return Grid(title, rows, "length of the text in tokens", tuple(names), tuple(map(size, self.lengths)), cells)

    def length_dict(self, length: int) -> dict[str, Any]:
        runs = [run for run in self.runs if run.length == length]
        trials = self.trials(length)
        seconds = sum(run.seconds for run in runs)
        decoded = sum(trial.tokens - 1 for trial in trials)
        layers = list(dict.fromkeys(layer for trial in trials for layer in trial.recall))
        recall = {layer: round(fmean(t.recall[layer] for t in trials if layer in t.recall), 4) for layer in layers}
        return {
            **{k: v for k, v in counted(size(length), trials).to_dict().items() if k != "task"},
            "length": length,
            "tokens": round(fmean(run.tokens for run in runs)),
            "reads": len(runs),
            "values_found": round(fmean(trial.found for trial in trials), 4) if trials else 0.0,
            "by_depth": [score.to_dict() for score in self.by_depth(trials)],
            "by_task": [score.to_dict() for score in self.by_task(trials) if score.total],
            "recall": recall,
            "read_tokens_per_second": round(sum(run.tokens for run in runs) / max(seconds, 1e-9), 1),
            "read_seconds": round(seconds / len(runs), 3),
            "ask_seconds": round(fmean(trial.seconds for trial in trials), 4) if trials else 0.0,
            "decode_seconds_per_token": round(sum(t.decode_seconds for t in trials) / max(1, decoded), 5),
            "peak_bytes": max(run.peak_bytes for run in runs),
        }

    def to_dict(self) -> dict[str, Any]:
        lengths = [self.length_dict(length) for length in self.lengths]
        head = {"kind": self.kind, "model": self.model, "notes": list(self.notes)}
        return {**head, "lengths": lengths, "trials": [trial.to_dict() for trial in self.trials()]}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def table(self) -> Table:
        table = Table(title=self.grid().title)
        heads = (
            "length",
            "right",
            "95 % interval",
            "n",
            "values found",
            "recall",
            "read tok/s",
            "ask s",
            "s/token",
            "peak",
        )
        for head in heads:
            table.add_column(head, justify="left" if head in ("length", "recall") else "right")
        for length in self.lengths:
            told = self.length_dict(length)
            recall = ", ".join(f"{layer} {share:.1%}" for layer, share in told["recall"].items())
            table.add_row(
                size(length),
                f"{told['exact_match']:.1%}",
                f"{told['low']:.1%} to {told['high']:.1%}",
                str(told["total"]),
                f"{told['values_found']:.1%}",
                recall or "not told",
                f"{told['read_tokens_per_second']:,.0f}",
                f"{told['ask_seconds']:.2f}",
                f"{told['decode_seconds_per_token']:.4f}",
                f"{told['peak_bytes'] / 1e9:.2f} GB" if told["peak_bytes"] else "not told",
            )
        return table

    def task_table(self) -> Table:
        """Accuracy of each task at each length."""
        table = Table(title="by task")
        table.add_column("task")
        for length in self.lengths:
            table.add_column(size(length), justify="right")
        columns = [self.by_task(self.trials(length)) for length in self.lengths]
        for row in zip(*columns, strict=True):
            table.add_row(row[0].task, *(f"{s.share:.0%} of {s.total}" if s.total else "" for s in row))
        return table
