"""Chosen chunks: the few chunks of a memory that a reply reads, gathered for each row in reading order.

A choice is made when a reply begins and renewed after many tokens; between two choices everything reads the same
chunks. The second look (second_look.py) refines what is gathered here and says how well each token's surroundings fit.

Legend: B rows, C chunks of the memory, K chosen ones, S tokens of a chunk, M = K * S, L latent rank, G groups and
I width of an index key, H heads, R tokens that read, W any width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from perilune.config import LONGEST_RUN, TOLD_AFTER
from perilune.kernels import runs
from perilune.model.memory import Pages, StoredPages

REACH = 3  # a token counts as told when a run went over it and ended at most so many tokens later
LEFT_FLOOR = 0.02


@dataclass
class Chosen:
    """Chunks that a row reads. Chunks that follow one another in the memory do so here: nothing is lost at borders.

    The last of the K is the head of the best one: the first chunk of its segment, where the name of its file stands.
    It holds nothing where it was chosen anyway.
    """

    latents_BKSL: Tensor
    keys_BKSGI: Tensor
    ids_BKS: Tensor  # -1 where there is no token
    next_ids_BKS: Tensor
    chunk_BK: Tensor
    bias_BK: Tensor  # the chunk's score minus the row's best
    fit_BKS: Tensor  # the fit of a token's surroundings minus the row's best; zero before the second look
    begin_BM: Tensor  # how likely what answers begins after a token: sums to 1, zero before the second look
    end_BM: Tensor  # how likely what answers ends with a token, once it is being told
    breaks_BM: Tensor  # True where a token does not follow the one before it in the row

    @property
    def latents_BML(self) -> Tensor:
        return self.latents_BKSL.flatten(1, 2)

    @property
    def next_ids_BM(self) -> Tensor:
        return self.next_ids_BKS.flatten(1)

    @property
    def there_BM(self) -> Tensor:
        """True where there is a token."""
        return (self.ids_BKS >= 0).flatten(1)

    def bias(self, chunk_scale_H: Tensor, fit_scale_H: Tensor) -> Tensor:
        """What is added to the logits of every gathered token; -inf where there is none. [B, H, M]"""
        chunk_BHK1 = (self.bias_BK.unsqueeze(1) * chunk_scale_H.view(1, -1, 1)).unsqueeze(-1)
        bias_BHKS = chunk_BHK1 + self.fit_BKS.unsqueeze(1) * fit_scale_H.view(1, -1, 1, 1)
        return bias_BHKS.flatten(2).masked_fill(~self.there_BM.unsqueeze(1), -torch.inf)

    def around(self, x_BMW: Tensor, backs: tuple[int, ...]) -> Tensor:
        """What stands so many tokens before each token (after it where negative), side by side: [B, M, len * W].

        Zero where the text breaks off."""
        part_BM = self.breaks_BM.cumsum(1)
        made = []
        for back in backs:
            same_BM = F.pad(part_BM, (back, -back), value=-1) == part_BM
            made.append(F.pad(x_BMW, (0, 0, back, -back)) * same_BM.unsqueeze(-1) if back else x_BMW)
        return torch.cat(made, -1)

    def runs(self, ids_BT: Tensor, last: int) -> Tensor:
        """How long the last tokens have been the same as those up to each place, for the `last` ones: [B, R, M]."""
        runs_BTM = runs.equal_runs(ids_BT, self.ids_BKS.flatten(1), self.breaks_BM, LONGEST_RUN)
        return runs_BTM[:, runs_BTM.shape[1] - last :]

    def told(self, runs_BRM: Tensor, before_BM: Tensor | None = None) -> Tensor:
        """How long the runs were that have gone over the token after each place since the choice: [B, R, M]."""
        return runs.told(runs_BRM, self.breaks_BM, REACH, before_BM)

    def begun(self, runs_BRM: Tensor, before_BM: Tensor | None = None) -> Tensor:
        """How likely what answers began in each place and has been told from there on, word for word, up to each
        token: [B, R, M]. No gradient goes through it."""
        return runs.begun(runs_BRM, self.begin_BM, self.breaks_BM, before_BM)

    def left(self, told_BRM: Tensor) -> Tensor:
        """The share of what answers that has not been told yet, and its log, for each of TOLD_AFTER: [B, R, 6]."""
        shares = [((told_BRM < length).float() @ self.begin_BM.unsqueeze(-1)).squeeze(-1) for length in TOLD_AFTER]
        left_BR3 = torch.stack(shares, -1)
        return torch.cat((left_BR3, (left_BR3 + LEFT_FLOOR).log()), -1)

    def told_span(self, begun_BRM: Tensor) -> Tensor:
        """Whether what answers is being told just now, and whether its end is reached: [B, R, 2]."""
        all_BR = begun_BRM.sum(-1)
        ended_BR = (begun_BRM @ self.end_BM.unsqueeze(-1)).squeeze(-1)
        return torch.stack((all_BR, ended_BR), -1) / (all_BR + LEFT_FLOOR).unsqueeze(-1)


def choose_dense(score_BC: Tensor, pages: Pages, top_k: int) -> Chosen:
    """The definition of a choice: every chunk is there, and those that were not chosen hold nothing."""
    rows, chunks = score_BC.shape
    best_BK = score_BC.detach().topk(min(top_k, chunks), dim=-1).indices
    picked_BC = torch.zeros_like(score_BC, dtype=torch.bool).scatter_(1, best_BK, True)
    all_BC = torch.arange(chunks, device=score_BC.device).expand(rows, -1)
    return _gather(all_BC, picked_BC, best_BK[:, :1], score_BC, pages)


def choose(score_BC: Tensor, pages: Pages | StoredPages, top_k: int) -> Chosen:
    """The best chunks of every row, `top_k` of them and a head."""
    best_BK = score_BC.detach().topk(min(top_k, score_BC.shape[-1]), dim=-1).indices
    chunk_BK = best_BK.sort(dim=-1).values
    return _gather(chunk_BK, torch.ones_like(chunk_BK, dtype=torch.bool), best_BK[:, :1], score_BC, pages)


def _gather(
    chunk_BK: Tensor, picked_BK: Tensor, best_B1: Tensor, score_BC: Tensor, pages: Pages | StoredPages
) -> Chosen:
    """The chunks that were picked and the head; what was not picked is hidden."""
    head_B1 = pages.heads_C[best_B1]
    new_B1 = ~((chunk_BK == head_B1) & picked_BK).any(1, keepdim=True)
    bias_BK = score_BC.gather(1, chunk_BK) - score_BC.gather(1, best_B1)
    bias_BK = torch.cat((bias_BK, torch.zeros_like(bias_BK[:, :1])), 1)
    chunk_BK, there_BK = torch.cat((chunk_BK, head_B1), 1), torch.cat((picked_BK, new_B1), 1)
    ids_BKS = pages.ids_CS[chunk_BK].masked_fill(~there_BK.unsqueeze(-1), -1)
    breaks_BKS = torch.zeros_like(ids_BKS, dtype=torch.bool)
    breaks_BKS[:, :, 0] = True
    follows_BK = (chunk_BK[:, 1:-1] == chunk_BK[:, :-2] + 1) & there_BK[:, 1:-1] & there_BK[:, :-2]
    breaks_BKS[:, 1:-1, 0] = ~follows_BK
    latents_BKSL = pages.latents_CSL[chunk_BK].float() * there_BK[..., None, None]
    return Chosen(
        latents_BKSL=latents_BKSL,
        keys_BKSGI=pages.some_keys(chunk_BK) * there_BK[..., None, None, None],
        ids_BKS=ids_BKS,
        next_ids_BKS=pages.next_ids_CS[chunk_BK],
        chunk_BK=chunk_BK,
        bias_BK=bias_BK,
        fit_BKS=latents_BKSL.new_zeros(ids_BKS.shape),
        begin_BM=latents_BKSL.new_zeros(ids_BKS.flatten(1).shape),
        end_BM=latents_BKSL.new_zeros(ids_BKS.flatten(1).shape),
        breaks_BM=breaks_BKS.flatten(1),
    )
