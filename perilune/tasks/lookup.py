"""All lookups by name: generated needles and questions, for training and for scoring, and how they become ids."""

from perilune.tasks import lookup_plain as plain
from perilune.tasks.lookup_chains import copy, variables
from perilune.tasks.lookup_counts import common_words, frequent_words
from perilune.tasks.lookup_facts import facts
from perilune.tasks.lookup_lay import Laid, lay
from perilune.tasks.lookup_mixed import mixed
from perilune.tasks.lookup_profiles import profiles
from perilune.tasks.lookup_records import defined, files, functions, records
from perilune.tasks.lookup_types import Lookup, Make, Question, usable

__all__ = ["LOOKUPS", "SCORED_ONLY", "Laid", "Lookup", "Question", "lay"]

LOOKUPS: dict[str, Make] = {
    name: usable(make)
    for name, make in (
        ("single", plain.single),
        ("multikey", plain.multikey),
        ("multivalue", plain.multivalue),
        ("multiquery", plain.multiquery),
        ("backward", plain.backward),
        ("needles_words", plain.needles_words),
        ("needles_uuids", plain.needles_uuids),
        ("facts", facts),
        ("profiles", profiles),
        ("records", records),
        ("functions", functions),
        ("files", files),
        ("defined", defined),
        ("variables", variables),
        ("copy", copy),
        ("mixed", mixed),
        ("common_words", common_words),
        ("frequent_words", frequent_words),
    )
}
SCORED_ONLY = ("common_words", "frequent_words")
