"""One tool call: ids in every accepted form, arguments that are one JSON object, inferred names."""

import pytest

from perilune.text.calls import BadCall, ToolCall, count_calls, read_call


def read(header, arguments="{}", tools=None, index=0, calls_before=0, keep_id=False):
    return read_call(header, arguments, tools, index, calls_before, keep_id)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("functions.get_weather:0", "get_weather"),
        ("get_weather:0", "get_weather"),
        (" \nfunctions.f:12\t", "f"),
        ("functions.my.tool-v2:3", "my.tool-v2"),
        ("functions.functions.f:0", "functions.f"),
        ("wetter_für_日本:1", "wetter_für_日本"),
        ("3:4", "3"),
    ],
)
def test_ids_that_name_a_function(header, name):
    assert read(header) == ToolCall(f"functions.{name}:0", name, "{}", 0)


def test_ids_are_numbered_over_the_conversation_or_kept():
    assert read("functions.f:7", index=1, calls_before=3) == ToolCall("functions.f:4", "f", "{}", 1)
    assert read(" f:7 ", index=1, calls_before=3, keep_id=True) == ToolCall("f:7", "f", "{}", 1)


@pytest.mark.parametrize(
    "header",
    [
        "",
        ":",
        ":0",
        "f",
        "f:",
        "functions.f",
        "functions.:0",
        "functions.3",
        "f:x",
        "f g:0",
        "f/g:0",
        "f:0:",
        "a:b:0",
    ],
)
def test_other_ids_are_skipped(header):
    with pytest.raises(BadCall, match=r"is not functions\.name:index") as caught:
        read(header)
    assert not caught.value.as_text


@pytest.mark.parametrize("arguments", ["{}", ' {"a": 1}\n', '{"a":{"b":[1.0,null,"é"]}}', '{"a":1,"a":2}'])
def test_arguments_pass_unchanged_but_for_space_around_them(arguments):
    assert read("f:0", arguments).arguments == arguments.strip()


def test_a_huge_number_is_not_parsed():
    text = '{"a": ' + "9" * 100_000 + "}"
    assert read("f:0", text).arguments == text


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "null",
        "[]",
        '"x"',
        "1",
        '{"a": 1',
        '{"a": 1}{}',
        '{"a": 1} x',
        "{'a': 1}",
        '{"a": NaN}',
        "{" * 99,
        '{"a\nb": 1}',
    ],
)
def test_other_arguments_end_as_text(arguments):
    with pytest.raises(BadCall, match="the arguments are not") as caught:
        read("f:0", arguments)
    assert caught.value.as_text


def test_arguments_nested_beyond_the_stack_end_as_text():
    with pytest.raises(BadCall, match="nested too deeply"):
        read("f:0", '{"a":' * 100_000)


def tool(name, *keys):
    parameters = {"type": "object", "properties": {key: {"type": "string"} for key in keys}}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@pytest.mark.parametrize(
    ("arguments", "tools", "name"),
    [
        ('{"zzz": 1}', [tool("only", "a")], "only"),
        ('{"a": 1, "b": 2}', [tool("one", "a"), tool("two", "a", "b")], "two"),
        ('{"a": 1}', [tool("one", "a"), tool("two", "a", "b")], "one"),
        ('{"b": 1}', [tool("one", "a"), tool("two", "b"), tool("three", "b")], "two"),
        ('{"x": 1, "y": 2}', [tool("one", "a"), tool("two", "x")], "two"),
        ("{}", [tool("one", "a"), tool("two")], "one"),
        ('{"a": 1}', [None, {"function": 3}, {"function": {"name": 5}}, tool("good")], "good"),
        ('{"a": 1}', [{"function": {"name": "bare"}}, {"function": {"name": "x", "parameters": []}}], "bare"),
    ],
)
def test_a_bare_counter_is_the_tool_that_fits(arguments, tools, name):
    assert read("5", arguments, tools) == ToolCall(f"functions.{name}:0", name, arguments, 0)


@pytest.mark.parametrize("tools", [None, [], [{"type": "builtin_function"}]])
def test_a_bare_counter_without_tools_is_skipped(tools):
    with pytest.raises(BadCall, match="bare counter"):
        read("5", "{}", tools)


def test_calls_of_a_conversation_are_counted():
    made = {"role": "assistant", "tool_calls": [{}, {}]}
    messages = [
        {"role": "user"},
        made,
        {"role": "assistant", "tool_calls": None},
        {"role": "assistant"},
        made,
    ]
    assert count_calls(messages) == 4
