"""Replies that are held to a form: whatever a model wants to say, what comes out follows the schema."""

import json
import random
import re

import jsonschema
import numpy as np
import pytest
from tiny_models import TOKENIZER, tiny_transformer

from perilune.api.model import Model
from perilune.engine.grammar import MAX_KEPT, GrammarError, Grammars
from perilune.engine.sample import Sampler
from perilune.engine.types import SamplingParams
from perilune.errors import MessageError, RequestError
from perilune.text import specials as sp
from perilune.text.reply import ReplyParser
from perilune.text.shape import MAX_GRAMMAR, Shape, shape_of
from perilune.text.tokenizer import SPLIT_PATTERN

GRAMMARS = Grammars(TOKENIZER.ranks, TOKENIZER.special, SPLIT_PATTERN, TOKENIZER.eos)
MODEL = Model(tiny_transformer(context=4096), TOKENIZER)
ASKED = [{"role": "user", "content": "hello"}]
CLOSERS = [ord(c) for c in '"}],'] + [TOKENIZER.eos, TOKENIZER.special[sp.SECTION_END], TOKENIZER.special[sp.CALL_END]]


def tool(name="look", strict=None, **properties):
    parameters = {"type": "object", "properties": properties, "required": sorted(properties)}
    function = {"name": name, "parameters": {**parameters, "additionalProperties": False}}
    return {"type": "function", "function": function if strict is None else {**function, "strict": strict}}


def format_of(schema):
    return {"type": "json_schema", "json_schema": {"name": "made", "schema": schema}}


def wild_reply(shape, seed, thinking=False, tools=None, start=()):
    """The parsed reply of a model without any sense that likes to close what is open."""
    rng = np.random.default_rng(seed)
    grammar = MODEL._grammar(shape)
    sampler = Sampler(SamplingParams(seed=seed), (), grammar.begin())
    parser = ReplyParser(tokenizer=TOKENIZER, tools=tools, thinking=thinking)
    for step in range(4000):
        logits_V = rng.normal(0, 2, TOKENIZER.n_vocab).astype(np.float32)
        logits_V[CLOSERS] += 4
        if step < len(start):
            logits_V[start[step]] += 1000
        token = sampler(logits_V)
        if token.id in MODEL.stop_ids:
            parser.finish()
            return parser.reply
        parser.feed([token.id])
    raise AssertionError("the reply never ended")


def random_schema(rng, depth=0):
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "pattern", "const"]
    kinds += ["object", "array", "anyOf"] * (2 if depth < 2 else 0)
    kind = rng.choice(kinds)
    if kind == "enum":
        return {"enum": rng.sample(["a", 'b"c', "ü\n", 3, None, True, "<|im_end|>"], 3)}
    if kind == "const":
        return {"const": rng.choice([1, "x y", [1, {"a": None}]])}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice([r"^\d{3}-[a-f]+$", "^(yes|no)$", "^[A-Z][a-z]{2,5}$"])}
    if kind == "integer":
        low = rng.randint(-50, 50)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 1000)}
    if kind == "string":
        return {"type": "string", "minLength": rng.randint(0, 3), "maxLength": rng.randint(3, 12)}
    if kind == "array":
        return {"type": "array", "items": random_schema(rng, depth + 1), "minItems": rng.randint(0, 2), "maxItems": 4}
    if kind == "anyOf":
        return {"anyOf": [random_schema(rng, depth + 1), random_schema(rng, depth + 1)]}
    if kind == "object":
        return random_object(rng, depth)
    return {"type": kind}


def random_object(rng, depth=0):
    names = rng.sample(["a", "b c", "größe", "d", "end_of_it", "x-y"], rng.randint(1, 4))
    properties = {name: random_schema(rng, depth + 1) for name in names}
    required = [name for name in names if rng.random() < 0.6]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


@pytest.mark.parametrize("seed", range(100))
def test_answers_follow_generated_schemas(seed):
    schema = random_object(random.Random(seed))
    shape = shape_of(None, response_format=format_of(schema), thinking=False)
    jsonschema.validate(json.loads(wild_reply(shape, seed).content), schema)


