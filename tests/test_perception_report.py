"""The record of what a model saw and heard: groups and goals add up, and what was not asked counts nowhere."""

import json

from perilune.score.exact import TaskScore
from perilune.score.perception_report import GOALS, Left, PerceptionReport
from perilune.tasks.shown_families import FAMILIES, GROUPS

REPORT = PerceptionReport(
    "nano",
    (TaskScore("clothing", 9, 10), TaskScore("digit", 5, 10), TaskScore("motion", 1, 10)),
    (Left("speech", "espeak-ng is not installed"),),
    (TaskScore("grocery", 2, 10),),
)


def test_every_family_has_one_group_and_goals_name_families():
    names = [family.name for group in GROUPS.values() for family in group]
    assert names == [family.name for family in FAMILIES] and len(set(names)) == len(names)
    assert {name for families in GOALS.values() for name in families} <= set(names)


def test_groups_add_up_and_goals_need_all_of_their_families():
    assert REPORT.groups() == (TaskScore("sights", 14, 20), TaskScore("clips", 1, 10))
    assert REPORT.goals() == (TaskScore("clothing", 9, 10), TaskScore("handwritten digits", 5, 10))
    whole = PerceptionReport("nano", tuple(TaskScore(family.name, 1, 2) for family in GROUPS["clips"]))
    assert whole.goals() == (TaskScore("clips", len(GROUPS["clips"]), 2 * len(GROUPS["clips"])),)


def test_json():
    saved = json.loads(REPORT.to_json())
    assert saved["families"][0]["group"] == "sights" and saved["families"][0]["exact_match"] == 0.9
    assert saved["not_asked"] == [{"family": "speech", "why": "espeak-ng is not installed"}]
    assert saved["probes"][0]["right"] == 2


def test_table():
    table = REPORT.table()
    assert "| clothing | sights | 90% | 60% to 98% | 10 |" in table
    assert "| sights | 70% | 48% to 85% | 20 |" in table and "| handwritten digits | 50% |" in table
    assert "| linear probe |" in table and "| speech | espeak-ng is not installed |" in table
    blind = PerceptionReport("nano", (), (Left("digit", "the model has no eyes"),))
    assert blind.table() == "| not asked | why |\n|---|---|\n| digit | the model has no eyes |\n"
