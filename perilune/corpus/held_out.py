"""The held-out documents, which no training document comes from: for losses in a run and for scores."""

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from perilune.corpus.document import Document, from_example, from_item
from perilune.corpus.sources import SOURCES, Source
from perilune.tasks.families import FAMILIES
from perilune.tasks.task import HELD_OUT_SEEDS

PER_SOURCE = 60
PER_FAMILY = 30


def of_source(origin: Source, root: Path, seed: int = 0, count: int = PER_SOURCE) -> Iterator[Document]:
    rng = random.Random(f"{seed}:held-out:{origin.name}")
    for item in islice(origin.items(root, held_out=True), count):
        yield Document(origin.name, text=item.text) if item.text is not None else from_item(origin, item, rng)


def of_tasks(count: int = PER_FAMILY) -> Iterator[tuple[str, Document]]:
    """Only families whose questions can be held out; the fixed questions of the others are all trained on."""
    for family in FAMILIES:
        if family.split:
            for example in family.examples(HELD_OUT_SEEDS[:count]):
                yield family.name, from_example(example)


def held_out_documents(root: Path, seed: int = 0) -> Iterator[tuple[str, Document]]:
    """All of them, each with the name of its source or task."""
    for origin in SOURCES:
        for document in of_source(origin, root, seed):
            yield origin.name, document
    yield from of_tasks()
