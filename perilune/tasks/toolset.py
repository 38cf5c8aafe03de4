"""The pool of tools that generated tool-call tasks declare, each with a maker of requests for it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perilune.tasks import errands, lookups
from perilune.tasks.case import Case


@dataclass(frozen=True)
class Tool:
    name: str
    description: str
    properties: dict[str, dict[str, Any]]
    required: tuple[str, ...]
    case: Callable[[random.Random], Case]

    def schema(self) -> dict[str, Any]:
        parameters = {"type": "object", "properties": self.properties, "required": list(self.required)}
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


def text(description: str = "") -> dict[str, Any]:
    return {"type": "string", "description": description} if description else {"type": "string"}


def number(description: str = "") -> dict[str, Any]:
    return {"type": "integer", "description": description} if description else {"type": "integer"}


def one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


TOOLS: tuple[Tool, ...] = (
    Tool("get_weather", "Get the weather in a city", {"city": text()}, ("city",), lookups.weather),
    Tool("set_timer", "Start a timer", {"minutes": number()}, ("minutes",), errands.timer),
    Tool("set_alarm", "Set an alarm", {"time": text("HH:MM")}, ("time",), errands.alarm),
    Tool("play_song", "Play a song", {"song": text("Name of the song")}, ("song",), errands.music),
    Tool(
        "convert_units",
        "Convert between units",
        {"amount": {"type": "number"}, "from_unit": text(), "to_unit": text()},
        ("amount", "from_unit", "to_unit"),
        lookups.convert,
    ),
    Tool(
        "add_event",
        "Add an event to the calendar",
        {"title": text(), "day": text(), "time": text()},
        ("title", "day", "time"),
        errands.event,
    ),
    Tool("list_events", "List the events of a day", {"day": text()}, ("day",), lookups.agenda),
    Tool("web_search", "Search the web", {"query": text("What to search for")}, ("query",), lookups.search),
    Tool(
        "switch_lights",
        "Switch the lights of a room",
        {"room": text(), "state": one_of("on", "off")},
        ("room", "state"),
        errands.lights,
    ),
    Tool(
        "send_message",
        "Send a text message",
        {"to": text("Name of the person"), "text": text()},
        ("to", "text"),
        errands.message,
    ),
    Tool("call_person", "Call a person by phone", {"name": text()}, ("name",), errands.phone),
    Tool(
        "translate",
        "Translate a text",
        {"text": text(), "language": text()},
        ("text", "language"),
        lookups.translate,
    ),
    Tool(
        "set_temperature",
        "Set the temperature of a room",
        {"room": text(), "degrees": number()},
        ("room", "degrees"),
        errands.temperature,
    ),
    Tool(
        "add_to_shopping_list",
        "Add an item to the shopping list",
        {"item": text()},
        ("item",),
        errands.shopping,
    ),
    Tool("get_stock_price", "Get the price of a share", {"company": text()}, ("company",), lookups.price),
    Tool(
        "exchange_money",
        "Convert money to another currency",
        {"amount": {"type": "number"}, "from_currency": text(), "to_currency": text()},
        ("amount", "from_currency", "to_currency"),
        lookups.exchange,
    ),
    Tool(
        "find_route",
        "Find the way between two places",
        {"from": text(), "to": text()},
        ("from", "to"),
        lookups.route,
    ),
    Tool("book_taxi", "Book a taxi", {"to": text(), "time": text("HH:MM")}, ("to", "time"), errands.taxi),
    Tool(
        "book_table",
        "Book a table in a restaurant",
        {"people": number(), "time": text("HH:MM")},
        ("people", "time"),
        errands.table,
    ),
    Tool("write_note", "Write a note", {"text": text()}, ("text",), errands.note),
    Tool(
        "set_volume",
        "Set the sound volume",
        {"level": {"type": "integer", "minimum": 0, "maximum": 100}},
        ("level",),
        errands.volume,
    ),
    Tool("show_animal", "Show a picture of an animal", {"animal": text()}, ("animal",), lookups.animal),
    Tool("roll_dice", "Roll a dice", {"sides": number()}, ("sides",), errands.dice),
    Tool("get_time", "Get the local time of a city", {"city": text()}, ("city",), lookups.local_time),
    Tool(
        "track_order",
        "Find out when an order comes",
        {"order": number("Number of the order")},
        ("order",),
        lookups.delivery,
    ),
    Tool(
        "lock_door",
        "Lock or unlock a door",
        {"door": text(), "action": one_of("lock", "unlock")},
        ("door", "action"),
        errands.door,
    ),
    Tool("find_recipe", "Find a recipe", {"food": text()}, ("food",), lookups.recipe),
    Tool("calculator", "Compute an expression", {"expression": text()}, ("expression",), lookups.calculate),
)
