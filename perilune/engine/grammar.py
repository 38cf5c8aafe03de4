"""Grammars hold a reply to a form: at each step the tokens that cannot go on are forbidden.

The work is llguidance's: a grammar is compiled once, and each reply walks through it. Nothing here fails open: what
is no grammar is refused, and a reply that runs into a limit ends with an error.

Legend: V vocabulary.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perilune.errors import PeriluneError, RequestError

MAX_KEPT = 64  # compiled grammars
MAX_STATES = 50_000  # of a reply's lexer, about 2 kB each
FORBIDDEN = np.float32(-np.inf)
_LONGEST_FAULT = 300  # characters


class GrammarError(PeriluneError):
    """A reply could not be held to its grammar."""


@dataclass(frozen=True)
class Grammar:
    """A compiled grammar, and from where on it holds: after the token `after`, or from the first one on.

    `never` are forbidden while it holds, `not_before` until then.
    """

    matcher: Any
    after: int | None
    not_before: np.ndarray
    never: np.ndarray

    def begin(self) -> Constraint:
        return Constraint(self)


class Constraint:
    """One reply's way through a grammar."""

    def __init__(self, grammar: Grammar):
        self._grammar = grammar
        self._matcher = grammar.matcher.deep_copy()
        self._holds = grammar.after is None

    def masked(self, logits_V: np.ndarray) -> np.ndarray:
        """A copy in which no forbidden token can be chosen."""
        if self._holds:
            bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
            self._check()
            allowed_V, forbidden = bits[: logits_V.size].astype(np.bool_), self._grammar.never
        else:
            allowed_V, forbidden = np.ones(logits_V.size, np.bool_), self._grammar.not_before
        allowed_V[forbidden] = False
        if not allowed_V.any():
            raise GrammarError("the grammar leaves no token that the reply could go on with")
        return np.where(allowed_V, logits_V, FORBIDDEN)

    def accept(self, token_id: int) -> None:
        if not self._holds:
            self._holds = token_id == self._grammar.after
        elif not self._matcher.is_stopped() and not self._matcher.consume_token(token_id):
            self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(f"the reply cannot be held to its grammar: {_short(self._matcher.get_error())}")


class Grammars:
    """Compiles grammars for one vocabulary and keeps the last ones. May be used from any thread."""

    def __init__(self, ranks: Mapping[bytes, int], special: Mapping[str, int], pattern: str, end_id: int):
        """A vocabulary of byte pieces and special tokens by id, how text is cut before merging, and the id that ends a
        reply."""
        from llguidance import LLParserLimits, LLTokenizer

        self._markers = [id for id in special.values() if id != end_id]
        self._tokenizer = LLTokenizer.from_tiktoken(  # pyrefly: ignore
            encoder=dict(ranks),
            special_tokens=dict(special),
            pattern=pattern,
            eos_token=end_id,
            n_vocab=len(ranks) + len(special),
        )
        self._limits = LLParserLimits(max_lexer_states=MAX_STATES, verbose_errors=False)
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def compile(
        self, lark: str, *, after: int | None = None, not_before: Collection[int] = (), markers: bool = False
    ) -> Grammar:
        """Without `markers` no special token but the end may stand in what the grammar describes. Raises RequestError
        where the grammar is none."""
        never = np.array([] if markers else self._markers, np.int64)
        return Grammar(self._matcher(lark), after, np.array([*not_before], np.int64), never)

    def _matcher(self, lark: str) -> Any:
        from llguidance import LLMatcher

        with self._lock:
            if lark in self._kept:
                self._kept.move_to_end(lark)
                return self._kept[lark]
        matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(lark), log_level=0, limits=self._limits)
        if matcher.is_error():
            raise RequestError(f"the schema or grammar cannot be used: {_short(matcher.get_error())}")
        with self._lock:
            self._kept[lark] = matcher
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return matcher


def _short(fault: str) -> str:
    return " ".join(fault.split("<backtrace>")[0].split())[:_LONGEST_FAULT]
