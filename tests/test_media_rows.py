from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import memory_transformer, prompt, tiny_transformer

from perilune.engine.cache import PrefixCache
from perilune.engine.engine import Engine
from perilune.engine.types import Request, SamplingParams
from perilune.model.media_rows import MediaRows
from perilune.model.model import Transformer

PAD, LENGTH, FIRST, COUNT = 255, 40, 9, 12


def seeing(model: Transformer) -> Transformer:
    made = Transformer(replace(model.config, media_placeholder_token_id=PAD))
    made.load_state_dict(model.state_dict())
    return made.eval()


MODELS = {"latent attention": seeing(tiny_transformer()), "chunk memory": seeing(memory_transformer())}


@pytest.fixture(params=MODELS, ids=str)
def model(request):
    return MODELS[request.param]


def picture(seed: int) -> torch.Tensor:
    return torch.randn(COUNT, 64, generator=torch.Generator().manual_seed(seed))


def ids() -> tuple[int, ...]:
    made = [token if token != PAD else 0 for token in prompt(LENGTH, vocab=PAD)]
    made[FIRST : FIRST + COUNT] = [PAD] * COUNT
    return tuple(made)


def asked(features: torch.Tensor | None, content: bytes = b"a", **options) -> Request:
    media = None if features is None else MediaRows.of([(FIRST, features, content)])
    return Request(ids(), SamplingParams(max_tokens=12, temperature=0, **options), media=media)


def reply(engine: Engine, request: Request) -> list[int]:
    return [token.id for token in engine.stream(request)]


def test_greedy_with_media_equals_the_definition_whatever_the_chunks(model):
    features, so_far = picture(1), list(ids())
    for _ in range(12):
        with torch.no_grad():
            so_far.append(int(model(torch.tensor([so_far]), media_ND=features)[0, -1].argmax()))
    for chunk in (512, 16, 1):
        engine = Engine(model, prefill_chunk=chunk, prefix_cache=PrefixCache(max_entries=0))
        assert reply(engine, asked(features)) == so_far[LENGTH:]


def test_pictures_change_the_reply(model):
    made = [reply(Engine(model, prefix_cache=PrefixCache(max_entries=0)), asked(f)) for f in (picture(1), picture(2))]
    assert made[0] != made[1]


def test_what_was_kept_of_a_prompt_is_for_the_same_picture_only(model):
    engine = Engine(model, prefill_chunk=16)
    first = reply(engine, asked(picture(1), b"a"))
    again = engine.submit(asked(picture(1), b"a"))
    other = engine.submit(asked(picture(2), b"b"))
    assert [token.id for token in engine.follow(again)] == first and again.cached >= 32
    assert [token.id for token in engine.follow(other)] == reply(
        Engine(model, prefix_cache=PrefixCache(max_entries=0)), asked(picture(2))
    )
    assert other.cached <= FIRST
    assert all(entry.state.media is None for entry in engine.prefix_cache._entries)


def test_names_are_below_zero_and_tell_content_and_row():
    media = MediaRows.of([(2, torch.zeros(3, 4), b"a"), (7, torch.zeros(2, 4), b"b")])
    again = MediaRows.of([(0, torch.zeros(3, 4), b"a")])
    named = media.name(np.zeros(8, np.int64))
    assert (named[[2, 3, 4, 7]] < 0).all() and len(set(named.tolist())) == 5
    assert (named[2:5] == again.name(np.zeros(3, np.int64))).all()
    assert MediaRows.of([]) is None


def test_rows_are_laid_in_the_piece_they_belong_to():
    rows = torch.arange(1.0, 6.0).unsqueeze(1).expand(5, 4)
    media = MediaRows.of([(2, rows[:3], b"a"), (7, rows[3:], b"b")])
    whole = media.lay(torch.zeros(10, 4), 0)[:, 0].tolist()
    assert whole == [0, 0, 1, 2, 3, 0, 0, 4, 5, 0]
    parts = torch.cat([media.lay(torch.zeros(end - at, 4), at) for at, end in ((0, 3), (3, 4), (4, 8), (8, 10))])
    assert parts[:, 0].tolist() == whole
