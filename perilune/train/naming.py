"""A warm-up for fresh towers: what stands at the placeholders should lie near the words of the reply.

The decoder takes no part, so a step costs little, and every picture or sound is told apart from all others by the words
that go with it. Afterwards the decoder meets media as something like the words that it knows.

Legend: B rows, T tokens, N rows of media, E examples, D hidden, V vocabulary, A tokens of replies.
Source: CLIP (arXiv 2103.00020) for pictures by their words.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from perilune.model.model import Transformer
from perilune.train.packed import Batch

SHARPNESS = 16.0  # cosines are at most one; times this they tell thousands of words apart
LENGTH_WEIGHT = 0.2  # of the squared logarithm of a row's length by that of words


def naming_loss(model: Transformer, rows: Batch, media_ND: Tensor | None) -> Tensor:
    """Mean cross-entropy of the words of each reply, given the mean of the example's media. Words count by how rare
    they are among the replies of the batch: what all of them begin with says nothing.

    Rows of media should also be as long as words are: cosines leave that free, and rows twenty times as long, as they
    came out, are nothing that the layers of a trained decoder can read."""
    assert media_ND is not None, "every example has a picture, a sound or a clip"
    example_N = rows.segments_BT[rows.ids_BT == model.config.media_placeholder_token_id].long()
    word_A, example_A = rows.target_BT[rows.mask_BT], rows.segments_BT[rows.mask_BT].long()
    count = int(rows.segments_BT.max()) + 1
    mean_ED = media_ND.new_zeros(count, media_ND.shape[1]).index_add(0, example_N, media_ND)
    table_VD = model.embed_tokens.weight.detach()
    words_VD = F.normalize(table_VD, dim=-1)
    logits_EV = F.normalize(mean_ED, dim=-1) @ words_VD.mT * SHARPNESS
    weight_A = rarity(word_A, example_A, count, len(words_VD))
    named = (F.cross_entropy(logits_EV[example_A], word_A, reduction="none") * weight_A).sum() / weight_A.sum()
    ratio_N = media_ND.norm(dim=-1) / table_VD.norm(dim=-1).mean()
    return named + LENGTH_WEIGHT * ratio_N.clamp(min=1e-6).log().square().mean()


def rarity(word_A: Tensor, example_A: Tensor, examples: int, words: int) -> Tensor:
    """log(examples / examples with that word) of every word of every reply."""
    has_EV = torch.zeros(examples, words, dtype=torch.bool, device=word_A.device)
    has_EV[example_A, word_A] = True
    return (examples / has_EV.sum(0)[word_A]).log()
