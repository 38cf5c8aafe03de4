"""Arithmetic with visible steps: columns with carry and borrow, products, comparisons, word problems."""

import random
from dataclasses import dataclass

from perilune.tasks.task import Example, ask, chance, pick
from perilune.tasks.vocabulary import COUNTED, NAMES, plural, pronoun

ONLY_ANSWER = "Answer with the number only."


@dataclass(frozen=True)
class Worked:
    """One computed expression: how it is written, the steps that lead there, the result."""

    text: str
    steps: str
    result: int


def add(x: int, y: int) -> Worked:
    """Column by column from the right, as on paper."""
    if x < 10 and y < 10:
        return Worked(f"{x} + {y}", f"{x} + {y} = {x + y}.", x + y)
    left, right, carry, steps = x, y, 0, []
    while left or right:
        a, b = left % 10, right % 10
        total = a + b + carry
        shown = f"{a} + {b} + {carry} = {total}" if carry else f"{a} + {b} = {total}"
        left, right, carry = left // 10, right // 10, total // 10
        last = not left and not right
        steps.append(f"{shown}, write {total % 10} carry 1." if carry and not last else f"{shown}.")
    return Worked(f"{x} + {y}", f"{' '.join(steps)} So {x} + {y} = {x + y}.", x + y)


def subtract(x: int, y: int) -> Worked:
    if x < 10:
        return Worked(f"{x} - {y}", f"{x} - {y} = {x - y}.", x - y)
    left, right, borrow, steps = x, y, 0, []
    while left or right:
        a, b = left % 10, right % 10
        taken = f"{a} - {b} - 1" if borrow else f"{a} - {b}"
        value = a - b - borrow
        if value < 0:
            lent = f"{a + 10} - {b} - 1" if borrow else f"{a + 10} - {b}"
            steps.append(f"{taken} is too small, borrow: {lent} = {value + 10}.")
        elif left or right:
            steps.append(f"{taken} = {value}.")
        left, right, borrow = left // 10, right // 10, int(value < 0)
    return Worked(f"{x} - {y}", f"{' '.join(steps)} So {x} - {y} = {x - y}.", x - y)


def multiply(x: int, y: int) -> Worked:
    """One factor below ten; the other is split into tens and ones."""
    text = f"{x} * {y}"
    if x < 11 or x % 10 == 0:
        return Worked(text, f"{text} = {x * y}.", x * y)
    tens, ones = x // 10 * 10, x % 10
    steps = f"{tens} * {y} = {tens * y}. {ones} * {y} = {ones * y}. {tens * y} + {ones * y} = {x * y}."
    return Worked(text, steps, x * y)


