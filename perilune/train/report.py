"""What a run tells people and programs: metrics.jsonl, samples.jsonl, run.json and the console."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Report:
    """One line for each logged step; a progress bar besides when the console is a terminal."""

    def __init__(self, out: Path, steps: int, start: int, console: Console | None = None):
        self.out, self.steps = out, steps
        self.console = console or Console(highlight=False, soft_wrap=True)
        for name in ("metrics.jsonl", "samples.jsonl"):
            _forget_after(out / name, start)
        self.began, self.start, self.tokens = time.monotonic(), start, 0
        self.bar = _bar(self.console) if self.console.is_terminal else None
        self.task: TaskID | None = None
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task("train", total=steps, completed=start)

    def advance(self, step: int, tokens: int) -> None:
        self.tokens += tokens
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=step)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Append a record and print it; `step` counts finished steps."""
        _append(self.out / "metrics.jsonl", {"step": step, **values, "seconds": round(self.seconds, 1)})
        done = max(1, step - self.start)
        left = self.seconds / done * (self.steps - step)
        speed = self.tokens / max(self.seconds, 1e-9)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.line(f"step {step}/{self.steps}  {shown}  {speed:,.0f} tok/s  {_clock(left)} left")

    def samples(self, step: int, replies: dict[str, str]) -> None:
        _append(self.out / "samples.jsonl", {"step": step, "replies": replies})
        for prompt, reply in replies.items():
            self.line(f"  {prompt}  →  {reply.strip()!r}")

    def line(self, text: str) -> None:
        self.console.print(text, markup=False)

    def close(self) -> None:
        if self.bar:
            self.bar.stop()


def describe_run(settings: dict[str, Any]) -> dict[str, Any]:
    """Everything needed to tell later what this run was."""
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    return {**settings, "git_commit": _git_commit(), **versions}


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _append(path: Path, record: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _forget_after(path: Path, step: int) -> None:
    """A resumed run repeats the steps after its checkpoint; their old records would be there twice."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        path.write_text("".join(kept), encoding="utf-8")


def _bar(console: Console) -> Progress:
    columns = (TextColumn("step {task.completed:.0f}/{task.total:.0f}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


def _clock(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60}h{minutes % 60:02d}" if minutes >= 60 else f"{minutes}m{int(seconds % 60):02d}"
