"""Tool declarations: every rule of the TypeScript form, and every case that turns the list into JSON."""

import json

import pytest

from perilune.errors import MessageError
from perilune.text.declare import declare


def tool(parameters=None, **function):
    function = {"name": "f", **function}
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def body(parameters, **function):
    """What stands between the braces of the namespace."""
    text = declare([tool(parameters, **function)])
    head, tail = "# Tools\n\n## functions\nnamespace functions {\n", "\n}\n"
    assert text.startswith(head) and text.endswith(tail), text
    return text[len(head) : -len(tail)]


def of(**properties):
    return {"type": "object", "properties": properties}


def field(schema, name="a"):
    """The lines of one optional field."""
    text = body(of(**{name: schema}))
    assert text.startswith("type f = (_: {\n") and text.endswith("\n}) => any;"), text
    return text[len("type f = (_: {\n") : -len("\n}) => any;")]


def typed(schema):
    text = field(schema)
    assert text.startswith("  a?: "), text
    return text[len("  a?: ") :]


def is_json(tools):
    return declare(tools) == json.dumps(
        json.loads(json.dumps(tools, sort_keys=True)), ensure_ascii=False, separators=(",", ":")
    )


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}, {"description": "x", "oneOf": [1]}])
def test_no_parameters_are_an_empty_object(parameters):
    assert body(parameters) == "type f = (_: {}) => any;"


def test_null_parameters_are_absent():
    assert "(_: {})" in declare([{"type": "function", "function": {"name": "f", "parameters": None}}])


def test_a_missing_name_is_function():
    assert "type function = (_: {}) => any;" in declare([{"type": "function", "function": {"strict": True}}])


def test_functions_are_joined_and_others_skipped():
    tools = [
        tool(),
        {"type": "builtin_function", "function": {"name": "$web_search"}},
        {"type": "_plugin"},
        {"type": "function", "function": {}},
        {"type": "function"},
        tool(name="g", description="Does g.\n\nWell."),
    ]
    assert declare(tools) == (
        "# Tools\n\n## functions\nnamespace functions {\n"
        "type f = (_: {}) => any;\n// Does g.\n\n// Well.\ntype g = (_: {}) => any;\n}\n"
    )


def test_required_come_first_and_each_group_is_sorted():
    schema = of(zone={"type": "string"}, b={"type": "string"}, B={"type": "string"}, a={"type": "string"})
    schema["required"] = ["zone", "b", "nowhere"]
    assert body(schema) == "type f = (_: {\n  b: string,\n  zone: string,\n  B?: string,\n  a?: string\n}) => any;"


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (False, "[k: string]: never"),
        (True, "[k: string]: any"),
        ({}, "[k: string]: any"),
        ({"type": "integer"}, "[k: string]: number"),
        (of(k={"type": "string"}), "[k: string]: {\n    k?: string\n  }"),
    ],
)
def test_additional_properties_are_the_last_field(extra, line):
    assert body({"additionalProperties": extra}) == f"type f = (_: {{\n  {line}\n}}) => any;"
    with_field = body({**of(a={"type": "string"}), "additionalProperties": extra})
    assert with_field == f"type f = (_: {{\n  a?: string,\n  {line}\n}}) => any;"


def test_null_additional_properties_are_none():
    assert typed({"type": "object", "additionalProperties": None}) == "{}"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (True, "any"),
        (False, "null"),
        ({}, "any"),
        ({"type": "string"}, "string"),
        ({"type": "integer"}, "number"),
        ({"type": "number"}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "null"}, "null"),
        ({"type": "any"}, "any"),
        ({"type": "made_up"}, "made_up"),
        ({"type": "object"}, "{}"),
        ({"type": "object", "properties": {}}, "{}"),
        ({"type": "array"}, "Array<any>"),
        ({"type": "array", "items": {}}, "Array<any>"),
        ({"type": "array", "items": True}, "Array<any>"),
        ({"type": "array", "items": None}, "Array<any>"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, "Array<Array<number>>"),
        ({"type": ["string", "integer"]}, "string | number"),
        ({"type": ["object", "array", "boolean", "null"]}, "{} | Array<any> | boolean | null"),
        ({"anyOf": [{"type": "string"}, {"enum": [1, 2]}, True]}, "string | 1 | 2 | any"),
        ({"anyOf": [{"type": "string"}], "type": "integer"}, "string"),
        (
            {"enum": ["a", 'b"c', None, True, False, 1, 1.0, 1e20]},
            '"a" | "b"c" | None | True | False | 1 | 1.0 | 1e+20',
        ),
        ({"type": "string", "enum": ["a", None]}, '"a" | None'),
        ({"type": "integer", "enum": [1, True]}, "1 | True"),
        ({"type": "number", "enum": [1, 0.5, False]}, "1 | 0.5 | False"),
        ({"type": ["string"], "enum": ["a"]}, '"a"'),
        ({"type": ["null", "integer"], "enum": [None, 3]}, "None | 3"),
        ({"type": "string", "const": "x", "oneOf": [], "allOf": [{}]}, "string"),
    ],
)
def test_types(schema, expected):
    assert typed(schema) == expected


