"""What a model sees and hears: held-out pictures, sounds and clips of every family, asked about, answered greedily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from perilune.corpus.speech import PROGRAM, has_speech
from perilune.errors import ConfigError, RequestError
from perilune.media.decoded import Decoded
from perilune.media.parts import LACKS, SENSE_OF
from perilune.score.exact import TaskScore, stands_in
from perilune.score.perception_report import Left, PerceptionReport
from perilune.score.probe import PROBED, probe
from perilune.tasks.shown import Shown, ShownFamily, bare
from perilune.tasks.shown_families import GROUPS, shown

MAX_TOKENS = 48  # right replies have up to 36 of nano's

OnStep = Callable[[str, int], None]  # what is done now, and how many examples are behind


def parse_families(text: str) -> tuple[ShownFamily, ...]:
    """Families by the names of them and of their groups, "sights,motion" or "all", in the order of the groups."""
    named = {name.strip() for name in text.split(",") if name.strip()}
    known = {"all", *GROUPS, *(family.name for group in GROUPS.values() for family in group)}
    if not named or not named <= known:
        odd = ", ".join(sorted(named - known)) or "nothing"
        raise RequestError(f"--families names {odd}; give all, or some of {', '.join(sorted(known - {'all'}))}")
    return tuple(family for name, group in GROUPS.items() for family in group if named & {"all", name, family.name})


def said_right(example: Shown, content: str) -> bool:
    """Whether the answer stands in a reply; case, its article and its final stop aside."""
    return stands_in(bare(example.answer).rstrip("."), content)


def conversation(example: Shown) -> list[dict[str, Any]]:
    """What the model is asked: all but the reply, with each medium in its place."""
    media = iter(example.media)
    return [{**message, "content": list(_parts(message["content"], media))} for message in example.messages[:-1]]


def _parts(content: Any, media: Iterator[Any]) -> Iterator[dict[str, Any]]:
    for part in content:
        if part["type"] == "text":
            yield part
        else:
            medium = next(media)
            yield Decoded(medium.kind, medium.data, medium.rate).part


def score_perception(
    model: Any,
    name: str,
    families: Sequence[ShownFamily],
    root: Path,
    count: int,
    *,
    probes: bool = False,
    on_step: OnStep = lambda what, done: None,
) -> PerceptionReport:
    """`count` held-out examples of each family, always the same ones. `model` is what perilune.load returns.

    Families that cannot be asked here are told apart, with the reason: the model lacks a sense, or nothing speaks.
    `probes` also fits linear probes (score/probe.py) to the training side of some and asks them the same.
    """
    scores, left, linear = [], [], []
    for index, family in enumerate(families):
        on_step(family.name, index * count)
        why = _cannot(model, family, root)
        if why:
            left.append(Left(family.name, why))
            continue
        right = 0
        for seed in range(count):
            on_step(family.name, index * count + seed)
            example = _example(family, seed, root)
            options = {"thinking": False, "temperature": 0.0, "max_tokens": MAX_TOKENS}
            right += said_right(example, model.chat(conversation(example), **options).content)
        scores.append(TaskScore(family.name, right, count))
    for family in families:
        if probes and family.name in PROBED:
            on_step(f"a linear probe of {family.name}", len(families) * count)
            linear.append(probe(family.name, root, count))
    return PerceptionReport(name, tuple(scores), tuple(left), tuple(linear))


def _cannot(model: Any, family: ShownFamily, root: Path) -> str:
    """Why a family cannot be asked, or nothing."""
    if family.needs_speech and not has_speech():
        return f"{PROGRAM} is not installed"
    kinds = [medium.kind for medium in _example(family, 0, root).media]
    lacking = {SENSE_OF[kind] for kind in kinds} - set(model.senses.has)
    return f"the model has {' and '.join(sorted(LACKS[sense] for sense in lacking))}" if lacking else ""


def _example(family: ShownFamily, seed: int, root: Path) -> Shown:
    try:
        return shown(family.name, seed, True, root)
    except OSError as error:
        raise ConfigError(
            f"{family.name} cannot be asked: {error.filename or 'a file'}: {error.strerror or error}; "
            "PERILUNE_SHARED must name the folder with all of the licensed data"
        ) from error
