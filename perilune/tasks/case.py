"""One generated use of a tool: how it is asked for, the arguments that follow, a result, the answer to it."""

import random
from typing import Any

from perilune.tasks.task import pick

Arguments = dict[str, Any]
Case = tuple[str, Arguments, dict[str, Any], str]


def clock(rng: random.Random) -> str:
    return f"{rng.randrange(6, 23):02d}:{pick(rng, ('00', '15', '30', '45'))}"
