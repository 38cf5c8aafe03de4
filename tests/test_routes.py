"""Which experts tokens pass: what the router chose, whoever else is in the batch, and nothing where nobody asks."""

import threading

import torch
from tiny_models import TOKENIZER, memory_transformer, prompt, tiny_transformer

from perilune.engine.engine import Engine
from perilune.engine.routes import Routes
from perilune.engine.types import Request, SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True)


def finished(engine, *requests):
    sequences = [engine.submit(request) for request in requests]
    while engine.has_work:
        engine.step()
    return sequences


def test_routes_are_what_the_router_chooses_for_the_token_before():
    model = tiny_transformer()
    (sequence,) = finished(Engine(model), Request(prompt(9), GREEDY, routing=True))
    seen = {}
    for layer, block in enumerate(model.blocks):
        if hasattr(block.mlp, "gate"):
            block.mlp.observe = lambda ids, weights, layer=layer: seen.setdefault(layer, (ids, weights))
    model.extend(torch.tensor(sequence.ids[:-1]), model.new_state())
    for index, routes in enumerate(sequence.routed):
        assert [route.layer for route in routes] == sorted(seen) == [1, 2]
        for route in routes:
            ids, weights = (one[8 + index] for one in seen[route.layer])
            chosen = {int(id): float(weight) for id, weight in zip(ids, weights, strict=True)}
            assert set(route.experts) == set(chosen)
            given = torch.tensor([chosen[id] for id in route.experts])
            torch.testing.assert_close(torch.tensor(route.weights), given)


def test_routes_are_the_same_alone_and_in_company():
    asked = [Request(prompt(5 + i, seed=i), GREEDY, routing=i != 1) for i in range(3)]
    together = finished(Engine(tiny_transformer()), *asked)
    alone = [finished(Engine(tiny_transformer()), request)[0] for request in asked]
    for one, other in zip(together, alone, strict=True):
        assert one.tokens == other.tokens
        assert [[(r.layer, set(r.experts)) for r in at] for at in one.routed] == [
            [(r.layer, set(r.experts)) for r in at] for at in other.routed
        ]
    assert together[1].routed == [] and len(together[0].routed) == len(together[0].tokens) == 6


def test_a_model_with_a_memory_tells_its_routes_too():
    model = memory_transformer()
    (sequence,) = finished(Engine(model), Request(tuple(TOKENIZER.encode("where?")), GREEDY, routing=True))
    moes = [layer for layer, block in enumerate(model.blocks) if hasattr(block.mlp, "gate")]
    assert [[route.layer for route in routes] for routes in sequence.routed] == [moes] * 6


def test_other_threads_are_not_seen_and_earlier_observers_still_are():
    model, heard = tiny_transformer(), []
    moe = model.blocks[1].mlp
    moe.observe = lambda ids, weights: heard.append(len(ids))
    before = moe.observe
    with Routes(model).watched(True) as seen:
        moe.observe(torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 2))
        other = threading.Thread(target=moe.observe, args=(torch.ones(3, 2, dtype=torch.int64), torch.ones(3, 2)))
        other.start()
        other.join()
    assert len(seen.rows[1]) == 1 and heard == [1, 3] and moe.observe is before
    with Routes(model).watched(False):
        assert moe.observe is before