@pytest.mark.parametrize("seed", range(100))
def test_forced_calls_follow_generated_schemas(seed):
    rng = random.Random(seed)
    tools = [{"type": "function", "function": {"name": f"f_{i}", "parameters": random_object(rng)}} for i in range(3)]
    reply = wild_reply(shape_of(tools, tool_choice="required", thinking=False), seed, tools=tools)
    assert reply.tool_calls and not reply.problems and not reply.content
    for call in reply.tool_calls:
        jsonschema.validate(json.loads(call.arguments), tools[int(call.name[2:])]["function"]["parameters"])


def test_the_model_gives_the_same_form_streamed_and_whole():
    schema = random_object(random.Random(3))
    options = {"response_format": format_of(schema), "thinking": False, "temperature": 1, "seed": 5, "max_tokens": 2000}
    with MODEL.stream(ASKED, **options) as stream:
        streamed = "".join(delta.text for delta in stream)
    whole = MODEL.chat(ASKED, **options)
    assert streamed == whole.content
    assert whole.finish_reason == "length" or jsonschema.validate(json.loads(streamed), schema) is None


def test_reasoning_comes_first_and_cannot_end_the_reply():
    shape = shape_of(None, response_format={"type": "json_object"}, thinking=True)
    start = [*TOKENIZER.encode("well"), TOKENIZER.special[sp.END_THINK]]
    reply = wild_reply(shape, 1, thinking=True, start=start)
    assert reply.reasoning == "well" and isinstance(json.loads(reply.content), dict)
    early = MODEL._grammar(shape).begin()
    masked_V = early.masked(np.zeros(TOKENIZER.n_vocab, np.float32))
    names = (sp.IM_END, sp.EOS, sp.SECTION_BEGIN, sp.CALL_BEGIN)
    assert all(masked_V[TOKENIZER.special[name]] == -np.inf for name in names)
    assert masked_V[TOKENIZER.special[sp.END_THINK]] == 0 == masked_V[ord("a")]


def test_calls_that_are_not_forced_are_free_until_one_begins():
    tools = [tool(city={"type": "string"}), tool("other", strict=True, n={"const": 7})]
    shape = shape_of(tools, thinking=False)
    free = MODEL._grammar(shape).begin().masked(np.zeros(TOKENIZER.n_vocab, np.float32))
    assert free[TOKENIZER.eos] == free[ord("a")] == free[TOKENIZER.special[sp.SECTION_BEGIN]] == 0
    assert free[TOKENIZER.special[sp.CALL_BEGIN]] == -np.inf
    start = [*TOKENIZER.encode("I look. "), TOKENIZER.special[sp.SECTION_BEGIN]]
    seen = set()
    for seed in range(30):
        reply = wild_reply(shape, seed, tools=tools, start=start)
        assert reply.content == "I look. " and reply.tool_calls and not reply.problems
        for call in reply.tool_calls:
            seen.add(call.name)
            arguments = json.loads(call.arguments)
            assert isinstance(arguments, dict) and (call.name == "look" or arguments == {"n": 7})
    assert seen == {"look", "other"}


def test_one_call_where_several_are_not_wanted():
    tools = [tool(n={"type": "boolean"})]
    for seed in range(10):
        shape = shape_of(tools, tool_choice="required", parallel=False, thinking=False)
        assert len(wild_reply(shape, seed, tools=tools).tool_calls) == 1


def test_a_named_function_is_the_one_called():
    tools = [tool("one"), tool("two")]
    choice = {"type": "function", "function": {"name": "two"}}
    reply = wild_reply(shape_of(tools, tool_choice=choice, thinking=False), 0, tools=tools)
    assert {call.name for call in reply.tool_calls} == {"two"}


def test_a_form_and_tools_give_either():
    tools, kinds = [tool(n={"type": "integer"})], set()
    for seed in range(20):
        reply = wild_reply(shape_of(tools, response_format=format_of({"const": 5}), thinking=False), seed, tools=tools)
        kinds.add(bool(reply.tool_calls))
        assert reply.tool_calls or json.loads(reply.content) == 5
    assert kinds == {True, False}


