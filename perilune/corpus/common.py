"""Which words are common enough to be worth a definition, counted over the plain-text sources."""

import re
from collections import Counter
from collections.abc import Iterable

_WORD = re.compile(r"[a-z]+")


def count_words(texts: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(text.lower()))
    return counts