def test_nested_objects_are_indented():
    inner = {
        "type": "object",
        "properties": {"k": {"type": "string", "description": "deep"}},
        "required": ["k"],
    }
    assert typed(inner) == "{\n    // deep\n    k: string\n  }"


def test_a_documented_item_has_its_own_lines():
    item = {"type": "string", "description": "one\n\ntwo", "minLength": 1}
    assert typed({"type": "array", "items": item}) == (
        "Array<\n    // one\n\n    // two\n    // minLength: 1\n    string\n  >"
    )


@pytest.mark.parametrize(
    ("schema", "lines"),
    [
        ({"type": "string", "description": "x\n\ny"}, ["  // x", "", "  // y"]),
        (
            {"type": "string", "pattern": "^a$", "minLength": 1, "maxLength": 9},
            ["  // maxLength: 9, minLength: 1, pattern: ^a$"],
        ),
        ({"type": "number", "minimum": 0, "maximum": 1e16}, ["  // maximum: 1e+16, minimum: 0"]),
        ({"type": "integer", "minimum": 1000.0}, ["  // minimum: 1000.0"]),
        ({"type": "array", "minItems": 1, "maxItems": 2}, ["  // maxItems: 2, minItems: 1"]),
        ({"type": "string", "minimum": 1, "format": "date", "title": "T", "examples": ["e"]}, []),
        ({"type": "integer", "exclusiveMinimum": 1, "multipleOf": 2}, []),
        ({"type": "array", "uniqueItems": True}, []),
        ({"type": ["string", "null"], "minLength": 1}, []),
        ({"enum": ["a"], "type": "string", "minLength": 1}, []),
        ({"anyOf": [{"type": "string"}], "type": "string", "minLength": 1}, []),
        ({"type": "string", "default": 'é"'}, ['  // Default: "é\\""']),
        ({"type": "boolean", "default": False}, ["  // Default: False"]),
        ({"type": "number", "default": 1e-07}, ["  // Default: 1e-07"]),
        ({"type": "number", "default": 0.5}, ["  // Default: 0.5"]),
        ({"type": "array", "default": [1, "a", None]}, ['  // Default: [1, "a", null]']),
        (
            {"type": "object", "default": {"b": 1, "a": {"z": 1, "c": 2}}},
            ['  // Default: {"a": {"c": 2, "z": 1}, "b": 1}'],
        ),
        ({"type": "string", "default": None}, []),
        ({"type": "string", "default": ""}, ['  // Default: ""']),
        (
            {"type": "integer", "default": 3, "minimum": 1, "description": "n"},
            ["  // n", "  // minimum: 1", "  // Default: 3"],
        ),
    ],
)
def test_documentation_of_a_field(schema, lines):
    assert field(schema).split("\n")[:-1] == lines


def test_self_reference():
    schema = of(child={"$ref": "#"})
    assert declare([tool(schema, description="x")]) == (
        "# Tools\n\n## functions\nnamespace functions {\ninterface parameters {\n  child?: parameters\n}\n"
        "// x\ntype f = (_: parameters) => any;\n}\n"
    )


def test_the_root_interface_is_in_plain_order_without_the_rest():
    schema = {**of(z={"type": "string"}, a={"$ref": "#"}), "required": ["z"], "additionalProperties": True}
    assert body(schema) == (
        "interface parameters {\n  a?: parameters,\n  z: string\n}\ntype f = (_: parameters) => any;"
    )


