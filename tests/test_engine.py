"""The engine as a whole on a small real model: same tokens in any company, chunking or reuse."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
import torch
from tiny_models import prompt, tiny_transformer

from perilune.engine.cache import PrefixCache
from perilune.engine.engine import Engine
from perilune.engine.sample import LogitsError
from perilune.engine.types import Request, SamplingParams
from perilune.errors import ContextError, RequestError

MODEL = tiny_transformer()


def engine(**options) -> Engine:
    options.setdefault("prefix_cache", PrefixCache(max_entries=0))
    return Engine(MODEL, **options)


def request(length: int = 20, which: int = 0, **options) -> Request:
    stop_ids = options.pop("stop_ids", frozenset())
    options.setdefault("max_tokens", 16)
    options.setdefault("temperature", 0)
    return Request(prompt(length, which), SamplingParams(**options), frozenset(stop_ids))


def reply(engine: Engine, request: Request) -> list[int]:
    return [token.id for token in engine.stream(request)]


def run_together(engine: Engine, requests: list[Request]) -> list[list[int]]:
    handles = [engine.submit(one) for one in requests]
    while engine.has_work:
        engine.step()
    return [[token.id for token in handle.tokens] for handle in handles]


def test_greedy_equals_the_definition():
    ids = list(prompt(20))
    for _ in range(16):
        with torch.no_grad():
            ids.append(int(MODEL(torch.tensor([ids]))[0, -1].argmax()))
    assert reply(engine(), request()) == ids[20:]


def test_replies_are_not_trivial():
    assert len(set(reply(engine(), request()))) > 4


def test_neighbours_do_not_change_a_reply():
    requests = [request(5 + 9 * i, i, temperature=1.0 * (i % 2), seed=i, top_p=0.9) for i in range(6)]
    alone = [reply(engine(), one) for one in requests]
    assert run_together(engine(), requests) == alone
    assert run_together(engine(max_batch=2, prefill_chunk=8), requests) == alone


@pytest.mark.parametrize("chunk", [1, 7, 16, 100])
def test_chunk_size_does_not_change_greedy_tokens(chunk):
    assert reply(engine(prefill_chunk=chunk), request(50)) == reply(engine(), request(50))


def test_reuse_gives_the_tokens_of_a_fresh_start():
    reusing = engine(prefix_cache=PrefixCache())
    first = request(30)
    answer = reply(reusing, first)
    later = Request((*first.prompt_ids, *answer, *prompt(10, 5)), first.params)
    handle = reusing.submit(later)
    tokens = [token.id for token in reusing.follow(handle)]
    assert handle.usage.cached_tokens == 30 + 16 - 1  # the last reply token was never fed back
    assert tokens == reply(engine(), later)


def test_a_branch_and_a_repeat_reuse_too():
    reusing = engine(prefix_cache=PrefixCache())
    first = request(30)
    answer = reply(reusing, first)
    branch = Request((*first.prompt_ids[:25], *prompt(10, 6)), first.params)
    assert reply(reusing, branch) == reply(engine(), branch)
    assert reply(reusing, first) == answer


def test_a_long_prompt_does_not_hold_up_a_short_one():
    busy = engine(prefill_chunk=8)
    long, short = busy.submit(request(400)), busy.submit(request(5, max_tokens=4))
    while not short.finished:
        busy.step()
    assert long.reads_prompt


def test_seeds_repeat_and_differ():
    assert reply(engine(), request(temperature=1, seed=3)) == reply(engine(), request(temperature=1, seed=3))
    assert reply(engine(), request(temperature=1, seed=3)) != reply(engine(), request(temperature=1, seed=4))


def test_a_stop_id_ends_the_reply_and_is_not_part_of_it():
    whole = reply(engine(), request())
    handle = engine().submit(request(stop_ids={whole[5]}))
    assert handle.finish_reason is None
    stopping = engine()
    handle = stopping.submit(request(stop_ids={whole[5]}))
    tokens = [token.id for token in stopping.follow(handle)]
    assert tokens == whole[: whole.index(whole[5])] and handle.finish_reason == "stop"


def test_max_tokens_ends_with_length():
    one = engine()
    handle = one.submit(request(max_tokens=3))
    assert len(list(one.follow(handle))) == 3 and handle.finish_reason == "length"
    assert handle.usage.completion_tokens == 3 and handle.usage.prompt_tokens == 20


def test_without_max_tokens_the_context_is_the_limit():
    one = engine()
    handle = one.submit(request(500, max_tokens=None))
    assert len(list(one.follow(handle))) == 12 and handle.finish_reason == "length"


@pytest.mark.parametrize(("length", "wanted"), [(512, None), (513, 1), (500, 13), (512, 1), (900, None)])
def test_what_does_not_fit_is_refused_with_both_numbers(length, wanted):
    with pytest.raises(ContextError, match=rf"the prompt has {length} tokens.*context holds 512"):
        engine().submit(request(length, max_tokens=wanted))


@pytest.mark.parametrize(("length", "wanted"), [(511, None), (511, 1), (500, 12)])
def test_what_just_fits_is_answered(length, wanted):
    assert len(reply(engine(), request(length, max_tokens=wanted))) == 512 - length


def test_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(RequestError, match="token id 512 is outside this model's vocabulary of 512"):
        engine().submit(Request((1, 512)))


def test_cancelling_frees_the_place_and_the_state():
    one = engine()
    handle = one.submit(request(max_tokens=400))
    one.step()
    one.step()
    assert handle.state is not None and not handle.finished
    one.cancel(handle)
    assert handle.finish_reason == "cancelled" and handle.state is None and not one.has_work
    one.cancel(handle)
    assert handle.finish_reason == "cancelled"


def test_cancelling_a_waiting_request():
    one = engine(max_batch=1)
    first, second = one.submit(request()), one.submit(request())
    one.step()
    one.cancel(second)
    assert len(list(one.follow(first))) == 16 and second.tokens == []


def test_cancelling_inside_a_step_waits_for_its_end():
    one = engine(prefix_cache=PrefixCache())
    lost, other = one.submit(request(20, 0)), one.submit(request(20, 1))
    decode = one.runner.decode

    def collect_then_decode(ids, states):  # what a garbage collection does to a stream that nobody holds
        one.cancel(lost)
        return decode(ids, states)

    one.runner.decode = collect_then_decode
    while one.has_work:
        one.step()
    assert lost.finish_reason == "cancelled" and [t.id for t in other.tokens] == reply(engine(), request(20, 1))
    assert all(entry.ids.size == entry.state.length for entry in one.prefix_cache._entries)


def test_closing_the_stream_cancels():
    one = engine()
    stream = one.stream(request(max_tokens=400))
    next(stream)
    stream.close()
    assert not one.has_work


def test_an_interrupted_reply_is_reused_by_the_next_request():
    one = engine(prefix_cache=PrefixCache())
    stream = one.stream(request(30, max_tokens=400))
    next(stream)
    stream.close()
    handle = one.submit(request(30))
    list(one.follow(handle))
    assert handle.usage.cached_tokens == 29


def test_progress_of_a_long_prompt_is_told():
    seen = []
    list(engine(prefill_chunk=16).stream(request(50, max_tokens=1), lambda *done: seen.append(done)))
    assert seen == [(16, 50), (32, 50), (48, 50), (50, 50)]


def test_a_broken_request_leaves_the_others_alone():
    one = engine()
    healthy = [one.submit(request(10 + i, i)) for i in range(2)]
    broken = one.submit(request(12, 9))
    one.step()
    for latent_CW in broken.state.latents:
        latent_CW[: broken.state.length] = torch.nan
    with pytest.raises(LogitsError):
        list(one.follow(broken))
    assert broken.finish_reason == "error"
    for i, handle in enumerate(healthy):
        assert [t.id for t in one.follow(handle)] == reply(engine(), request(10 + i, i))


def test_a_fault_in_a_batch_is_traced_to_its_request():
    one = engine()
    healthy, broken = one.submit(request(10)), one.submit(request(12, 9))
    one.step()
    broken.state.latents = broken.state.latents[:1]
    with pytest.raises(IndexError):
        list(one.follow(broken))
    assert [t.id for t in one.follow(healthy)] == reply(engine(), request(10))


def test_logprobs_come_with_the_tokens():
    tokens = list(engine().stream(request(max_tokens=2, logprobs=3)))
    assert all(len(t.top_logprobs) == 3 and t.top_logprobs[0] == (t.id, t.logprob) for t in tokens)


def test_several_threads_may_share_an_engine():
    one = engine()
    requests = [request(10 + i, i) for i in range(4)]
    replies: dict[int, list[int]] = {}

    def run(index: int) -> None:
        replies[index] = reply(one, requests[index])

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [replies[i] for i in range(4)] == [reply(engine(), r) for r in requests]


@contextmanager
def another_inside_a_step(one: Engine, sequence):
    """Another thread follows `sequence` and stays inside a step until the block ends."""
    inside, done, decode = threading.Event(), threading.Event(), one.runner.decode

    def slow_decode(ids, states):
        inside.set()
        assert done.wait(10)
        return decode(ids, states)

    one.runner.decode = slow_decode
    stepping = threading.Thread(target=lambda: list(one.follow(sequence)))
    stepping.start()
    assert inside.wait(10)
    yield
    done.set()
    stepping.join()


def test_cancelling_waits_for_nobody_and_is_not_forgotten():
    """Someone leaves while another thread is inside a step: the call comes back at once, and the step's end ends it."""
    one = engine()
    leaving, staying = one.submit(request(20, max_tokens=400)), one.submit(request(20, 1, max_tokens=3))
    with another_inside_a_step(one, staying):
        one.cancel(leaving)
        assert not leaving.finished
    assert leaving.finish_reason == "cancelled" and staying.finish_reason == "length" and not one.has_work


def test_whoever_comes_during_a_step_waits_for_a_place_not_for_the_step():
    one = engine()
    with another_inside_a_step(one, one.submit(request(20, max_tokens=2))):
        second = one.submit(request(20, 1, max_tokens=2))
    assert [t.id for t in one.follow(second)] == reply(engine(), request(20, 1, max_tokens=2))
