"""What a model saw and heard: a frozen record by family, group and goal, as JSON for programs and tables for people."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from perilune.score.exact import TaskScore
from perilune.tasks.shown_families import GROUPS

# What one wants to know of small models that see and hear, and the families that tell.
GOALS = {
    "clothing": ("clothing",),
    "handwritten digits": ("digit",),
    "spoken digits of a speaker never heard": ("spoken_digit",),
    "spoken commands": ("command_word",),
    "spoken orders": ("coffee_order",),
    "clips": tuple(family.name for family in GROUPS["clips"]),
}
_COLUMNS, _RULES = "right | 95 % interval | n |", "---|---|---|"


@dataclass(frozen=True)
class Left:
    """A family that was not asked, and why: it counts nowhere."""

    family: str
    why: str


@dataclass(frozen=True)
class PerceptionReport:
    model: str
    scores: tuple[TaskScore, ...]
    left: tuple[Left, ...] = ()
    probes: tuple[TaskScore, ...] = ()  # what a linear probe got right of the same examples

    def groups(self) -> tuple[TaskScore, ...]:
        """All examples of the families of a group that were asked, together."""
        members = {name: {family.name for family in group} for name, group in GROUPS.items()}
        found = ((name, [s for s in self.scores if s.task in names]) for name, names in members.items())
        return tuple(_together(name, scores) for name, scores in found if scores)

    def goals(self) -> tuple[TaskScore, ...]:
        """The goals of which every family was asked."""
        asked = {score.task: score for score in self.scores}
        return tuple(_together(n, [asked[f] for f in fs]) for n, fs in GOALS.items() if set(fs) <= set(asked))

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "families": [{"group": group_of(score.task), **score.to_dict()} for score in self.scores],
            "groups": [score.to_dict() for score in self.groups()],
            "goals": [score.to_dict() for score in self.goals()],
            "probes": [score.to_dict() for score in self.probes],
            "not_asked": [{"family": left.family, "why": left.why} for left in self.left],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def table(self) -> str:
        """Markdown tables, ready for a README."""
        families = [f"| {score.task} | {group_of(score.task)} {_row(score)}" for score in self.scores]
        tables = [(f"family | group | {_COLUMNS}", f"---|---|{_RULES}", families)]
        for title, scores in (("group", self.groups()), ("goal", self.goals()), ("linear probe", self.probes)):
            rows = [f"| {score.task} {_row(score)}" for score in scores]
            tables.append((f"{title} | {_COLUMNS}", f"---|{_RULES}", rows))
        tables.append(("not asked | why |", "---|---|", [f"| {left.family} | {left.why} |" for left in self.left]))
        return "\n".join("\n".join([f"| {head}", f"|{rule}", *rows, ""]) for head, rule, rows in tables if rows)


def group_of(family: str) -> str:
    return next(name for name, group in GROUPS.items() if family in {member.name for member in group})


def _together(name: str, scores: Iterable[TaskScore]) -> TaskScore:
    counts = [(score.right, score.total) for score in scores]
    return TaskScore(name, sum(right for right, _ in counts), sum(total for _, total in counts))


def _row(score: TaskScore) -> str:
    low, high = score.interval
    return f"| {score.share:.0%} | {low:.0%} to {high:.0%} | {score.total} |"
