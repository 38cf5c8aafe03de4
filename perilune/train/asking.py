"""Training rows of reading and asking: short documents with needles, and questions that only they answer.

Which rows a step takes is a pure function of seed, step and row. Documents of one batch are each other's distractors:
every question is asked of all of them together.

Axes: B documents, T tokens read, Q questions, L live tokens, C chunks of all documents (B * T / S).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perilune.corpus.filler import filler
from perilune.documents.names import header_text
from perilune.model import live
from perilune.model.chosen import Chosen
from perilune.model.copy_head import Pointing
from perilune.model.layers import following
from perilune.model.model import Transformer
from perilune.tasks.lookup import LOOKUPS, Laid, Lookup, lay
from perilune.tasks.lookup_sentences import sentences
from perilune.tasks.lookup_values import Values
from perilune.tasks.lookup_wrapped import wrapped
from perilune.tasks.task import reply
from perilune.text.chat import render
from perilune.text.specials import IM_ASSISTANT
from perilune.text.tokenizer import Tokenizer
from perilune.train.loss import head_loss

Span = tuple[int, int]
FILLING = -1
LENGTHS = (256, 512, 512, 1024)  # of a document
LONGEST_REPLY = 56
LONGEST_LIVE = 104  # a question with its reply that is longer is left out
# How often each kind of lookup is drawn.
WEIGHTS = {
    "single": 0.09,
    "multikey": 0.11,
    "multivalue": 0.14,
    "multiquery": 0.08,
    "backward": 0.03,
    "needles_words": 0.07,
    "needles_uuids": 0.06,
    "facts": 0.12,
    "profiles": 0.04,
    "records": 0.05,
    "functions": 0.05,
    "files": 0.06,
    "defined": 0.04,
    "variables": 0.02,
    "copy": 0.07,
    "mixed": 0.03,
    "sentences": 0.26,
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
    gold_tokens_QCS: Tensor  # the tokens of the needles, each with the token before it
    begins_QCS: Tensor  # the tokens that a value follows
    inside_QCS: Tensor  # the tokens of values
    ends_QCS: Tensor  # the last one of each

    @property
    def trained(self) -> int:
        return int(self.mask_QL.sum())


@dataclass(frozen=True)
class Row:
    """A question with its reply, which ids are learned, and the chunks that hold the answer."""

    ids: list[int]
    mask: list[bool]
    gold: list[int]
    spans: list[Span]  # of the tokens to copy from
    values: list[Span]  # the tokens that are told

    def moved(self, chunks: int, tokens: int) -> Row:
        """The same in a document that begins so much later."""
        spans = [(start + tokens, end + tokens) for start, end in self.spans]
        values = [(start + tokens, end + tokens) for start, end in self.values]
        return replace(self, gold=[c + chunks for c in self.gold], spans=spans, values=values)


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
            asked += [row.moved(i * chunks, i * length) for row in rows]
        longest = max(len(row.ids) for row in asked)
        live_QL = torch.zeros(len(asked), longest, dtype=torch.long)
        mask_QL = torch.zeros(len(asked), longest, dtype=torch.bool)
        gold_QC = torch.zeros(len(asked), documents * chunks, dtype=torch.bool)
        gold_tokens_QT = torch.zeros(len(asked), documents * length, dtype=torch.bool)
        begins_QT, inside_QT, ends_QT = (torch.zeros_like(gold_tokens_QT) for _ in range(3))
        for q, row in enumerate(asked):
            for start, end in row.values:
                begins_QT[q, max(0, start - 1)] = ends_QT[q, end - 1] = True
                inside_QT[q, start:end] = True
            for start, end in row.spans:
                gold_tokens_QT[q, max(0, start - 1) : end] = True
            live_QL[q, : len(row.ids)] = torch.tensor(row.ids)
            mask_QL[q, : len(row.ids)] = torch.tensor(row.mask)
            gold_QC[q, row.gold] = True
        first_Q = torch.tensor([row.ids.index(self.answer_id) for row in asked])
        marks = (x.unflatten(1, (-1, self.chunk_size)) for x in (gold_tokens_QT, begins_QT, inside_QT, ends_QT))
        return AskBatch(read_BT, live_QL, mask_QL, first_Q, gold_QC, *marks)

    def _document(self, rng: random.Random, tokens: int, questions: int) -> tuple[np.ndarray, list[Row]]:
        """Ids of one document, and questions about it."""
        while True:
            name = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            most = max(2, tokens // TOKENS_A_NEEDLE)
            count, piece = rng.randint(max(1, most // 4), most), partial(next, filler("text", self.root, rng, False))
            lookup = sentences(rng, count, piece) if name == "sentences" else LOOKUPS[name](rng, count, False)
            if lookup is None:
                continue
            lookup = wrapped(rng, lookup, piece)
            head = self._header(rng, lookup)
            laid = self._lay(rng, lookup, tokens - len(head))
            if laid is None or len(laid.ids) + len(head) > tokens:
                continue
            spans = tuple((start + len(head), end + len(head)) for start, end in laid.spans)
            ids = np.concatenate((np.asarray(head, np.int32), laid.ids))
            rows = list(self._rows(rng, lookup, ids, spans, len(head), questions))
            if rows:
                return ids, rows

    def _header(self, rng: random.Random, lookup: Lookup) -> list[int]:
        """The name of the file, as the segments of a document begin with it; half of the documents have none."""
        name = lookup.file or (Values(rng, False).fresh("path") if rng.random() < 0.5 else None)
        return self.tokenizer.encode(header_text(name)) if name else []

    def _lay(self, rng: random.Random, lookup: Lookup, tokens: int) -> Laid | None:
        gold = {i for asked in lookup.questions for i in asked.needles}
        if sum(len(self.tokenizer.encode(lookup.needles[i])) + 4 for i in gold) > tokens - 16:
            return None
        return lay(rng, lookup, filler(lookup.filler, self.root, rng, False), tokens - 8, self.tokenizer.encode)

    def _rows(
        self, rng: random.Random, lookup: Lookup, read: np.ndarray, spans: Sequence[Span], head: int, questions: int
    ) -> Iterator[Row]:
        chosen = list(lookup.questions)
        rng.shuffle(chosen)
        for asked in chosen[:questions]:
            gold = [spans[n] for n in asked.needles]
            copied = [(1, head)] if lookup.file else gold
            ids, mask = self._live(asked.text, self.spelled(asked.values, [read[a:b].tolist() for a, b in copied]))
            if len(ids) <= LONGEST_LIVE and sum(mask) <= LONGEST_REPLY:
                values = self._told(asked.values, read.tolist(), copied)
                yield Row(ids, mask, sorted({c for span in gold for c in self._chunks(*span)}), copied, values)

    def _told(self, values: Sequence[str], read: list[int], spans: Sequence[Span]) -> list[Span]:
        """The tokens of each value, spelled with the space before it or without."""
        told = set()
        for value in values:
            for start, end in spans:
                for spelled in (self.tokenizer.encode(" " + value), self.tokenizer.encode(value)):
                    place = _place(spelled, read[start:end])
                    if place >= 0:
                        told.add((start + place, start + place + len(spelled)))
        return sorted(told)

    def spelled(self, values: Sequence[str], parts: Sequence[list[int]]) -> str:
        """The values as they can be copied token by token: most words have their space within their first token.

        Values that stand without that space come on lines of their own, since after a comma they would get one.
        """
        encode, made = self.tokenizer.encode, ""
        for value in values:
            bare = encode(value)
            if not any(_place(bare, part) >= 0 for part in parts):
                made += ("," if made else "") + " " + value
            elif made:
                made += (", " if encode(", " + value)[-len(bare) :] == bare else "\n") + value
            else:
                made = value
        return made

    def _live(self, question: str, answer: str) -> tuple[list[int], list[bool]]:
        messages = ({"role": "user", "content": question}, reply(answer))
        options = {"tokenizer": self.tokenizer, "thinking": False, "add_generation_prompt": False}
        rendered = render(messages, None, **options)
        return rendered.ids, list(rendered.mask)

    def _chunks(self, start: int, end: int) -> range:
        return range(start // self.chunk_size, (end - 1) // self.chunk_size + 1)


def _place(few: list[int], many: list[int]) -> int:
    """Where the ids stand in one piece, or -1; the last may be longer there, where a sign has joined it."""
    few = few[:-1] if len(few) > 1 else few
    return next((i for i in range(len(many) - len(few) + 1) if many[i : i + len(few)] == few), -1)


@dataclass(frozen=True)
class AskLoss:
    """Summed loss of the replies, mean loss of the selection, and counts for the report."""

    replies: Tensor
    selection: Tensor
    spans: Tensor  # mean loss of telling where what answers begins and ends
    shares: dict[str, float]  # of gold chunks chosen when the reply begins; of reply tokens copied right
    pages: live.Pages  # what was read, without gradients


class Bank:
    """Chunks that earlier steps have read, at most `size`: they make a haystack larger at the price of a search."""

    def __init__(self, size: int):
        self.size = size
        self.pages: live.Pages | None = None

    def add(self, pages: live.Pages) -> None:
        both = pages if self.pages is None else live.joined(pages, self.pages)
        size = self.size
        heads_C = both.heads_C.clamp(max=size - 1)[:size]
        self.pages = live.Pages(both.latents_CSL[:size], both.keys_CSGI[:size], both.ids_CS[:size], heads_C)


def ask_loss(
    model: Transformer,
    batch: AskBatch,
    extra: live.Pages | None = None,
    sharp: float = 30.0,
    learn_lower: bool = True,
    top_k: int = 0,
) -> AskLoss:
    """`extra` are more chunks that hold no answer; `sharp` is the scale of the scores in the selection's loss.

    Without `learn_lower` the layers that read stay as they are, which costs a third; `top_k` as in live.ask.
    """
    pages = live.read(model, batch.read_BT, learn_lower=learn_lower)
    own = live.Pages(pages.latents_CSL.detach(), pages.keys_CSGI.detach(), pages.ids_CS, pages.heads_C)
    if extra is not None:
        pages = live.joined(pages, extra)
    time_QR, learned_QR = _replies(batch)
    asked = live.ask(model, batch.live_QL, pages, time_QR, learn_lower, top_k)
    target_QR = following(batch.live_QL).gather(1, time_QR)
    log_keep_QR = torch.cat([pointing.log_keep for pointing in asked.pointing], 1)
    targets = target_QR.split([pointing.gate_BT.shape[1] for pointing in asked.pointing], 1)
    parts = zip(asked.pointing, asked.chosen, targets, strict=True)
    log_copy_QR = torch.cat([p.log_copy(target, _gold_tokens(batch, p, chosen)) for p, chosen, target in parts], 1)
    log_copy_N = log_copy_QR[learned_QR]
    copied = log_keep_QR[learned_QR], log_copy_N
    replies = head_loss(asked.y_BRD[learned_QR], model.lm_head.weight, target_QR[learned_QR], 0.0, copied)
    selection, recalled = _selection(asked, batch, sharp)
    with torch.no_grad():
        shares = {"recall": recalled, "copied": float((log_copy_N > -0.7).float().mean())}
    return AskLoss(replies, selection, _span_loss(asked, batch), shares, own)


def _span_loss(asked: live.Asked, batch: AskBatch) -> Tensor:
    """At the first choice, every place that a value follows should have an equal share, and of the tokens of a value
    only the last should be an end. A mean over all questions."""
    chosen = asked.chosen[0]
    begins_QM, ends_QM = _marked(batch.begins_QCS, chosen), _marked(batch.ends_QCS, chosen)
    goes_on_QM = _marked(batch.inside_QCS, chosen) & ~ends_QM
    begin = _mean_over(-(chosen.begin_BM + 1e-6).log(), begins_QM)
    end = _mean_over(-(chosen.end_BM + 1e-6).log(), ends_QM) + _mean_over(-(1 + 1e-6 - chosen.end_BM).log(), goes_on_QM)
    return begin + end


def _mean_over(x_QM: Tensor, marks_QM: Tensor) -> Tensor:
    """The mean over all questions of the mean over each one's marks, zero where it has none."""
    return ((x_QM * marks_QM).sum(1) / marks_QM.sum(1).clamp(min=1)).mean()


