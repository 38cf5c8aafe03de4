"""Training rows of reading and asking: short documents with needles, and questions that only they answer.

Which rows a step takes is a pure function of seed, step and row. Documents of one batch are each other's distractors:
every question is asked of all of them together.

Axes: B documents, T tokens read, Q questions, L live tokens, C chunks of all documents (B * T / S).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from perilune.corpus.filler import filler
from perilune.model import live
from perilune.model.model import Transformer, following
from perilune.tasks.lookup import LOOKUPS, Laid, Lookup, Question, lay
from perilune.tasks.task import reply
from perilune.text.chat import render
from perilune.text.specials import IM_ASSISTANT
from perilune.text.tokenizer import Tokenizer
from perilune.train.loss import head_loss

FILLING = -1
LENGTHS = (256, 512, 512, 1024)  # of a document
LONGEST_REPLY = 64
LONGEST_LIVE = 160  # a question with its reply that is longer is left out
# How often each kind of lookup is drawn.
WEIGHTS = {
    "single": 0.08,
    "multikey": 0.16,
    "multivalue": 0.07,
    "multiquery": 0.10,
    "backward": 0.03,
    "needles_words": 0.10,
    "needles_uuids": 0.12,
    "facts": 0.09,
    "profiles": 0.04,
    "records": 0.05,
    "functions": 0.04,
    "files": 0.04,
    "variables": 0.03,
    "copy": 0.02,
    "mixed": 0.03,
}
TOKENS_A_NEEDLE = 48  # about one needle for so many tokens read, at most


@dataclass(frozen=True)
class AskBatch:
    """Documents (-1 fills them up to whole chunks), questions with replies, and the chunks that hold the answers."""

    read_BT: Tensor
    live_QL: Tensor
    mask_QL: Tensor  # True where the token is learned as a target
    first_Q: Tensor  # the assistant's role: from there on the memory is read
    gold_QC: Tensor

    @property
    def trained(self) -> int:
        return int(self.mask_QL.sum())


@dataclass(frozen=True)
class Row:
    """A question with its reply, which ids are learned, and the chunks that hold the answer."""

    ids: list[int]
    mask: list[bool]
    gold: list[int]


class AskRows:
    """Makes batches of `tokens` read, as many short documents or few long ones, and about `questions` on them."""

    def __init__(self, root: Path, tokenizer: Tokenizer, seed: int, chunk_size: int, tokens: int, questions: int):
        self.root, self.tokenizer, self.seed, self.chunk_size = root, tokenizer, seed, chunk_size
        self.tokens, self.questions = tokens, questions
        self.answer_id = tokenizer.special_id(IM_ASSISTANT)

    def batch(self, step: int, part: int) -> AskBatch:
        length = random.Random(f"{self.seed}:length:{step}").choice(LENGTHS)
        documents = max(1, self.tokens // length)
        each = max(1, self.questions // documents)
        made = [
            self._document(random.Random(f"{self.seed}:ask:{step}:{part}:{i}"), length, each) for i in range(documents)
        ]
        chunks = length // self.chunk_size
        read_BT = torch.full((documents, length), FILLING, dtype=torch.long)
        asked: list[Row] = []
        for i, (ids, rows) in enumerate(made):
            read_BT[i, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
            asked += [replace(row, gold=[i * chunks + c for c in row.gold]) for row in rows]
        longest = max(len(row.ids) for row in asked)
        live_QL = torch.zeros(len(asked), longest, dtype=torch.long)
        mask_QL = torch.zeros(len(asked), longest, dtype=torch.bool)
        gold_QC = torch.zeros(len(asked), documents * chunks, dtype=torch.bool)
        for q, row in enumerate(asked):
            live_QL[q, : len(row.ids)] = torch.tensor(row.ids)
            mask_QL[q, : len(row.ids)] = torch.tensor(row.mask)
            gold_QC[q, row.gold] = True
        first_Q = torch.tensor([row.ids.index(self.answer_id) for row in asked])
        return AskBatch(read_BT, live_QL, mask_QL, first_Q, gold_QC)

    def _document(self, rng: random.Random, tokens: int, questions: int) -> tuple[np.ndarray, list[Row]]:
        """Ids of one document, and questions about it."""
        while True:
            name = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            most = max(2, tokens // TOKENS_A_NEEDLE)
            lookup = LOOKUPS[name](rng, rng.randint(max(1, most // 4), most), False)
            laid = self._lay(rng, lookup, tokens)
            if laid is None or len(laid.ids) > tokens:
                continue
            rows = list(self._rows(rng, lookup, laid, questions))
            if rows:
                return laid.ids, rows

    def _lay(self, rng: random.Random, lookup: Lookup, tokens: int) -> Laid | None:
        gold = {i for asked in lookup.questions for i in asked.needles}
        if sum(len(self.tokenizer.encode(lookup.needles[i])) + 4 for i in gold) > tokens - 16:
            return None
        return lay(rng, lookup, filler(lookup.filler, self.root, rng, False), tokens - 8, self.tokenizer.encode)

    def _rows(self, rng: random.Random, lookup: Lookup, laid: Laid, questions: int) -> Iterator[Row]:
        chosen = list(lookup.questions)
        rng.shuffle(chosen)
        for asked in chosen[:questions]:
            ids, mask = self._live(asked)
            if len(ids) <= LONGEST_LIVE and sum(mask) <= LONGEST_REPLY:
                yield Row(ids, mask, sorted({c for n in asked.needles for c in self._chunks(*laid.spans[n])}))

    def _live(self, asked: Question) -> tuple[list[int], list[bool]]:
        messages = ({"role": "user", "content": asked.text}, reply(asked.answer))
        options = {"tokenizer": self.tokenizer, "thinking": False, "add_generation_prompt": False}
        rendered = render(messages, None, **options)
        return rendered.ids, list(rendered.mask)

    def _chunks(self, start: int, end: int) -> range:
        return range(start // self.chunk_size, (end - 1) // self.chunk_size + 1)


@dataclass(frozen=True)
class AskLoss:
    """Summed loss of the replies, mean loss of the selection, and counts for the report."""

    replies: Tensor
    selection: Tensor
    shares: dict[str, float]  # of gold chunks chosen when the reply begins; of reply tokens copied right
    pages: live.Pages  # what was read, without gradients


class Bank:
    """Chunks that earlier steps have read, at most `size`: they make a haystack larger at the price of a search."""

    def __init__(self, size: int):
        self.size = size
        self.pages: live.Pages | None = None

    def add(self, pages: live.Pages) -> None:
        both = pages if self.pages is None else live.joined(pages, self.pages)
        self.pages = live.Pages(both.latents_CSL[: self.size], both.keys_CSGI[: self.size], both.ids_CS[: self.size])


def ask_loss(model: Transformer, batch: AskBatch, extra: live.Pages | None = None, sharp: float = 30.0) -> AskLoss:
    """`extra` are more chunks that hold no answer; `sharp` is the scale of the scores in the selection's loss."""
    pages = live.read(model, batch.read_BT)
    own = live.Pages(pages.latents_CSL.detach(), pages.keys_CSGI.detach(), pages.ids_CS)
    if extra is not None:
        pages = live.joined(pages, extra)
    time_QR, learned_QR = _replies(batch)
    asked = live.ask(model, batch.live_QL, pages, time_QR)
    target_QR = following(batch.live_QL).gather(1, time_QR)
    log_copy_N = asked.pointing.log_copy(target_QR)[learned_QR]
    log_keep_N = asked.pointing.log_keep[learned_QR]
    copied = log_keep_N, log_copy_N
    replies = head_loss(asked.y_BRD[learned_QR], model.lm_head.weight, target_QR[learned_QR], 0.0, copied)
    selection, recalled = _selection(asked, batch, sharp)
    with torch.no_grad():
        shares = {"recall": recalled, "copied": float((log_copy_N > -0.7).float().mean())}
    return AskLoss(replies, selection, shares, own)


