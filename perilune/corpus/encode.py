"""One document to ids and loss mask, through the same chat template that serving uses."""

from dataclasses import dataclass

from perilune.corpus.document import Document
from perilune.text.chat import render
from perilune.text.declare import declare
from perilune.text.specials import EOS
from perilune.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Encoded:
    """`mask[i]` True: predicting ids[i] from what stands before it is learned."""

    ids: list[int]
    mask: list[bool]


def encode(document: Document, tokenizer: Tokenizer) -> Encoded:
    if document.text is not None:
        ids = [*tokenizer.encode(document.text), tokenizer.special_id(EOS)]
        return Encoded(ids, [False, *[True] * (len(ids) - 1)])
    options = {"tokenizer": tokenizer, "thinking": document.thinking, "add_generation_prompt": False}
    # Reasoning of earlier turns is already gone: this keeps that of the reply being learned.
    rendered = render(document.messages, document.tools or None, preserve_thinking=True, **options)
    mask = list(rendered.mask)
    if document.train_from:
        before = render(document.messages[: document.train_from], None, preserve_thinking=True, **options)
        mask[: len(before.ids)] = [False] * len(before.ids)
    return Encoded(rendered.ids, mask)


def plain_text(document: Document) -> str:
    """The words of a document without template markers, as the vocabulary is trained on them."""
    if document.text is not None:
        return document.text
    pieces = [declare(document.tools)] if document.tools else []
    for message in document.messages:
        pieces += [message.get("reasoning_content") or "", str(message["content"])]
        for made in message.get("tool_calls", ()):
            pieces += [made["id"], made["function"]["arguments"]]
    return "\n".join(piece for piece in pieces if piece)
