"""Requests to look something up: weather, calendar, prices, ways, times, recipes."""

import random

from perilune.tasks.case import Case, clock
from perilune.tasks.task import pick
from perilune.tasks.vocabulary import ANIMALS, DAYS, FOODS, PLACES

LANGUAGES = ("French", "German", "Spanish", "Italian", "Japanese", "Polish", "Greek", "Dutch")
CURRENCIES = ("dollars", "euros", "pounds", "yen", "francs")
STOCKS = ("Acorn", "Bluebird", "Cedar", "Delta", "Ember", "Falcon")
TITLES = (
    "dinner",
    "meeting",
    "dentist",
    "football",
    "birthday party",
    "lunch",
    "yoga",
    "piano lesson",
    "call",
)
TOPICS = (
    "volcanoes",
    "the moon",
    "whales",
    "old maps",
    "bread",
    "steam trains",
    "bees",
    "castles",
    "rivers",
    "robots",
)
PHRASES = (
    "good morning",
    "thank you",
    "where is the station",
    "I like tea",
    "how much is it",
    "see you tomorrow",
)


def weather(rng: random.Random) -> Case:
    city = pick(rng, PLACES)
    sky, degrees = pick(rng, ("sunny", "rainy", "cloudy", "windy", "snowy")), rng.randrange(-5, 35)
    asked = pick(
        rng,
        (
            "What is the weather in {}?",
            "How is the weather in {}?",
            "What's the weather like in {} today?",
            "Is it raining in {}?",
            "weather in {}",
            "Do I need a coat in {}?",
            "Tell me the weather for {}.",
        ),
    )
    result = {"city": city, "sky": sky, "temperature": degrees}
    return asked.format(city), {"city": city}, result, f"It is {sky} in {city}, {degrees} degrees."


def convert(rng: random.Random) -> Case:
    amount = rng.randrange(1, 500)
    units = pick(
        rng,
        (
            ("km", "miles"),
            ("miles", "km"),
            ("kg", "pounds"),
            ("pounds", "kg"),
            ("meters", "feet"),
            ("liters", "gallons"),
        ),
    )
    value = round(
        amount * {"km": 0.62, "miles": 1.61, "kg": 2.2, "pounds": 0.45, "meters": 3.28, "liters": 0.26}[units[0]],
        1,
    )
    asked = pick(rng, ("Convert {} {} to {}.", "How much is {} {} in {}?", "What is {} {} in {}?", "{} {} in {}"))
    arguments = {"amount": amount, "from_unit": units[0], "to_unit": units[1]}
    return (
        asked.format(amount, *units),
        arguments,
        {"result": value},
        f"{amount} {units[0]} is {value} {units[1]}.",
    )


def agenda(rng: random.Random) -> Case:
    day, title, time = pick(rng, DAYS), pick(rng, TITLES), clock(rng)
    asked = pick(
        rng,
        (
            "What do I have on {}?",
            "What is in my calendar on {}?",
            "Am I free on {}?",
            "Show me my plans for {}.",
        ),
    )
    return (
        asked.format(day),
        {"day": day},
        {"events": [{"title": title, "time": time}]},
        f"On {day} you have {title} at {time}.",
    )


def search(rng: random.Random) -> Case:
    topic = pick(rng, TOPICS)
    hits = rng.randrange(2, 90)
    asked = pick(rng, ("Search the web for {}.", "Look up {}.", "Find pages about {}.", "Search for {} please."))
    return asked.format(topic), {"query": topic}, {"pages": hits}, f"I found {hits} pages about {topic}."


def translate(rng: random.Random) -> Case:
    words, language = pick(rng, PHRASES), pick(rng, LANGUAGES)
    asked = pick(rng, ('Translate "{0}" to {1}.', 'How do you say "{0}" in {1}?', 'What is "{0}" in {1}?'))
    return (
        asked.format(words, language),
        {"text": words, "language": language},
        {"ok": True},
        f"Here is the {language} translation.",
    )


def price(rng: random.Random) -> Case:
    stock, value = pick(rng, STOCKS), rng.randrange(5, 400)
    asked = pick(
        rng,
        (
            "What is the stock price of {}?",
            "How much is one {} share?",
            "Check the {} stock.",
            "price of {} stock",
        ),
    )
    return (
        asked.format(stock),
        {"company": stock},
        {"price": value},
        f"One {stock} share costs {value} dollars.",
    )


def exchange(rng: random.Random) -> Case:
    amount = rng.randrange(1, 900)
    first, second = rng.sample(CURRENCIES, 2)
    value = rng.randrange(1, 2000)
    asked = pick(rng, ("Change {} {} to {}.", "How many {2} are {0} {1}?", "What are {} {} in {}?"))
    arguments = {"amount": amount, "from_currency": first, "to_currency": second}
    return (
        asked.format(amount, first, second),
        arguments,
        {"amount": value},
        f"{amount} {first} are {value} {second}.",
    )


def route(rng: random.Random) -> Case:
    start, end = rng.sample(PLACES, 2)
    km = rng.randrange(20, 900)
    asked = pick(rng, ("How far is it from {} to {}?", "Find a route from {} to {}.", "How do I get from {} to {}?"))
    return (
        asked.format(start, end),
        {"from": start, "to": end},
        {"km": km},
        f"It is {km} km from {start} to {end}.",
    )


def animal(rng: random.Random) -> Case:
    kind = pick(rng, ANIMALS)
    asked = pick(rng, ("Show me a picture of {a}.", "Find a photo of {a}.", "I want to see {a}."))
    named = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    return asked.format(a=named), {"animal": kind}, {"found": True}, f"Here is a picture of {named}."


def local_time(rng: random.Random) -> Case:
    city, time = pick(rng, PLACES), clock(rng)
    asked = pick(rng, ("What time is it in {}?", "How late is it in {}?", "Tell me the time in {}.", "time in {} now"))
    return asked.format(city), {"city": city}, {"time": time}, f"It is {time} in {city}."


def delivery(rng: random.Random) -> Case:
    order, day = rng.randrange(100, 999), pick(rng, DAYS)
    asked = pick(
        rng,
        (
            "Where is my order {}?",
            "When does order {} come?",
            "Track order {}.",
            "Check the delivery of order {}.",
        ),
    )
    return asked.format(order), {"order": order}, {"day": day}, f"Order {order} comes on {day}."


def recipe(rng: random.Random) -> Case:
    food, minutes = pick(rng, FOODS), rng.randrange(5, 90)
    asked = pick(
        rng,
        ("Find a recipe for {}.", "How do I cook {}?", "I want to make {}, find a recipe.", "recipe with {}"),
    )
    return (
        asked.format(food),
        {"food": food},
        {"minutes": minutes},
        f"I found a recipe for {food}. It takes {minutes} minutes.",
    )


def calculate(rng: random.Random) -> Case:
    x, y = rng.randrange(100, 9999), rng.randrange(100, 9999)
    sign = pick(rng, "+*-")
    value = {"+": x + y, "*": x * y, "-": x - y}[sign]
    asked = pick(rng, ("Use the calculator for {}.", "Calculate {} with the calculator.", "What is {}? Use the tool."))
    expression = f"{x} {sign} {y}"
    return asked.format(expression), {"expression": expression}, {"value": value}, f"{expression} = {value}."
