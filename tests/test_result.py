"""The scoring record: JSON that can be read back and tables for a README."""

import json

from perilune.score.exact import TaskScore
from perilune.score.per_byte import LossScore
from perilune.score.result import ScoreReport

REPORT = ScoreReport("nano", (TaskScore("spelling", 9, 10),), (LossScore("stories", 2, 40, 100, 150.0),))


def test_json():
    saved = json.loads(REPORT.to_json())
    assert saved["tasks"][0]["exact_match"] == 0.9
    assert saved["losses"][0]["nats_per_byte"] == 1.5


def test_table():
    table = REPORT.table()
    assert "| spelling | 90% | 60% to 98% | 10 |" in table
    assert "| stories | 2.164 | 2 | 100 |" in table
