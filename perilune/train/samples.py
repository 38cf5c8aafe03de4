"""Greedy replies during training: the quickest look at what a model has learned.

Every new token runs the whole sequence again: a few short replies need no cache.
"""

from __future__ import annotations

import torch

from perilune.model.model import Transformer
from perilune.text.chat import render
from perilune.text.tokenizer import Tokenizer


@torch.no_grad()
def greedy(model: Transformer, ids: list[int], new_tokens: int, stop_ids: tuple[int, ...]) -> list[int]:
    """The most likely continuation, without the stop token."""
    reply: list[int] = []
    while len(reply) < new_tokens:
        x_TD = model.hidden(torch.tensor([ids + reply], device=model.device))[0, -1:]
        best = int(model.logits(x_TD).argmax())
        if best in stop_ids:
            break
        reply.append(best)
    return reply


def sample_replies(
    model: Transformer, tokenizer: Tokenizer, prompts: tuple[str, ...], new_tokens: int = 48
) -> dict[str, str]:
    """Each user message with the model's reply to it."""
    replies = {}
    for prompt in prompts:
        rendered = render([{"role": "user", "content": prompt}], thinking=False, tokenizer=tokenizer)
        ids = greedy(model, list(rendered.ids), new_tokens, tokenizer.stop_ids)
        replies[prompt] = tokenizer.decode(ids)
    return replies