def test_definitions_become_interfaces_in_the_order_they_are_met():
    schema = {
        "$defs": {
            "Node": {
                "type": "object",
                "description": "A node",
                "properties": {"next": {"$ref": "#/$defs/Node"}},
            },
            "Color": {"enum": ["red", "green"]},
        },
        **of(c={"$ref": "#/$defs/Color", "description": "colour"}, n={"$ref": "#/$defs/Node", "default": 1}),
    }
    assert body(schema) == (
        'interface Color "red" | "green"\n// A node\ninterface Node {\n  next?: Node\n}\n'
        "type f = (_: {\n  // colour\n  c?: Color,\n  // Default: 1\n  n?: Node\n}) => any;"
    )


def test_a_later_property_may_use_a_definition_of_an_earlier_one():
    holder = {"type": "object", "$defs": {"X": {"type": "string"}}}
    assert "b?: X" in body(of(a=holder, b={"$ref": "#/$defs/X"}))
    assert is_json([tool(of(b=holder, a={"$ref": "#/$defs/X"}))])


def test_a_definition_inside_a_definition_has_no_interface():
    outer = {
        "type": "object",
        "$defs": {"In": {"type": "string"}},
        "properties": {"i": {"$ref": "#/$defs/In"}},
    }
    text = body({"$defs": {"Out": outer}, **of(o={"$ref": "#/$defs/Out"})})
    assert "interface Out {\n  i?: In\n}" in text
    assert "interface In" not in text


def test_a_self_reference_only_in_a_definition_prints_no_root_interface():
    text = body({"$defs": {"D": of(r={"$ref": "#"})}, **of(d={"$ref": "#/$defs/D"})})
    assert text == "interface D {\n  r?: parameters\n}\ntype f = (_: {\n  d?: D\n}) => any;"


@pytest.mark.parametrize(
    "schema",
    [
        {"const": "x"},
        {"oneOf": [{"type": "string"}]},
        {"allOf": [{"type": "string"}]},
        {"description": "only"},
        {"properties": {"b": {"type": "string"}}},
        {"$ref": "#/$defs/Nowhere"},
        {"$ref": "#/definitions/X"},
        {"$ref": "http://example.org/s"},
        {"type": ["string", "any"]},
        {"type": "string", "enum": [1]},
        {"type": "integer", "enum": [1.0]},
        {"type": "number", "enum": ["1"]},
        {"type": "boolean", "enum": [1]},
        {"type": ["string", "integer"], "enum": ["a"]},
        {"type": ["string", "integer", "null"], "enum": ["a"]},
        {"type": "array", "items": [{"type": "string"}]},
        {"type": "object", "properties": {}, "required": None},
        {"type": "object", "properties": None},
        {"type": "object", "additionalProperties": "yes"},
        None,
        "string",
        ["string"],
    ],
)
def test_what_cannot_be_expressed_turns_the_whole_list_into_json(schema):
    assert is_json([tool(name="fine"), tool(of(v=schema), description="é")])


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "builtin_function", "function": {"name": "$web_search"}}],
        [{"type": "function"}],
        [{"type": "function", "function": ["x"]}],
        [tool([1])],
        [tool(description=5)],
        [tool({"$defs": {"X": True}})],
    ],
)
def test_lists_with_nothing_to_encode_are_json(tools):
    assert is_json(tools)


def test_keys_are_sorted_at_every_depth_and_lists_are_not():
    tools = [{"type": "x", "b": [{"z": 1, "é": 2, "a": 3}, 2, 1], "A": None}]
    assert declare(tools) == '[{"A":null,"b":[{"a":3,"z":1,"é":2},2,1],"type":"x"}]'


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def test_deep_schemas_are_written_up_to_the_limit_and_refused_beyond():
    assert "Array<" * 60 in declare([tool(of(a=nested(60)))])
    with pytest.raises(MessageError, match=r"tools\[1\] is nested deeper than"):
        declare([tool(), tool(of(a=nested(100_000)))])


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({"type": "function"}, "tools must be a list, got an object"),
        (["f"], r"tools\[0\] must be an object, got a string"),
        ([tool(), None], r"tools\[1\] must be an object, got null"),
        ([{1: 2}], "a key in tools"),
        ([tool(of(a={"default": float("nan")}))], "not JSON"),
        ([tool(of(a={"default": 10**5000}))], "3,000 digits"),
        ([tool(of(a={"default": b"x"}))], "holds a bytes"),
        ([tool(description="\ud800")], "lone surrogate"),
        ([tool()] * 2000, "the limit is 1024"),
    ],
)
def test_what_is_no_tool_list_is_refused(tools, message):
    with pytest.raises(MessageError, match=message):
        declare(tools)
