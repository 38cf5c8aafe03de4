"""The engine: requests in, tokens out, ids only. Prompts are read in chunks between the steps of replies.

A request gets the same tokens alone or in company: chunk borders are fixed, every row is sampled on its own.
Every public method may be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from itertools import accumulate

import numpy as np

from perilune.engine.cache import PrefixCache
from perilune.engine.routes import Route, Routes
from perilune.engine.runner import PREFILL_CHUNK, Runner
from perilune.engine.sample import Sampler
from perilune.engine.scheduler import MAX_BATCH, MAX_WAITING, Scheduler, Sequence
from perilune.engine.types import FinishReason, Request, Token
from perilune.errors import ContextError, RequestError
from perilune.model.model import Transformer
from perilune.model.state import SequenceState

OnPrefill = Callable[[int, int], None]


class Engine:
    """Runs requests on one model. `step` does a bounded piece of work; `stream` steps for its caller."""

    def __init__(
        self,
        model: Transformer,
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        prefill_chunk: int = PREFILL_CHUNK,
        prefix_cache: PrefixCache | None = None,
        vocab_size: int | None = None,
        context_tokens: int | None = None,
    ) -> None:
        """`vocab_size` leaves out the padding rows of a head that is larger than its tokenizer; `context_tokens` is
        what there is memory for, where that is less than the model's context: all running sequences share it."""
        self.runner = Runner(model, prefill_chunk)
        self.routes = Routes(model)
        self.scheduler = Scheduler(max_batch, max_waiting, context_tokens)
        self.prefix_cache = PrefixCache() if prefix_cache is None else prefix_cache
        self.context_length = min(model.config.max_position_embeddings, context_tokens or 1 << 62)
        self.vocab_size = vocab_size or model.config.vocab_size
        self._lock = threading.RLock()
        self._stepping = False
        self._leaving: deque[Sequence] = deque()

    @property
    def has_work(self) -> bool:
        return bool(self.scheduler.running or self.scheduler.waiting)

    def submit(self, request: Request) -> Sequence:
        """Checks a request and puts it in the queue; the sequence returned is its handle."""
        max_length = self.check(request)
        constraint = request.grammar.begin() if request.grammar else None
        sampler = Sampler(request.params, request.prompt_ids, constraint)
        sequence = Sequence(request, sampler, max_length, list(request.prompt_ids))
        self.scheduler.add(sequence)
        return sequence

    def stream(self, request: Request, on_prefill: OnPrefill | None = None) -> Generator[Token, None, None]:
        """Tokens as they come. Closing the iterator cancels the request."""
        yield from self.follow(self.submit(request), on_prefill)

    def follow(self, sequence: Sequence, on_prefill: OnPrefill | None = None) -> Generator[Token, None, None]:
        """Steps until the sequence is finished and yields its tokens; raises what went wrong with it.

        `on_prefill(done, total)` is told how much of the prompt has been read.
        """
        seen = reported = 0
        sequence.on_prefill = on_prefill
        try:
            while True:
                finished = sequence.finished  # read first: tokens that come later are seen next time round
                while seen < len(sequence.tokens):
                    seen += 1
                    yield sequence.tokens[seen - 1]
                if finished:
                    break
                self.step()
                if on_prefill and sequence.prefilled != reported:
                    reported = sequence.prefilled
                    on_prefill(reported, sequence.prompt_length)
        finally:
            self.cancel(sequence)
        if sequence.error is not None:
            raise sequence.error

    def cancel(self, *sequences: Sequence) -> None:
        """Ends requests and frees their places: at once, or when the step is over that another thread is in. It never
        waits, since whoever calls may have others to serve. No effect on finished ones."""
        self._leaving.extend(sequence for sequence in sequences if not sequence.finished)
        self._let_go()

    def _let_go(self) -> None:
        """Whoever holds the lock does this again after giving it back, so what was added meanwhile is not forgotten."""
        while self._leaving and self._lock.acquire(blocking=False):
            try:
                if self._stepping:  # a collected stream or a signal handler, inside a step: the state is in use
                    return
                sequence = self._leaving.popleft()
                if not sequence.finished:
                    self._finish(sequence, "cancelled")
            except IndexError:  # another thread was faster
                return
            finally:
                self._lock.release()

    def step(self) -> None:
        """One token for every running reply, then one chunk's worth of prompts."""
        try:
            with self._lock:
                self._stepping = True
                try:
                    for sequence in self.scheduler.admit():
                        self._attach_state(sequence)
                    self._decode(self.scheduler.writers())
                    self._prefill_all(self.scheduler.readers(self.runner.prefill_chunk, self._chunk_of))
                finally:
                    self._stepping = False
        finally:
            self._let_go()

    def check(self, request: Request) -> int:
        """How long it may become; raises where this model cannot run it."""
        prompt, wanted = len(request.prompt_ids), request.params.max_tokens
        if max(request.prompt_ids) >= self.vocab_size:
            raise RequestError(
                f"token id {max(request.prompt_ids)} is outside this model's vocabulary of {self.vocab_size}"
            )
        if request.params.logit_bias and max(dict(request.params.logit_bias)) >= self.vocab_size:
            raise RequestError(f"logit_bias names a token outside this model's vocabulary of {self.vocab_size}")
        read = request.read_tokens
        if read and self.runner.model.memory is None:
            raise RequestError("this model has no chunk memory: give it the text in the prompt")
        if request.embeds:
            if prompt > self.context_length:
                raise ContextError(
                    f"the text has {prompt} tokens, but this model's context holds {self.context_length}; "
                    "cut it into several"
                )
            return prompt
        if read + prompt + (wanted or 1) > self.context_length:
            before = f"{read} tokens were read, " if read else ""
            reply = f" and max_tokens is {wanted}" if wanted else ""
            raise ContextError(
                f"{before}the prompt has {prompt} tokens{reply}, but this model's context holds "
                f"{self.context_length} tokens for {'what was read, ' if read else ''}prompt and reply together"
            )
        return prompt + wanted if wanted else self.context_length - read

    def _attach_state(self, sequence: Sequence) -> None:
        pages = sequence.request.pages
        prompt, salt = sequence.content(sequence.prompt_length), sequence.request.cache_salt
        state = self.prefix_cache.take(prompt, salt) if sequence.keeps_state else None
        sequence.state = state or self.runner.new_state(pages)
        sequence.state.media = sequence.request.media
        sequence.live = sequence.state.live
        sequence.cached = sequence.prefilled = sequence.state.length

    def _chunk_of(self, sequence: Sequence) -> int:
        return self.runner.chunk_size(sequence.prefilled, sequence.prompt_length)

    def _prefill_all(self, sequences: list[Sequence]) -> None:
        if not sequences or not self.runner.reads_together:
            for sequence in sequences:
                self._prefill(sequence)
            return
        began = time.perf_counter()
        try:
            chunks = [(self._chunk_ids(s), _state(s)) for s in sequences]
            embeds = [sequence.request.embeds for sequence in sequences]
            with self.routes.watched(any(s.request.routing for s in sequences)) as seen:
                made = self.runner.prefill_together(chunks, partial(self._report, sequences), embeds)
        except Exception as error:
            if len(sequences) == 1:
                self._fail(sequences[0], error)
                return
            for sequence in sequences:  # run them alone to find whose fault it was
                self._prefill(sequence)
            return
        ends = list(accumulate(len(ids) for ids, _ in chunks))
        for sequence, given, end in zip(sequences, made, ends, strict=True):
            self._prefill(sequence, given, seen.of(end - 1, ends[-1]))
            sequence.prefill_seconds += time.perf_counter() - began

    def _report(self, sequences: list[Sequence], layers: int) -> None:
        """A chunk whose experts come from disk takes long: what has passed some layers counts as that part of it."""
        for sequence in sequences:
            done = self._chunk_of(sequence) * layers // self.runner.config.num_hidden_layers
            if sequence.on_prefill and sequence.prefilled + done < sequence.prompt_length:
                sequence.on_prefill(sequence.prefilled + done, sequence.prompt_length)

    def _chunk_ids(self, sequence: Sequence) -> list[int]:
        start = _state(sequence).length
        return sequence.ids[start : start + self._chunk_of(sequence)]

    def _prefill(self, sequence: Sequence, given: np.ndarray | None = None, routes: list[Route] | None = None) -> None:
        """Reads the next chunk of a prompt; logits or hidden states, and the routes of its last token, are given where
        that was done with others."""
        state, embeds = _state(sequence), sequence.request.embeds
        began = time.perf_counter()
        try:
            last = sequence.prefilled + self._chunk_of(sequence) == sequence.prompt_length
            with self.routes.watched(sequence.request.routing and last) as seen:
                if given is None:
                    given = (self.runner.embed if embeds else self.runner.prefill)(self._chunk_ids(sequence), state)
            sequence.prefilled = state.length
            if embeds:
                self._add(sequence, given)
            else:
                self._keep_border(sequence, state)
                if not sequence.reads_prompt:
                    if sequence.request.routing:
                        sequence.routed.append(seen.of(0, 1) if routes is None else routes)
                    self._accept(sequence, sequence.sampler(given[: self.vocab_size]))
        except Exception as error:  # a fault belongs to its request; the others go on
            self._fail(sequence, error)
        sequence.prefill_seconds += time.perf_counter() - began

    def _add(self, sequence: Sequence, hidden_TD: np.ndarray) -> None:
        """Row after row, so that the sum knows nothing of where chunks end."""
        before = [] if sequence.sum_D is None else [sequence.sum_D[None]]
        sequence.sum_D = np.add.reduce(np.concatenate((*before, hidden_TD)), axis=0, dtype=np.float64)
        if not sequence.reads_prompt and not sequence.finished:
            self._finish(sequence, "stop")

    def _keep_border(self, sequence: Sequence, state: SequenceState) -> None:
        """A recurrent state cannot go back to where another prompt parts ways, so whole chunks are kept on the way."""
        at_border = state.length % self.runner.prefill_chunk == 0
        if state.is_recurrent and at_border and sequence.keeps_state:
            self.prefix_cache.put(sequence.content(state.length), state.fork(), sequence.request.cache_salt)

    def _decode(self, sequences: list[Sequence]) -> None:
        if not sequences:
            return
        began = time.perf_counter()
        try:
            with self.routes.watched(any(s.request.routing for s in sequences)) as seen:
                logits_BV = self.runner.decode([s.ids[-1] for s in sequences], [_state(s) for s in sequences])
        except Exception as error:
            self._isolate(sequences, error)
            return
        for index, (sequence, logits_V) in enumerate(zip(sequences, logits_BV, strict=True)):
            try:
                if sequence.request.routing:
                    sequence.routed.append(seen.of(index, len(sequences)))
                self._accept(sequence, sequence.sampler(logits_V[: self.vocab_size]))
            except Exception as error:
                self._fail(sequence, error)
            sequence.decode_seconds += time.perf_counter() - began

    def _isolate(self, sequences: list[Sequence], error: Exception) -> None:
        """A batch failed before any state moved: run its members alone to find whose fault it was."""
        if len(sequences) == 1:
            self._fail(sequences[0], error)
            return
        for sequence in sequences:
            self._decode([sequence])

    def _accept(self, sequence: Sequence, token: Token) -> None:
        """Appends a sampled token; the one that ends the reply is not part of it."""
        if sequence.finished:  # cancelled by its caller while the batch was computed
            return
        if token.id in sequence.request.stop_ids:
            self._finish(sequence, "stop")
            return
        sequence.ids.append(token.id)
        sequence.tokens.append(token)
        if len(sequence.ids) >= sequence.max_length:
            self._finish(sequence, "length")

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        sequence.error = error
        sequence.state = None  # rows of a failed computation are not reused
        self._finish(sequence, "error")

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        sequence.finish_reason = reason
        sequence.on_prefill = None  # it knows who asked, who knows this sequence: a ring would keep both
        self.scheduler.remove(sequence)
        state, sequence.state = sequence.state, None
        if state is not None and sequence.keeps_state:
            state.media = None
            self.prefix_cache.put(sequence.content(state.length), state, sequence.request.cache_salt)


def _state(sequence: Sequence) -> SequenceState:
    assert sequence.state is not None, "only running sequences are computed"
    return sequence.state