def _gold_tokens(batch: AskBatch, pointing: Pointing, chosen: Chosen) -> Tensor:
    """Which of the tokens pointed at stand in a needle that holds the answer, or just before it: [Q, A]."""
    gold_QM = _marked(batch.gold_tokens_QCS, chosen)
    return F.pad(gold_QM, (0, pointing.ids_BA.shape[1] - gold_QM.shape[1]))


def _marked(marks_QCS: Tensor, chosen: Chosen) -> Tensor:
    """Marks on the tokens that were read, as they lie in the chosen chunks: [Q, M]."""
    count = marks_QCS.shape[1]
    ours_QK = chosen.chunk_BK < count
    rows_Q1 = torch.arange(ours_QK.shape[0], device=ours_QK.device).unsqueeze(1)
    marked_QKS = marks_QCS[rows_Q1, chosen.chunk_BK.clamp(max=count - 1)] & ours_QK.unsqueeze(-1)
    return marked_QKS.flatten(1)


def _replies(batch: AskBatch) -> tuple[Tensor, Tensor]:
    """The tokens that read, from the assistant's role on, and which of them predict a learned token."""
    length = batch.live_QL.shape[1]
    last_Q = length - 1 - batch.mask_QL.flip(1).int().argmax(1)
    most = int((last_Q - batch.first_Q).max())
    time_QR = batch.first_Q.unsqueeze(1) + torch.arange(most, device=last_Q.device)
    inside_QR = time_QR < last_Q.unsqueeze(1)
    time_QR = torch.minimum(time_QR, (last_Q - 1).unsqueeze(1))
    return time_QR, batch.mask_QL.gather(1, time_QR + 1) & inside_QR


def _selection(asked: live.Asked, batch: AskBatch, sharp: float) -> tuple[Tensor, float]:
    """Every chunk with an answer against all chunks without, at each time of choice."""
    gold_QC = F.pad(batch.gold_QC, (0, asked.score_BNC.shape[-1] - batch.gold_QC.shape[1]))
    logits_QNC = asked.score_BNC * sharp
    # Neighbours share a pair with a gold chunk, and with it its score: they are neither right nor wrong.
    near_QC = F.max_pool1d(gold_QC.float()[:, None], 3, stride=1, padding=1)[:, 0].bool()
    wrong_QN1 = logits_QNC.masked_fill(near_QC.unsqueeze(1), -torch.inf).logsumexp(-1, keepdim=True)
    each_QNC = torch.logaddexp(logits_QNC, wrong_QN1) - logits_QNC
    loss = (each_QNC * gold_QC.unsqueeze(1)).sum() / (gold_QC.sum() * each_QNC.shape[1])
    with torch.no_grad():
        first = asked.chosen[0]
        found_QK = gold_QC.gather(1, first.chunk_BK) & (first.ids_BKS >= 0).any(-1)
        recalled = float(found_QK.sum() / gold_QC.sum())
    return loss, recalled