def divide(x: int, y: int) -> Worked:
    return Worked(f"{x} / {y}", f"{y} * {x // y} = {x}, so {x} / {y} = {x // y}.", x // y)


def _number(rng: random.Random, digits: int) -> int:
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def _expression(rng: random.Random) -> tuple[Worked, str]:
    kind = pick(rng, "++++---**/")
    if kind == "+":
        x, y = _number(rng, pick(rng, (1, 1, 2, 2, 2, 3))), _number(rng, pick(rng, (1, 2, 2, 3)))
        return add(x, y), pick(rng, (f"{x} plus {y}", f"the sum of {x} and {y}"))
    if kind == "-":
        x, y = sorted((_number(rng, pick(rng, (1, 2, 2, 3))), _number(rng, pick(rng, (1, 2, 2, 3)))), reverse=True)
        return subtract(x, y), f"{x} minus {y}"
    if kind == "*":
        x, y = pick(rng, (_number(rng, 1), _number(rng, 2), rng.randrange(2, 13))), rng.randrange(2, 10)
        return multiply(x, y), f"{x} times {y}"
    y, q = rng.randrange(2, 11), rng.randrange(1, 13)
    return divide(y * q, y), f"{y * q} divided by {y}"


def calculation(rng: random.Random) -> Example:
    worked, spoken = _expression(rng)
    question = pick(
        rng,
        (
            f"What is {worked.text}?",
            f"What is {worked.text}?",
            f"What is {spoken}?",
            f"{worked.text}",
            f"{worked.text} = ?",
            f"{worked.text.replace(' ', '')}=?",
            f"Calculate {worked.text}.",
            f"How much is {worked.text}?",
            f"Please work out {worked.text}.",
            f"Can you tell me what {spoken} is?",
        ),
    )
    result = str(worked.result)
    full = f"{worked.text} = {result}."
    if chance(rng, 0.6):
        if chance(rng, 0.15):
            return ask(question, result, result, worked.steps, thinking=True, system=ONLY_ANSWER)
        return ask(question, full, result, worked.steps, thinking=True)
    if full in worked.steps:
        return ask(question, worked.steps, result, thinking=False)
    return ask(question, f"{worked.steps} So {full}", result, thinking=False)


def comparison(rng: random.Random) -> Example:
    digits = pick(rng, (1, 2, 2, 3, 3))
    x = _number(rng, digits)
    y = _number(rng, digits if chance(rng, 0.8) else pick(rng, (1, 2, 3)))
    while y == x:
        y = _number(rng, 3)
    bigger = chance(rng, 0.6)
    word = pick(rng, ("bigger", "larger", "greater")) if bigger else "smaller"
    result = max(x, y) if bigger else min(x, y)
    question = pick(
        rng,
        (
            f"Which is {word}, {x} or {y}?",
            f"Which number is {word}: {x} or {y}?",
            f"{x} or {y}, which is {word}?",
        ),
    )
    return ask(
        question,
        f"{result} is {word}.",
        str(result),
        _compared(x, y) + f" {result} is {word}.",
        thinking=chance(rng, 0.6),
    )


def _compared(x: int, y: int) -> str:
    if len(str(x)) != len(str(y)):
        return f"{x} has {len(str(x))} digits, {y} has {len(str(y))}."
    for p, q in zip(str(x), str(y), strict=True):
        if p != q:
            return f"Same length. The first different digits are {p} and {q}."
    return "They are equal."


def word_problem(rng: random.Random) -> Example:
    name, other = rng.sample(NAMES, 2)
    thing = pick(rng, COUNTED)
    things, who = plural(thing), pronoun(name)
    kind = rng.randrange(6)
    start, first, second = rng.randrange(5, 60), rng.randrange(2, 30), rng.randrange(2, 20)
    if kind == 0:
        story = f"{name} has {start} {things}. {other} gives {name} {first} more. "
        ask_for, steps = f"How many {things} does {name} have now?", [add(start, first)]
        told = f"{name} has {{}} {things}."
    elif kind == 1:
        start += first
        lost = pick(rng, (f"{who.capitalize()} gives {first} to {other}.", f"{who.capitalize()} loses {first}."))
        story = f"{name} has {start} {things}. {lost} "
        ask_for, steps = f"How many {things} are left?", [subtract(start, first)]
        told = f"There are {{}} {things} left."
    elif kind == 2:
        boxes, each = rng.randrange(2, 10), rng.randrange(2, 13)
        story = f"There are {boxes} boxes with {each} {things} in each box. "
        ask_for, steps = f"How many {things} are there in all?", [multiply(each, boxes)]
        told = f"There are {{}} {things} in all."
    elif kind == 3:
        start += second
        story = f"{name} had {start} {things}. "
        story += f"{who.capitalize()} gave {second} to {other} and then found {first} more. "
        one = subtract(start, second)
        ask_for, steps = f"How many {things} does {name} have now?", [one, add(one.result, first)]
        told = f"{name} has {{}} {things}."
    elif kind == 4:
        price, many = rng.randrange(2, 10), rng.randrange(2, 10)
        paid = price * many + rng.randrange(1, 20)
        story = f"One {thing} costs {price} dollars. {name} buys {many} {things} and pays with {paid} dollars. "
        one = multiply(price, many)
        ask_for, steps = "How much money does " + name + " get back?", [one, subtract(paid, one.result)]
        told = f"{name} gets {{}} dollars back."
    else:
        days, each = rng.randrange(2, 8), rng.randrange(2, 10)
        one = multiply(each, days)
        story = f"{name} has {start} {things} and gets {each} more every day. "
        ask_for, steps = (
            f"How many {things} does {name} have after {days} days?",
            [one, add(start, one.result)],
        )
        told = f"{name} has {{}} {things} after {days} days."
    worked = " ".join(step.steps for step in steps)
    result = str(steps[-1].result)
    final = told.format(result)
    if chance(rng, 0.6):
        return ask(story + ask_for, final, result, worked, thinking=True)
    return ask(story + ask_for, f"{worked} {final}", result, thinking=False)