def _replies(batch: AskBatch) -> tuple[Tensor, Tensor]:
    """The tokens that read, from the assistant's role on, and which of them predict a learned token."""
    length = batch.live_QL.shape[1]
    last_Q = length - 1 - batch.mask_QL.flip(1).int().argmax(1)
    most = int((last_Q - batch.first_Q).max())
    time_QR = batch.first_Q.unsqueeze(1) + torch.arange(most)
    inside_QR = time_QR < last_Q.unsqueeze(1)
    time_QR = torch.minimum(time_QR, (last_Q - 1).unsqueeze(1))
    return time_QR, batch.mask_QL.gather(1, time_QR + 1) & inside_QR


def _selection(asked: live.Asked, batch: AskBatch, sharp: float) -> tuple[Tensor, float]:
    """Every chunk with an answer against all chunks without, at each time of choice."""
    gold_QC = torch.zeros(batch.gold_QC.shape[0], asked.score_BNC.shape[-1], dtype=torch.bool)
    gold_QC[:, : batch.gold_QC.shape[1]] = batch.gold_QC
    logits_QNC = asked.score_BNC * sharp
    # Neighbours share a pair with a gold chunk, and with it its score: they are neither right nor wrong.
    near_QC = torch.nn.functional.max_pool1d(gold_QC.float()[:, None], 3, stride=1, padding=1)[:, 0].bool()
    wrong_QN1 = logits_QNC.masked_fill(near_QC.unsqueeze(1), -torch.inf).logsumexp(-1, keepdim=True)
    each_QNC = torch.logaddexp(logits_QNC, wrong_QN1) - logits_QNC
    loss = (each_QNC * gold_QC.unsqueeze(1)).sum() / (gold_QC.sum() * each_QNC.shape[1])
    with torch.no_grad():
        found_QU = gold_QC.gather(1, asked.chosen.chunk_BU.clamp(min=0)) & asked.chosen.picked_BTU[:, 0]
        recalled = float(found_QU.sum() / gold_QC.sum())
    return loss, recalled
