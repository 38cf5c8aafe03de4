"""Notations drawn at random: signs and words that open, join and close a record, a function or a file.

A value is then known by its place and shape, not by one language's spelling. {k} the key, {v} the value, {q} the value
quoted where it is no number, {n} and {m} names.
"""

import random

from perilune.tasks.task import pick

OPENINGS = (
    "",
    "",
    "",
    "(",
    "[",
    "{{",
    "<",
    "- ",
    "* ",
    "@",
    "$",
    "% ",
    "| ",
    "var ",
    "val ",
    "let ",
    "my ",
    "put ",
    "const ",
)
JOINTS = (
    " ",
    ": ",
    " : ",
    "=",
    " = ",
    " == ",
    " -> ",
    ", ",
    " | ",
    " is ",
    " / ",
    "::",
    " ~ ",
    "\n    ",
    ":\n  ",
    ") (",
    ' "',
)
CLOSINGS = ("", "", "", ";", ")", "]", "}}", ">", " |", ",", " #", '"', " end")
BEGINS = (
    "proc",
    "sub",
    "method",
    "function",
    "routine",
    "define",
    "def",
    "fun",
    "private int",
    "let",
    "to",
    "static auto",
)
SIGNATURES = (
    "()",
    "()",
    "(self)",
    "({n})",
    "({n}, {m})",
    " ({n} int)",
    "",
    " {n}",
    "[{n}]",
    "<T>()",
    "(): string",
    "() -> {m}",
)
OPENS = (":\n    ", " {{\n  ", " {{ ", " =\n  ", " = ", "\n  ", "\nbegin\n  ", " do\n  ", "\n{{\n    ")
GIVES = ("return ", "return ", "return(", "give ", "result = ", "", "answer ", "ret ", "exit with ", "{n} = ", "print ")
SHUTS = ("", "", ";", "\n}}", ";\n}}", "\nend", " end", ")", " }}")
BANNERS = ("# ", "// ", "File: ", "--- ", "+++ ", "file ", "[", "## ", ">> ", "<!-- ", "/* ", "@ ", "in ", "")
RULES = ("", "", "", " ---", "]", ":", " <<", " -->", " */", " ##")


def drawn_pair(rng: random.Random) -> str:
    value = pick(rng, ("{v}", "{v}", '"{v}"', "'{v}'", "<{v}>", "{n} {v}"))
    key = pick(rng, ("{k}", "{k}", "{k}", '"{k}"', "'{k}'", "{n}.{k}", "{k}({n})"))
    return pick(rng, OPENINGS) + key + pick(rng, JOINTS) + value + pick(rng, CLOSINGS)


def drawn_function(rng: random.Random, body: str = "{q}") -> str:
    head = pick(rng, BEGINS) + " {k}" + pick(rng, SIGNATURES)
    return head + pick(rng, OPENS) + pick(rng, GIVES) + body + pick(rng, SHUTS)


def drawn_file(rng: random.Random) -> str:
    definition = pick(
        rng, ("class {k}", "type {k} = {m}", "{k} = {n}", "interface {k} {{ }}", drawn_function(rng, "{n}"))
    )
    return pick(rng, BANNERS) + "{v}" + pick(rng, RULES) + pick(rng, ("\n", "\n", "\n\n")) + definition
