"""All families of examples with media by name and weight, and the one function that makes an example."""

import random
from pathlib import Path

from perilune.errors import ConfigError
from perilune.tasks import clips, printed, scenes, sights, sounds, spoken, together
from perilune.tasks.shown import Draw, Shown, ShownFamily

# A weight is a share of the examples, not of their tokens.
GROUPS: dict[str, tuple[ShownFamily, ...]] = {
    "sights": sights.FAMILIES,
    "scenes": scenes.FAMILIES,
    "printed": printed.FAMILIES,
    "sounds": sounds.FAMILIES,
    "spoken": spoken.FAMILIES,
    "clips": clips.FAMILIES,
    "together": together.FAMILIES,
}
FAMILIES = tuple(family for group in GROUPS.values() for family in group)
_BY_NAME = {family.name: family for family in FAMILIES}


def shown(family: str, seed: int, held_out: bool, root: Path, speech_cache: Path | None = None) -> Shown:
    """One example: the same arguments always give the same bytes (with the same fonts and programs that speak).

    `root` holds one folder per source. Held-out examples take pieces, voices, words and wordings that no training
    example takes, and their media come as they are. `speech_cache` only saves time.
    """
    if family not in _BY_NAME:
        raise ConfigError(f"no family with media is called {family!r}; there are {', '.join(_BY_NAME)}")
    rng = random.Random(f"{family}:{'held out' if held_out else 'training'}:{seed}")
    return _BY_NAME[family].make(Draw(rng, held_out, root, speech_cache)).shown(family, held_out)
