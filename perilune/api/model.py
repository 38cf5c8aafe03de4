"""Load a model directory and talk to it: `load("nano").chat([...])`. One object for a model directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perilune.api.budget import STREAMED_CHUNK, MemorySplit, memory_budget, prefix_cache, split_memory
from perilune.api.embeddings import EmbeddingStream, ids_of
from perilune.api.gpu import GpuSplit, find_device, gpu_budget, split_gpu
from perilune.api.identity import identity_of
from perilune.api.locate import (
    check_vocabulary,
    find_model,
    read_defaults,
    use_threads,
)
from perilune.api.reading import Reading, read_pieces
from perilune.api.senses import Perceived, Senses
from perilune.api.streams import ChatReply, Completion, ReplyStream, TextStream
from perilune.config import ModelConfig
from perilune.engine.engine import Engine, OnPrefill
from perilune.engine.grammar import Grammar, Grammars
from perilune.engine.reading import Piece
from perilune.engine.types import Request, SamplingParams, token_ids
from perilune.errors import ContextError, RequestError, TokenizerError
from perilune.fields import show_value
from perilune.media.parts import Fetch, gather, local
from perilune.model.checkpoint import device_slots, expert_store, load_transformer
from perilune.model.media_rows import MediaRows
from perilune.model.model import Transformer
from perilune.model.placed import Placement
from perilune.model.quantised import BACKBONES
from perilune.text import specials as sp
from perilune.text.calls import count_calls
from perilune.text.chat import Rendered, render
from perilune.text.ranks import RANKS_FILE
from perilune.text.reply import ReplyParser
from perilune.text.shape import Shape, shape_of
from perilune.text.tokenizer import SPLIT_PATTERN, Tokenizer
from perilune.weights.device_slots import DeviceSlots
from perilune.weights.experts import ExpertStore
from perilune.weights.files import open_checkpoint

INT4_MODES = ("float", "int8")

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]


def load(
    path_or_name: str | Path = "nano",
    *,
    ram: int | str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    int4: str = "float",
    context: int | None = None,
    backbone: str = "bf16",
    mirrors: Iterable[str | Path] = (),
    gpu_ram: int | str | None = None,
    text_only: bool = False,
) -> Model:
    """Opens a published model directory, or a bundled model by name.

    `ram` ("16GiB", bytes, or "auto" for most of what is free) is what the model may take: where its routed experts
    do not all fit, they are read from disk when they are needed, through a cache of what is left. Without it, all
    weights are mapped. `context` is how many tokens of conversations that memory has room for (8,192 if not given);
    it counts only with `ram`, and not for what is read into a chunk memory. `int4` chooses how INT4 experts are
    multiplied: "float" is exact, "int8" rounds activations and is faster. `backbone` is what the weights that every
    token uses are kept as: "bf16" as they lie, or "int8" or "int4" where memory is short, which changes replies a
    little. `mirrors` are folders on other disks with copies of shards: experts are read from all of them at once. The
    same reply comes for every `ram` and with or without mirrors. `text_only` opens a model that sees or hears without
    its senses: pictures and sounds are refused, and nothing is set aside of `ram` for them.

    `device` "cuda" puts what every token uses on a GPU, with the conversations and as many INT4 experts, those used
    most, as `gpu_ram` (what is free, if not given) leaves room for; `ram` then counts the rest alone. Sums are added in
    another order there, so that a reply may part from that of a CPU at a near tie (model/placed.py). `gpu_ram` with
    "cpu" lets the processor stand in for a GPU, which serves tests.
    """
    directory, at = find_model(path_or_name), find_device(device)
    if int4 not in INT4_MODES:
        raise RequestError(f"int4 must be one of {', '.join(INT4_MODES)}, got {str(int4)[:40]!r}")
    if backbone not in BACKBONES:
        raise RequestError(f"backbone must be one of {', '.join(BACKBONES)}, got {str(backbone)[:40]!r}")
    budget = None if ram is None else memory_budget(ram)
    use_threads(threads)
    checkpoint, memory = open_checkpoint(directory), None
    for mirror in mirrors:
        checkpoint.mirror(Path(mirror))
    config, gpu = ModelConfig.load(directory), None
    if at.type == "cuda" or gpu_ram is not None:
        gpu = split_gpu(checkpoint, config, at, gpu_budget(at, gpu_ram), _context(context))
    if budget is not None:
        memory = split_memory(checkpoint, config, budget, _context(context), backbone, gpu is not None, text_only)
    cache = memory.cache if memory and memory.streamed else None
    transformer = load_transformer(
        directory,
        int4_mode=int4,
        expert_cache=cache,
        backbone=backbone,
        checkpoint=checkpoint,
        placement=Placement(at, gpu.slots) if gpu else None,
    )
    tokenizer = Tokenizer.load(directory) if (directory / RANKS_FILE).exists() else None
    options: dict[str, Any] = {"vocab_size": tokenizer.n_vocab if tokenizer else None}
    talks = gpu or memory  # where conversations lie
    if talks:
        options["prefix_cache"] = prefix_cache(talks.context)
    if talks and transformer.memory is None:
        options["context_tokens"] = talks.context_tokens
    if cache is not None:
        options["prefill_chunk"] = STREAMED_CHUNK
    defaults, ends = read_defaults(directory)
    return Model(
        transformer,
        tokenizer,
        defaults=defaults,
        end_ids=ends,
        directory=directory,
        engine=Engine(transformer, **options),
        memory=memory,
        gpu=gpu,
        text_only=text_only,
    )


def _context(tokens: object) -> int | None:
    if tokens is not None and (type(tokens) is not int or tokens < 1):
        raise RequestError(f"context must be a number of tokens of at least 1, got {str(tokens)[:40]!r}")
    return tokens


class Model:
    """A model with its tokenizer and engine. Sampling options are those of `SamplingParams`."""

    def __init__(
        self,
        transformer: Transformer,
        tokenizer: Tokenizer | None = None,
        *,
        defaults: Mapping[str, Any] | None = None,
        end_ids: Iterable[int] = (),
        directory: Path | None = None,
        engine: Engine | None = None,
        memory: MemorySplit | None = None,
        gpu: GpuSplit | None = None,
        text_only: bool = False,
    ) -> None:
        """`memory` says how a given amount of it is split, and `gpu` that of a GPU; None where there is none.
        `text_only` leaves out what the model sees and hears with."""
        self.transformer = transformer
        self.memory, self.gpu, self.text_only = memory, gpu, text_only
        self.tokenizer = tokenizer
        self.config: ModelConfig = transformer.config
        self.directory = directory
        self.defaults = dict(defaults or {})
        self.longest_reply: int | None = None  # tokens, where a request names no limit and the context has room
        if tokenizer:
            check_vocabulary(self.config, tokenizer.n_vocab)
        own = tokenizer.stop_ids if tokenizer else ()
        self.stop_ids = frozenset((*self.config.eos_token_ids, *end_ids, *own))
        self.engine = engine or Engine(transformer, vocab_size=tokenizer.n_vocab if tokenizer else None)

    @property
    def context_length(self) -> int:
        return self.engine.context_length

    @cached_property
    def experts(self) -> ExpertStore | None:
        """The store that routed experts are streamed from, where they are; it counts what it does."""
        return expert_store(self.transformer)

    @cached_property
    def senses(self) -> Senses:
        """What the model sees and hears with."""
        return Senses(self.transformer, self.directory, self.context_length, () if self.text_only else None)

    @cached_property
    def gpu_experts(self) -> DeviceSlots | None:
        """What routed experts on a GPU lie in, where some do; it counts what it does."""
        return device_slots(self.transformer)

    @cached_property
    def identity(self) -> str:
        """Names the weights; empty for a model that did not come from a directory."""
        return identity_of(self.directory) if self.directory else ""

    def read(self, pieces: Iterable[Piece | np.ndarray], **options: Any) -> Reading:
        """Read tokens ahead of questions, for models with a chunk memory; takes the options of `read_pieces`."""
        return read_pieces(self, pieces, **options)

    def logits(self, ids: Iterable[int]) -> torch.Tensor:
        """float32 [T, V]: the logits after each of T tokens. Needs no tokenizer."""
        plain = token_ids(ids, "ids")
        if not plain or max(plain) >= self.config.vocab_size:
            raise RequestError(f"ids must be 1 or more tokens below vocab_size = {self.config.vocab_size}")
        if len(plain) > self.context_length:
            raise ContextError(f"{len(plain)} tokens do not fit this model's context of {self.context_length}")
        logits_TV = self.engine.runner.extend(plain, self.engine.runner.new_state(), last_only=False)
        return logits_TV.clone()  # an ordinary tensor, which the caller may change

    def embed(self, texts: str | Sequence[str | Sequence[int]], **options: Any) -> np.ndarray:
        """float32 [N, D], a vector of length 1 for each text or list of token ids; takes the options of
        `embed_stream`. One text gives [1, D]."""
        with self.embed_stream(texts, **options) as stream:
            for _ in stream:
                pass
            return stream.reply.vectors_ND

    def embed_stream(
        self,
        texts: str | Sequence[str | Sequence[int]],
        *,
        dimensions: int | None = None,
        on_prefill: OnPrefill | None = None,
    ) -> EmbeddingStream:
        """Texts as vectors, one after the other: the mean of the last hidden states, normed. The same text gives the
        same bits, whatever comes with it. `dimensions` cuts vectors to so many numbers and norms them again;
        `on_prefill(done, total)` hears of tokens after each text."""
        width = self.config.hidden_size
        if dimensions is not None and (type(dimensions) is not int or not 1 <= dimensions <= width):
            raise RequestError(f"dimensions must be an integer from 1 to {width}, got {show_value(dimensions)}")
        return EmbeddingStream(self.engine, ids_of(texts, self.tokenizer), dimensions, on_prefill)

    def chat(self, messages: Messages, tools: Tools | None = None, **options: Any) -> ChatReply:
        """The whole reply to a conversation; takes the options of `stream`."""
        with self.stream(messages, tools, **options) as stream:
            for _ in stream:
                pass
            return stream.reply

    def stream(
        self,
        messages: Messages,
        tools: Tools | None = None,
        *,
        thinking: bool = True,
        preserve_thinking: bool = False,
        continue_final_message: bool = False,
        tool_choice: str | Mapping[str, Any] = "auto",
        parallel_tool_calls: bool = True,
        response_format: Mapping[str, Any] | None = None,
        structured_outputs: Mapping[str, Any] | None = None,
        cache_salt: str = "",
        priority: int = 0,
        on_prefill: OnPrefill | None = None,
        fetch: Fetch = local,
        reading: Reading | None = None,
        routing: bool = False,
        **sampling: Any,
    ) -> ReplyStream:
        """The reply to a conversation, delta by delta. Unchanged turns before it are not computed again.

        `tool_choice` is "auto", "none", "required" or OpenAI's object that names a function; `response_format` is
        OpenAI's, `structured_outputs` one of {"json", "json_object", "regex", "choice", "grammar"} as vLLM has it. Both
        hold for the answer, after the reasoning. `on_prefill(done, total)` reports how much of the prompt has been
        read. Stop strings are matched in the answer, not in the reasoning before it. What is kept of a prompt is only
        reused under the same `cache_salt`. Replies of a higher `priority` (0 to 100) wait for those of a lower one.
        `reading` is what the model has read before. With `routing` the stream tells which experts tokens passed.

        Pictures, sounds and clips are parts of a message's content: {"type": "image", "image": …} with a path, bytes
        or a `Decoded` array (media/decoded.py), and so "audio" and "video"; or OpenAI's image_url, input_audio,
        video_url and file. `fetch` decides what paths and addresses in them are read: by default files of this
        machine, so it is not for a stranger's messages.
        """
        thinks = thinking and not continue_final_message
        shape = shape_of(
            tools,
            tool_choice=tool_choice,
            parallel=parallel_tool_calls,
            response_format=response_format,
            structured=structured_outputs,
            thinking=thinks,
        )
        if continue_final_message and shape is not None and not shape.optional:
            raise RequestError("a final message that is gone on with cannot be held to a form from its middle on")
        tools = None if tool_choice == "none" else tools
        messages, media = gather(messages, self.senses.has, fetch)
        perceived = self.senses.perceive(media)
        rendered = self._render(
            messages,
            tools,
            perceived,
            thinking=thinking,
            preserve_thinking=preserve_thinking,
            continue_final_message=continue_final_message,
        )
        parser = ReplyParser(
            tokenizer=self.tokenizer,
            tools=tools,
            thinking=thinks,
            calls_before=count_calls(messages),
        )
        grammar = None if shape is None else self._grammar(shape)
        request = self._request(rendered.ids, sampling, grammar, reading)
        self.engine.check(request)  # before towers work for a prompt that has no room
        media = self._media(perceived, rendered)
        request = replace(request, media=media, cache_salt=cache_salt, priority=priority, routing=routing)
        spent = tuple(one.tokens for one in perceived)
        return ReplyStream(self.engine, request, parser, on_prefill, trim=reading is not None, media_tokens=spent)

    def render(self, messages: Messages, tools: Tools | None = None, **options: Any) -> Rendered:
        """The prompt of a conversation, as text and ids; takes the options of `perilune.render`, and `fetch` as
        `stream` does. No tower runs for it."""
        messages, media = gather(messages, self.senses.has, options.pop("fetch", local))
        return self._render(messages, tools, self.senses.perceive(media), **options)

    def _media(self, perceived: list[Perceived], rendered: Rendered) -> MediaRows | None:
        placeholder = self._needs_tokenizer("a picture or a sound").special_id(sp.MEDIA_PAD)
        return self.senses.rows(perceived, rendered.ids, placeholder) if perceived else None

    def _render(self, messages: Messages, tools: Tools | None, perceived: list[Perceived], **options: Any) -> Rendered:
        media = [one.item for one in perceived]
        return render(messages, tools, tokenizer=self._needs_tokenizer("chat"), media=media, **options)

    def generate(self, prompt: str | Iterable[int], **sampling: Any) -> Completion:
        """Continues text or ids as they are, with no chat template."""
        with self.generate_stream(prompt, **sampling) as stream:
            for _ in stream:
                pass
            return stream.completion

    def generate_stream(
        self, prompt: str | Iterable[int], *, on_prefill: OnPrefill | None = None, **sampling: Any
    ) -> TextStream:
        """Like `generate`, piece by piece."""
        request = self._request(self._prompt_ids(prompt), sampling)
        return TextStream(self.engine, request, self.tokenizer, on_prefill)

    def generate_batch(self, prompts: Iterable[str | Iterable[int]], **sampling: Any) -> list[Completion]:
        """Continues several prompts together; each gets the tokens it would get alone."""
        streams: list[TextStream] = []
        try:
            for prompt in prompts:
                streams.append(self.generate_stream(prompt, **sampling))
            # Reading one stream steps the engine for all of them.
            for stream in streams:
                for _ in stream:
                    pass
            return [stream.completion for stream in streams]
        finally:
            for stream in streams:
                stream.close()

    @cached_property
    def _grammars(self) -> Grammars:
        tokenizer = self._needs_tokenizer("a form of the reply")
        return Grammars(tokenizer.ranks, tokenizer.special, SPLIT_PATTERN, tokenizer.eos)

    def _grammar(self, shape: Shape) -> Grammar:
        """Until the grammar holds, no call may begin halfway; where it must hold, the reply may not end before."""
        special = self._needs_tokenizer("a form of the reply").special
        early = [special[name] for name in (sp.CALL_BEGIN, sp.ARGUMENT_BEGIN, sp.CALL_END, sp.SECTION_END)]
        early += () if shape.optional else (special[sp.SECTION_BEGIN], *self.stop_ids)
        after = special[shape.after] if shape.after else None
        return self._grammars.compile(shape.grammar, after=after, not_before=early, markers=shape.markers)

    def _request(
        self,
        ids: Iterable[int],
        sampling: Mapping[str, Any],
        grammar: Grammar | None = None,
        reading: Reading | None = None,
    ) -> Request:
        params = SamplingParams.from_options(dict(sampling), self.defaults)
        if params.stop:
            self._needs_tokenizer("stop strings")
        prompt, read = tuple(ids), reading.length if reading else 0
        if params.max_tokens is None and self.longest_reply is not None:
            room = max(1, self.context_length - len(prompt) - read)
            params = replace(params, max_tokens=min(self.longest_reply, room))
        pages = reading.pages if reading else None
        return Request(prompt, params, self.stop_ids, pages, read, grammar=grammar)

    def _prompt_ids(self, prompt: str | Iterable[int]) -> tuple[int, ...]:
        if isinstance(prompt, str):
            return tuple(self._needs_tokenizer("a text prompt").encode(prompt))
        return token_ids(prompt, "prompt")

    def _needs_tokenizer(self, what: str) -> Tokenizer:
        if self.tokenizer is None:
            raise TokenizerError(
                f"{what} needs a tokenizer, but this model directory has no {RANKS_FILE}; "
                "use logits(ids) or generate(ids), or add the file"
            )
        return self.tokenizer
