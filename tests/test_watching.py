"""A model that watches: what it has seen is what the clip would be as a file, and is not seen or read again."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from time import sleep

import pytest
import torch
from test_incoming_frames import Clock, clip_of, taken
from test_video import shade, written
from tiny_models import TOKENIZER, tiny_transformer
from tiny_senses import sensing_model

from perilune.api.model import Model
from perilune.api.watching import Watcher, warm_up
from perilune.errors import ContextError, MessageError, RequestError
from perilune.media.incoming_frames import playing
from perilune.media.parts import gather
from perilune.text import specials as sp

QUESTION = "What is it?"
GREEDY = dict(temperature=0.0, max_tokens=8, thinking=False)


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("recurrent"))


@pytest.fixture(scope="module")
def attending(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("attending"), tiny_transformer(context=4096).config)


@pytest.fixture(params=["recurrent", "attending"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def watched(model, data, ahead=True, fast=True, **options):
    """Watched to its end."""
    with playing(data, model.senses.limits, fast) as source:
        watcher = Watcher(model, source, "clip", **options)
        while not watcher.ended:
            if watcher.step(wait=True) and ahead:
                watcher.read_ahead()
        return watcher


def embedded(model, messages):
    """The ids of a prompt, what stands among its embeddings, and what that is known by."""
    plain, media = gather(messages, model.senses.has)
    perceived = model.senses.perceive(media)
    ids = model.render(plain, thinking=False).ids
    return ids, model.senses.rows(perceived, ids, TOKENIZER.special_id(sp.MEDIA_PAD))


def as_a_file(data):
    return [{"role": "user", "content": [{"type": "video", "video": data}, {"type": "text", "text": QUESTION}]}]


@pytest.mark.parametrize(("frames", "fps"), [(1, 20), (47, 20), (160, 20), (13, 1), (201, 24)])
def test_the_prompt_and_its_embeddings_are_those_of_the_clip_as_a_file(model, frames, fps):
    data = clip_of(frames, fps)
    asked, window = watched(model, data).ask(QUESTION)
    ids, rows = embedded(model, asked)
    file_ids, file_rows = embedded(model, as_a_file(data))
    assert ids == file_ids and torch.equal(rows.rows_ND, file_rows.rows_ND)
    assert (rows.places_N == file_rows.places_N).all() and (rows.names_N == file_rows.names_N).all()
    assert window.begin == 0 and window.end == pytest.approx((frames - 1) / fps if window.frames > 1 else 0)


def test_questions_on_the_way_change_nothing_at_the_end(model):
    data = clip_of(130)
    with playing(data, model.senses.limits, fast=True) as source:
        watcher, ends = Watcher(model, source, "clip"), []
        while not watcher.ended:
            watcher.step(wait=True)
            ends.append(watcher.ask(QUESTION)[1].frames)
    assert ends == list(range(1, 14))
    ids, rows = embedded(model, watcher.ask(QUESTION)[0])
    file_ids, file_rows = embedded(model, as_a_file(data))
    assert ids == file_ids and torch.equal(rows.rows_ND, file_rows.rows_ND)


def test_at_the_end_only_the_last_frames_and_the_question_are_read(model, monkeypatch):
    data = clip_of(100)  # two chunks of four frames and one of two
    model.engine.prefix_cache.clear()
    watcher = watched(model, data)
    asked, _ = watcher.ask(QUESTION)
    monkeypatch.setattr(type(model.senses), "_look", None)  # nothing is looked at again
    reply = model.chat(asked, **GREEDY)
    ids = model.render(asked, thinking=False).ids
    whole = [index for index, id in enumerate(ids) if id == TOKENIZER.special_id(sp.MEDIA_END)]
    assert len(whole) == 3 and reply.usage.cached_tokens >= whole[1] + 1
    monkeypatch.undo()
    model.engine.prefix_cache.clear()
    alone = model.chat(as_a_file(data), **GREEDY)
    assert alone.usage.cached_tokens == 0 and alone.content == reply.content
    assert watcher.real_time_factor > 0 and watcher.clip_seconds == pytest.approx(5.0)


def test_a_question_about_the_seconds_since_the_last_one_leaves_no_frame_out_and_none_in_twice(recurrent):
    with playing(clip_of(120), recurrent.senses.limits, fast=True) as source:
        watcher, spans = Watcher(recurrent, source, "clip"), []
        watcher.until = 1.5
        while not watcher.ended:
            if watcher.due:
                spans.append(watcher.ask(QUESTION)[1])
                watcher.forget()
                assert not watcher.has_seen
                watcher.until += 1.5
            watcher.step(wait=True)
            assert watcher.end < watcher.until
        spans.append(watcher.ask(QUESTION)[1])
    with playing(clip_of(120), fast=True) as source:
        seconds = [frame.seconds for frame in taken(source)]
    inside = [[s for s in seconds if span.begin <= s <= span.end] for span in spans]
    assert [s for group in inside for s in group] == seconds
    assert [len(group) for group in inside] == [span.frames for span in spans] and len(spans) == 4


def test_frames_that_come_while_an_answer_is_read_are_looked_at(recurrent, clock):
    with playing(clip_of(200), recurrent.senses.limits) as source:
        watcher = Watcher(recurrent, source, "clip")
        while watcher.frames < 5:
            watcher.step(wait=True)
        asked, window = watcher.ask(QUESTION)

        def later(*_):
            clock.now += 0.6
            watcher.catch_up()

        with recurrent.stream(asked, on_prefill=later, **GREEDY) as stream:
            for _ in stream:
                later()
        assert window.frames == 5 and watcher.frames > 10 and watcher.skipped == 0


def test_where_seeing_takes_too_long_whole_chunks_are_skipped_and_counted(recurrent, clock, monkeypatch):
    look = type(recurrent.senses).look

    def slow(*given):
        clock.now += 5.0
        return look(*given)

    monkeypatch.setattr(type(recurrent.senses), "look", slow)
    with playing(clip_of(20 * 40), recurrent.senses.limits) as source:
        watcher, most = Watcher(recurrent, source, "clip"), 0.0
        while not watcher.ended:
            if watcher.step(wait=True):
                most = max(most, source.behind)
        _, window = watcher.ask(QUESTION)
    assert watcher.frames + watcher.skipped == 80 and watcher.skipped % 4 == 0 and watcher.skipped > 20
    assert window.frames == watcher.frames
    # Two chunks may wait, a third comes in full before any is skipped, and one is being looked at: 2 · 2 + 5 s.
    assert most <= 9.0 + 0.6
    chunks = [chunk["timestamp"] for chunk in window.item.given.item["chunks"]]
    assert len(chunks) == -(-watcher.frames // 4) and any(b - a > 3 for a, b in pairwise(chunks))


def test_reading_waits_for_what_has_to_be_seen(recurrent, clock):
    with playing(clip_of(100), recurrent.senses.limits) as source:
        watcher = Watcher(recurrent, source, "clip")
        while watcher.frames < 4:
            watcher.step(wait=True)
        clock.now += 3
        before = len(recurrent.engine.prefix_cache._entries), watcher._spent
        watcher.read_ahead()
        assert (len(recurrent.engine.prefix_cache._entries), watcher._spent) == before
        watcher.catch_up()
        watcher.read_ahead()
        assert watcher._spent > before[1]


def test_a_full_window_lets_its_older_half_go_and_says_so(recurrent):
    watcher = watched(recurrent, clip_of(400), window_seconds=8.0)
    asked, window = watcher.ask(QUESTION)
    assert watcher.frames == 40 and watcher.let_go > 0 and watcher.let_go + window.frames == 40
    assert 4 <= window.end - window.begin <= 8 and window.end == pytest.approx(399 / 20)
    assert recurrent.chat(asked, **GREEDY).usage.prompt_tokens > 0


def test_a_full_context_lets_go_too(tmp_path):
    small = sensing_model(tmp_path, tiny_transformer(context=220).config)
    watcher = watched(small, clip_of(400), system="You watch.", reply_tokens=8)
    asked, window = watcher.ask(QUESTION)
    assert watcher.let_go + window.frames == 40 and window.frames >= 8
    assert small.chat(asked, **GREEDY).usage.completion_tokens > 0
    with pytest.raises(ContextError):
        watched(small, written([shade(9, 640, 480)] * 80, fps=20))


def test_watching_ends_after_the_seconds_that_were_given(recurrent):
    watcher = watched(recurrent, clip_of(200), seconds=3.0)
    assert watcher.frames == 6 and watcher.ended and watcher.end < 3.0


def test_no_more_is_kept_than_the_context_holds_while_nothing_is_asked_or_read(tmp_path):
    small = sensing_model(tmp_path, tiny_transformer(context=100).config)
    watcher = watched(small, clip_of(800), ahead=False)
    kept = sum(len(chunk.rows_nD) for chunk in watcher._kept)
    assert watcher.frames == 80 and 50 < kept <= 100 and watcher.let_go > 0


def test_chunks_pass_the_tower_one_at_a_time_and_the_same_one_once(recurrent, monkeypatch):
    look, at_once, most, made = type(recurrent.senses)._look, 0, 0, []

    def counted(senses, patches):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        sleep(0.01)
        made.append(patches)
        at_once -= 1
        return look(senses, patches)

    monkeypatch.setattr(type(recurrent.senses), "_look", counted)
    with ThreadPoolExecutor(12) as threads:
        seen = list(threads.map(lambda i: recurrent.senses.look([shade(70 + i % 3, 56, 42)], float(i)), range(12)))
    assert most == 1 and len(made) == 3
    assert all(torch.equal(one.rows_nD, seen[i % 3].rows_nD) and one.seconds == i for i, one in enumerate(seen))


def test_what_was_seen_is_kept_once(recurrent):
    asked, _ = watched(recurrent, clip_of(100)).ask(QUESTION)
    kept = list(recurrent.senses._kept)
    embedded(recurrent, asked)
    assert list(recurrent.senses._kept) == kept


def test_a_warm_model_has_its_eyes_and_a_blind_one_is_refused(tmp_path):
    fresh = sensing_model(tmp_path)
    assert not fresh.transformer.senses
    warm_up(fresh)
    assert "vision" in fresh.transformer.senses and len(fresh.engine.prefix_cache)
    with pytest.raises(MessageError, match="this model has no eyes; watch with one that has"):
        warm_up(Model(tiny_transformer(), TOKENIZER))


@pytest.mark.parametrize("seconds", [0.5, 3601, float("nan")])
def test_a_window_beyond_its_range_is_refused(recurrent, seconds):
    with pytest.raises(RequestError, match="a window must be from 1 to 3600 s"):
        watched(recurrent, clip_of(2), window_seconds=seconds)
