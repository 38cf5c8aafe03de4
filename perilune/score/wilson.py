"""Confidence interval of a share counted over few trials."""

from math import sqrt

Z_95 = 1.959963984540054


def wilson(right: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson interval: unlike the simple one it stays within 0 and 1 and holds for small counts."""
    if not 0 <= right <= total:
        raise ValueError(f"right must be 0 to total, got {right} of {total}")
    if total == 0:
        return 0.0, 1.0
    share, spread = right / total, z * z / total
    middle = share + spread / 2
    half = z * sqrt((share * (1 - share) + spread / 4) / total)
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
