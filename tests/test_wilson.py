"""The Wilson interval against known values."""

import pytest

from perilune.score.wilson import wilson


@pytest.mark.parametrize(
    "right, total, low, high",
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (1, 2, 0.0945, 0.9055),
    ],
)
def test_known_values(right, total, low, high):
    assert wilson(right, total) == pytest.approx((low, high), abs=5e-4)


def test_more_right_than_asked_is_refused():
    with pytest.raises(ValueError, match="right must be"):
        wilson(3, 2)
