"""A model with a chunk memory at work: what it reads passes the lower layers only, what it is asked passes all.

`read` turns segments into pages: each segment starts from fresh recurrent states, so its pages are a function of its
own tokens (and of a short overlap that warms the states up). `ask` runs whole rows of live tokens on given pages: the
definition of asking, and what training uses. listen.py does the same token by token.

Legend: B rows, T tokens, R of them that read, N times of choice, D hidden, L latent rank, C chunks,
S tokens of a chunk, M tokens of the chosen chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perilune.model.chosen import Chosen, choose
from perilune.model.copy_head import Lived, Pointing, Read, live_runs, pointable
from perilune.model.layers import following
from perilune.model.memory import Pages, Queries, accumulate, best_matches, pair_matches
from perilune.model.model import Transformer
from perilune.model.reader import WindowReader, take
from perilune.model.second_look import Question


@dataclass
class Asked:
    """What the tokens that read came to: last hidden states for the head, where they point (one for each time of
    choice), chunk scores and choices."""

    y_BRD: Tensor
    pointing: list[Pointing]
    score_BNC: Tensor
    chosen: list[Chosen]


def lower_hidden(model: Transformer, ids_BT: Tensor, learn: bool = True) -> Tensor:
    """Hidden states at mid-depth of rows that each start afresh. [B, T, D]"""
    packing = model.packing(ids_BT, None)
    with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
        x_BTD = model.embed(ids_BT)
        for block in model.lower:
            x_BTD = block(x_BTD, packing)
    return x_BTD


def read(model: Transformer, ids_BT: Tensor, overlap: int = 0, learn_lower: bool = True) -> Pages:
    """Rows of tokens (whole chunks, -1 fills the last one) → their pages; the first `overlap` tokens are not kept."""
    assert model.memory is not None
    middle_BTD = lower_hidden(model, ids_BT.clamp(min=0), learn_lower)
    features = model.memory.features(middle_BTD)[:, overlap:]
    return model.memory.pages(features, ids_BT[:, overlap:])


def scores(queries: Queries, pages: Pages, valid_BT: Tensor) -> Tensor:
    """How well every chunk fits what the live tokens have asked so far: [B, T, C]."""
    pairs_NGC = pair_matches(best_matches(queries.index_BTGI[valid_BT], pages.keys_CSGI, pages.fixed))
    pairs_BTGC = pairs_NGC.new_zeros(*valid_BT.shape, *pairs_NGC.shape[1:]).masked_scatter(
        valid_BT[..., None, None], pairs_NGC
    )
    return accumulate(pairs_BTGC, queries).score_BTC


def ask(
    model: Transformer, ids_BT: Tensor, pages: Pages, time_BR: Tensor, learn_lower: bool = True, top_k: int = 0
) -> Asked:
    """Rows of live tokens, each starting afresh, on one memory; the tokens at `time_BR` read it, those before them
    only say what is wanted. Rows that are shorter end in any ids, and repeat a time. `top_k`: chunks to choose, if
    not as many as the config says."""
    memory, second_look = model.memory, model.second_look
    assert memory is not None and second_look is not None and model.config.memory is not None
    settings = model.config.memory
    x_BTD = lower_hidden(model, ids_BT, learn_lower)
    features = memory.features(x_BTD)
    # Tokens after a row's last reading one are filling.
    valid_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device) <= time_BR.amax(1, keepdim=True)
    queries = memory.queries(features)
    times = list(time_BR.split(settings.renew, dim=1))
    first_BN = torch.stack([time_BR[:, 0] for time_BR in times], 1)
    score_BNC = take(scores(queries, pages, valid_BT), first_BN)
    latents_BTL, parts = memory.latents(features), []
    for score_BC, time_BR in zip(score_BNC.unbind(1), times, strict=True):
        question = Question.of(queries, latents_BTL, ids_BT, time_BR[:, 0], settings.window)
        parts.append((second_look(choose(score_BC, pages, top_k or settings.top_k), question), time_BR))
    packing = model.packing(ids_BT, None)
    for block in model.upper:
        assert isinstance(block.self_attn, WindowReader)
        normed = block.input_layernorm(x_BTD)
        x_BTD = block.feed_forward(x_BTD + block.self_attn.read(normed, packing.cos, packing.sin, None, parts))
    y_BTD = model.norm(x_BTD)
    made = [_pointing(model, y_BTD, latents_BTL, ids_BT, *part) for part in parts]
    y_BRD = torch.cat([y_BRD for y_BRD, _ in made], 1)
    return Asked(y_BRD, [pointing for _, pointing in made], score_BNC, [chosen for chosen, _ in parts])


def _pointing(
    model: Transformer, y_BTD: Tensor, latents_BTL: Tensor, ids_BT: Tensor, chosen: Chosen, time_BR: Tensor
) -> tuple[Tensor, Pointing]:
    """Hidden states of the tokens that go by one choice, aware of what is left to tell, and where they point."""
    copy_head, length = model.copy_head, ids_BT.shape[1]
    assert copy_head is not None
    seen_BTT = pointable(None, length, copy_head.window, ids_BT.device).expand(ids_BT.shape[0], -1, -1)
    live = Lived(latents_BTL, following(ids_BT), take(seen_BTT, time_BR), take(live_runs(ids_BT), time_BR))
    runs_BRM = take(chosen.runs(ids_BT, length), time_BR)
    read = Read.of(chosen, runs_BRM)
    y_BRD = copy_head.aware(take(y_BTD, time_BR), read)
    return y_BRD, copy_head(y_BRD, take(latents_BTL, time_BR), live, read)


def joined(first: Pages, second: Pages) -> Pages:
    """The chunks of both, in this order; the second ones are given."""
    return Pages(
        torch.cat((first.latents_CSL, second.latents_CSL)),
        torch.cat((first.keys_CSGI, second.keys_CSGI)),
        torch.cat((first.ids_CS, second.ids_CS)),
        torch.cat((first.heads_C, second.heads_C + first.ids_CS.shape[0])),
        first.fixed + second.ids_CS.shape[0],
    )
