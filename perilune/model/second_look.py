"""The second look: chosen chunks are read again, now that the question is known.

The first reading did not know what would be asked, and its latents look back only. The second look compares every
token of the chosen chunks with every token of the question, finds how well the tokens before and after each place
answer it (kernels/runs.py), and lets each latent see its neighbours on both sides and what is asked for
(look_layer.py). Two matches are by index key, as in the selection; one is literal: the length of the run of equal
tokens, which no training can blur.

Legend: B rows, T live tokens, K chosen chunks, S tokens of a chunk, M = K * S, L latent rank, G groups and I width of
an index key, W windows, F = W * (G + 1) + 1 fits.
Sources: ColBERT (arXiv 2004.12832) for late interaction; BiDAF (arXiv 1611.01603) for reading with the question known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config import LOOK_FAR, LOOK_NEAR, LOOK_WINDOWS, MemoryConfig
from perilune.kernels import runs
from perilune.model.chosen import Chosen
from perilune.model.layers import Linear
from perilune.model.look_layer import LookLayer, init_look_layer
from perilune.model.memory import SHARPNESS, Queries

LITERAL = 4  # so many equal tokens in a row are a full literal match
GAIN = 10.0  # fits are between 0 and 1 and must decide between thousands of tokens
FEATURE_GAIN = 4.0


@dataclass
class Question:
    """Live tokens with what each of them asks, how much it counts (zero: not at all) and how far it has faded (-inf:
    it is no part of the question)."""

    index_BTGI: Tensor
    weight_BTG: Tensor
    ids_BT: Tensor
    latents_BTL: Tensor
    log_keep_BT: Tensor

    @classmethod
    def of(cls, queries: Queries, latents_BTL: Tensor, ids_BT: Tensor, last_B: Tensor, window: int) -> Question:
        """The tokens up to the `last` of each row, faded as in the selection, at most `window` of them."""
        decay_BT = queries.log_keep_BT.cumsum(1)
        time_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        back_BT = last_B.unsqueeze(1) - time_T
        log_keep_BT = (decay_BT.gather(1, last_B.unsqueeze(1)) - decay_BT).clamp(max=0.0)
        log_keep_BT = log_keep_BT.masked_fill((back_BT < 0) | (back_BT >= window), -torch.inf).detach()
        weight_BTG = queries.weight_BTG.detach() * log_keep_BT.exp().unsqueeze(-1)
        return cls(queries.index_BTGI.detach(), weight_BTG, ids_BT, latents_BTL, log_keep_BT)


@torch.no_grad()
def fits(chosen: Chosen, question: Question) -> Tensor:
    """How well the surroundings of every chosen token answer the question, by kind of match and window, and whether
    they are the head: [B, M, F]."""
    joined_BK = ~chosen.breaks_BM.unflatten(1, chosen.ids_BKS.shape[1:])[:, :, 0]
    keys_BMGI = chosen.keys_BKSGI.flatten(1, 2)
    ids_BM = chosen.ids_BKS.flatten(1)
    weights = list(question.weight_BTG.unbind(-1))
    matches = [
        (index_BTI @ keys_BMI.mT).relu_().pow_(SHARPNESS)
        for index_BTI, keys_BMI in zip(question.index_BTGI.unbind(2), keys_BMGI.unbind(2), strict=True)
    ]
    matches.append(runs.equal_runs(question.ids_BT, ids_BM, chosen.breaks_BM, LITERAL).float() / LITERAL)
    weights.append(question.weight_BTG.mean(-1))
    made = []
    for match_BTM, weight_BT in zip(matches, weights, strict=True):
        share_BT = weight_BT / weight_BT.sum(1, keepdim=True).clamp(min=1e-6)
        made.append(runs.window_fits(match_BTM, share_BT, joined_BK))
    is_head_BKS = match_BTM.new_zeros(chosen.ids_BKS.shape)
    is_head_BKS[:, -1] = 1.0
    return torch.cat((*made, is_head_BKS.view(len(ids_BM), 1, -1)), 1).mT


class SecondLook(nn.Module):
    """Refines the latents of chosen chunks, scores every token by how well its surroundings fit the question, and says
    where what answers begins (in one place or, where several values are asked for, in several) and where it ends."""

    def __init__(self, config: MemoryConfig, norm_eps: float):
        super().__init__()
        rank, width = config.latent_rank, config.look_width
        self.in_proj = Linear(len(LOOK_NEAR) * (rank + config.look_fits), width)
        self.mix_proj = Linear(len(LOOK_FAR) * width, width)
        self.layer = LookLayer(config, norm_eps)
        self.out_proj = Linear(width, rank)
        self.point_proj = Linear(width, 1)
        self.begin_proj = Linear(width, 1)
        self.end_proj = Linear(width, 1)
        self.fit_weight = nn.Parameter(torch.empty(config.look_fits))

    def forward(self, chosen: Chosen, question: Question) -> Chosen:
        fit_BMF = fits(chosen, question)
        latents_BML = chosen.latents_BML
        known = torch.cat((latents_BML, fit_BMF * FEATURE_GAIN), -1)
        seen = F.silu(self.in_proj(chosen.around(known, LOOK_NEAR)))
        seen = seen + F.silu(self.mix_proj(chosen.around(seen, LOOK_FAR)))
        seen = self.layer(seen, chosen, question.latents_BTL, question.log_keep_BT)
        score_BM = fit_BMF @ (self.fit_weight.float() * GAIN) + self.point_proj(seen).squeeze(-1)
        best_B1 = score_BM.masked_fill(~chosen.there_BM, -torch.inf).amax(1, keepdim=True)
        # A row whose chunks are all empty has no best; its tokens are hidden everywhere.
        score_BM = score_BM - torch.where(best_B1.isfinite(), best_B1, torch.zeros_like(best_B1))
        refined_BML = latents_BML + self.out_proj(seen)
        shape = chosen.ids_BKS.shape
        refined_BKSL, fit_BKS = refined_BML.unflatten(1, shape[1:]), score_BM.view(shape)
        # What is told goes on in the text: a place without a follower begins nothing.
        goes_on_BM = chosen.there_BM & (chosen.next_ids_BM >= 0)
        begin_BM = score_BM.detach() + self.begin_proj(seen).squeeze(-1) * FEATURE_GAIN
        begin_BM = begin_BM.masked_fill(~goes_on_BM, -torch.inf)
        begin_BM = torch.where(goes_on_BM.any(1, keepdim=True), begin_BM, torch.zeros_like(begin_BM)).softmax(1)
        end_BM = (self.end_proj(seen).squeeze(-1) * FEATURE_GAIN).sigmoid()
        return replace(chosen, latents_BKSL=refined_BKSL, fit_BKS=fit_BKS, begin_BM=begin_BM, end_BM=end_BM)


@torch.no_grad()
def init_second_look(look: SecondLook) -> None:
    """Latents begin as they are; a place begins with the fit of the tokens around it, those before counting most."""
    init_look_layer(look.layer)
    look.out_proj.weight.zero_()
    look.point_proj.weight.zero_()
    look.begin_proj.weight.zero_()
    look.end_proj.weight.zero_()
    one_kind = torch.tensor([0.0, 0.2, 0.6, 0.4, 0.1, 0.2, 0.2])
    kinds = look.fit_weight.shape[0] // LOOK_WINDOWS
    look.fit_weight.copy_(torch.cat((one_kind.repeat(kinds), torch.tensor([0.3]))))
