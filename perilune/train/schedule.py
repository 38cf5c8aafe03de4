"""Learning rate as a pure function of the step: warm up, stay, then fall to zero as 1 - sqrt.

The constant part does not depend on the total, so a run can be resumed with another number of steps as
long as its decay has not begun; see `Schedule.decay_start`.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    peak: float
    steps: int
    warmup: int = 50
    decay_share: float = 0.3

    @property
    def decay_start(self) -> int:
        return self.steps - round(self.steps * self.decay_share)

    def lr(self, step: int) -> float:
        """The rate used for the update that turns weights of `step` into those of `step + 1`."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        if step < self.decay_start:
            return self.peak * rise
        done = (step - self.decay_start) / max(1, self.steps - self.decay_start)
        return self.peak * rise * (1 - math.sqrt(min(1.0, done)))