@pytest.mark.parametrize(
    ("structured", "fits"),
    [
        ({"choice": ["yes", "no", 'a "b"\n\\ü', ""]}, r'yes|no|a "b"\n\\\\ü|'),
        ({"regex": r"\d{2}/[ab]{1,3}"}, r"\d{2}/[ab]{1,3}"),
        ({"json": '{"enum": [1, 22]}'}, r"1|22"),
        ({"grammar": 'start: N ("+" N)*\nN: /[0-9]{1,2}/'}, r"\d{1,2}(\+\d{1,2})*"),
    ],
)
def test_other_forms(structured, fits):
    shape = shape_of(None, structured=structured, thinking=False)
    for seed in range(8):
        assert re.fullmatch(fits, wild_reply(shape, seed).content)


def test_a_grammar_of_a_client_cannot_write_special_tokens():
    shape = shape_of(None, structured={"grammar": f'start: "a" | "b" {sp.IM_USER} "c"'}, thinking=False)
    said = set()
    for seed in range(8):
        try:
            said.add(wild_reply(shape, seed).content)
        except GrammarError as error:
            said.add(str(error)[:28])
    assert said == {"a", "the grammar leaves no token "}


def refused(match, kind=RequestError, **options):
    with pytest.raises(kind, match=match):
        MODEL.chat(ASKED, **options)


def test_what_cannot_be_done_is_refused():
    refused("response_format must be", response_format={"type": "xml"})
    refused("must be a JSON schema", response_format={"type": "json_schema"})
    refused("one of json, json_object", structured_outputs={"json": {}, "regex": "a"})
    refused("say the same thing", structured_outputs={"regex": "a"}, response_format={"type": "json_object"})
    refused("needs 1 to", structured_outputs={"choice": []})
    refused("must be a string", MessageError, structured_outputs={"choice": [3]})
    refused("cannot be used.*regex", structured_outputs={"regex": "("})
    refused("rule .start:", structured_outputs={"grammar": "x: /a/"})
    refused("cannot be used.*unknown name", structured_outputs={"grammar": "start: x"})
    refused("is not JSON", structured_outputs={"json": "{"})
    refused("cannot be used.*Unimplemented", response_format=format_of({"type": "object", "if": {}}))
    refused("cannot be used", response_format=format_of({"$ref": "http://stranger.example/schema"}))
    refused("more than 128 KiB", structured_outputs={"choice": ["a" * MAX_GRAMMAR]})
    refused("there are no tools", tool_choice="required")
    refused("tool_choice must be", tools=[tool()], tool_choice="always")
    refused("none of the tools", tools=[tool()], tool_choice={"type": "function", "function": {"name": "x"}})
    refused("no other answer", tools=[tool()], tool_choice="required", response_format={"type": "json_object"})
    refused("do not go together", tools=[tool()], structured_outputs={"grammar": 'start: "a"'})
    going_on = [*ASKED, {"role": "assistant", "content": "{"}]
    with pytest.raises(RequestError, match="from its middle on"):
        MODEL.chat(going_on, continue_final_message=True, response_format={"type": "json_object"})


def test_no_tools_means_no_shape_and_odd_names_stay_free():
    assert shape_of(None) is None and shape_of([tool()], tool_choice="none") is None
    assert shape_of([tool("ein Name")]) is None
    with pytest.raises(RequestError, match="names of the form"):
        shape_of([tool("ein Name")], tool_choice="required")
    strict = {"type": "function", "function": {"name": "exact", "parameters": {"type": "object"}, "strict": True}}
    with pytest.raises(RequestError, match="names of the form"):
        shape_of([strict, tool("ein Name")])


def test_grammars_are_kept_and_their_number_is_bounded():
    grammars = Grammars(TOKENIZER.ranks, TOKENIZER.special, SPLIT_PATTERN, TOKENIZER.eos)
    first = grammars.compile('start: "0"').matcher
    assert grammars.compile('start: "0"').matcher is first
    for i in range(1, MAX_KEPT + 1):
        grammars.compile(f'start: "{i}"')
    assert len(grammars._kept) == MAX_KEPT and grammars.compile('start: "0"').matcher is not first


def test_shapes_say_where_they_hold():
    assert shape_of([tool()], thinking=True) == shape_of([tool()], thinking=False)
    assert isinstance(shape_of([tool()]), Shape) and shape_of([tool()]).after == sp.SECTION_BEGIN
