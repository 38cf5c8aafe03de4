"""A model with a chunk memory at work: what it reads passes the lower layers only, what it is asked passes all.

`read` turns segments into pages: each segment starts from fresh recurrent states, so its pages are a function of its
own tokens (and of a short overlap that warms the states up). `ask` runs whole rows of live tokens on given pages: the
definition of asking, and what training uses. listen.py does the same token by token.

Legend: B rows, T tokens, R of them that read, N times of choice, D hidden, C chunks, S tokens of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perilune.model.copy_head import Pointing
from perilune.model.memory import (
    Chosen,
    Pages,
    Queries,
    accumulate,
    best_matches,
    choose,
    pair_matches,
)
from perilune.model.model import Transformer, following
from perilune.model.reader import WindowReader, take


@dataclass
class Asked:
    """What the tokens that read came to: normed last hidden states, where they point, chunk scores and choices."""

    y_BRD: Tensor
    pointing: Pointing
    score_BNC: Tensor
    chosen: Chosen


def lower_hidden(model: Transformer, ids_BT: Tensor) -> Tensor:
    """Hidden states at mid-depth of rows that each start afresh. [B, T, D]"""
    packing = model.packing(ids_BT, None)
    x_BTD = model.embed(ids_BT)
    for block in model.lower:
        x_BTD = block(x_BTD, packing)
    return x_BTD


def read(model: Transformer, ids_BT: Tensor, overlap: int = 0) -> Pages:
    """Rows of tokens (whole chunks, -1 fills the last one) → their pages; the first `overlap` tokens are not kept."""
    assert model.memory is not None
    middle_BTD = lower_hidden(model, ids_BT.clamp(min=0))
    features = model.memory.features(middle_BTD)[:, overlap:]
    return model.memory.pages(features, ids_BT[:, overlap:])


def scores(queries: Queries, pages: Pages, valid_BT: Tensor) -> Tensor:
    """How well every chunk fits what the live tokens have asked so far: [B, T, C]."""
    pairs_NGC = pair_matches(best_matches(queries.index_BTGI[valid_BT], pages.keys_CSGI, pages.fixed))
    pairs_BTGC = pairs_NGC.new_zeros(*valid_BT.shape, *pairs_NGC.shape[1:]).masked_scatter(
        valid_BT[..., None, None], pairs_NGC
    )
    return accumulate(pairs_BTGC, queries).score_BTC


def ask(model: Transformer, ids_BT: Tensor, pages: Pages, time_BR: Tensor) -> Asked:
    """Rows of live tokens, each starting afresh, on one memory; the tokens at `time_BR` read it, those before them
    only say what is wanted. Rows that are shorter end in any ids, and repeat a time."""
    memory, copy_head = model.memory, model.copy_head
    assert memory is not None and copy_head is not None and model.config.memory is not None
    x_BTD = lower_hidden(model, ids_BT)
    features = memory.features(x_BTD)
    # Tokens after a row's last reading one are filling.
    valid_BT = torch.arange(ids_BT.shape[1]) <= time_BR.amax(1, keepdim=True)
    renew = model.config.memory.renew
    score_BNC = take(scores(memory.queries(features), pages, valid_BT), time_BR[:, ::renew])
    choice = choose(score_BNC, pages, model.config.memory.top_k)
    chosen = choice.for_tokens(torch.arange(time_BR.shape[1]) // renew)
    packing = model.packing(ids_BT, None)
    for block in model.upper:
        assert isinstance(block.self_attn, WindowReader)
        normed = block.input_layernorm(x_BTD)
        x_BTD = block.feed_forward(
            x_BTD + block.self_attn.read(normed, packing.cos, packing.sin, None, chosen, time_BR)
        )
    y_BRD = model.norm(take(x_BTD, time_BR))
    latents_BTL = memory.latents(features)
    back_BRT = time_BR.unsqueeze(-1) - torch.arange(ids_BT.shape[1])
    seen_BRT = (back_BRT > 0) & (back_BRT < copy_head.window)
    pointing = copy_head(y_BRD, take(latents_BTL, time_BR), latents_BTL, following(ids_BT), seen_BRT, chosen)
    return Asked(y_BRD, pointing, score_BNC, choice)


def joined(first: Pages, second: Pages) -> Pages:
    """The chunks of both, in this order; the second ones are given."""
    return Pages(
        torch.cat((first.latents_CSL, second.latents_CSL)),
        torch.cat((first.keys_CSGI, second.keys_CSGI)),
        torch.cat((first.ids_CS, second.ids_CS)),
        first.fixed + second.ids_CS.shape[0],
    )
