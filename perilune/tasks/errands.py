"""Requests to do something: timers, music, lights, messages, bookings, notes."""

import random

from perilune.tasks.case import Case, clock
from perilune.tasks.task import pick
from perilune.tasks.vocabulary import DAYS, FOODS, NAMES, OBJECTS, PLACES

ROOMS = ("kitchen", "bedroom", "bathroom", "hall", "garage", "office", "living room", "garden")
SONGS = (
    "Morning Light",
    "Blue River",
    "Dance Tonight",
    "Golden Days",
    "Rain Song",
    "Winter Sun",
    "Little Star",
    "Home Again",
)
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
MESSAGES = (
    "I am late",
    "see you soon",
    "happy birthday",
    "call me back",
    "the train is late",
    "dinner is ready",
    "good luck today",
    "thank you for the help",
    "I am at home",
    "please buy milk",
)


def timer(rng: random.Random) -> Case:
    minutes = rng.randrange(1, 60)
    asked = pick(
        rng,
        (
            "Set a timer for {} minutes.",
            "Start a {} minute timer.",
            "timer {} minutes please",
            "Remind me in {} minutes.",
            "Can you set a timer for {} minutes?",
            "I need a timer for {} minutes.",
        ),
    )
    return (
        asked.format(minutes),
        {"minutes": minutes},
        {"ok": True},
        f"The timer is set for {minutes} minutes.",
    )


def alarm(rng: random.Random) -> Case:
    time = clock(rng)
    asked = pick(
        rng,
        (
            "Wake me at {}.",
            "Set an alarm for {}.",
            "Please set the alarm to {}.",
            "I have to get up at {}, set an alarm.",
        ),
    )
    return asked.format(time), {"time": time}, {"ok": True}, f"The alarm is set for {time}."


def music(rng: random.Random) -> Case:
    song = pick(rng, SONGS)
    asked = pick(rng, ("Play {}.", "Play the song {}.", "I want to hear {}.", "Put on {} please.", "Can you play {}?"))
    return asked.format(song), {"song": song}, {"playing": song}, f"Now playing {song}."


def event(rng: random.Random) -> Case:
    title, day, time = pick(rng, TITLES), pick(rng, DAYS), clock(rng)
    asked = pick(
        rng,
        (
            "Add {0} to my calendar on {1} at {2}.",
            "Put {0} on {1} at {2} in my calendar.",
            "I have {0} on {1} at {2}, please note it.",
            "New event: {0}, {1}, {2}.",
        ),
    )
    return (
        asked.format(title, day, time),
        {"title": title, "day": day, "time": time},
        {"ok": True},
        f"I added {title} on {day} at {time}.",
    )


def lights(rng: random.Random) -> Case:
    room, state = pick(rng, ROOMS), pick(rng, ("on", "off"))
    asked = pick(
        rng,
        (
            "Turn {1} the lights in the {0}.",
            "Turn the {0} lights {1}.",
            "Lights {1} in the {0}.",
            "Please switch {1} the {0} light.",
        ),
    )
    return (
        asked.format(room, state),
        {"room": room, "state": state},
        {"ok": True},
        f"The {room} lights are {state}.",
    )


def message(rng: random.Random) -> Case:
    name, words = pick(rng, NAMES), pick(rng, MESSAGES)
    asked = pick(rng, ("Send a message to {0}: {1}.", "Tell {0}: {1}.", "Text {0}: {1}.", 'Write "{1}" to {0}.'))
    return (
        asked.format(name, words),
        {"to": name, "text": words},
        {"sent": True},
        f"I sent your message to {name}.",
    )


def phone(rng: random.Random) -> Case:
    name = pick(rng, NAMES)
    asked = pick(rng, ("Call {}.", "Please call {}.", "Phone {} for me.", "I want to talk to {} on the phone."))
    return asked.format(name), {"name": name}, {"calling": name}, f"I am calling {name}."


def temperature(rng: random.Random) -> Case:
    room, degrees = pick(rng, ROOMS), rng.randrange(15, 27)
    asked = pick(rng, ("Set the {0} to {1} degrees.", "Make the {0} {1} degrees warm.", "Heat the {0} to {1} degrees."))
    return (
        asked.format(room, degrees),
        {"room": room, "degrees": degrees},
        {"ok": True},
        f"The {room} is set to {degrees} degrees.",
    )


def shopping(rng: random.Random) -> Case:
    item = pick(rng, FOODS)
    asked = pick(
        rng,
        (
            "Add {} to my shopping list.",
            "Put {} on the shopping list.",
            "We need {}, add it to the list.",
            "Note {} for shopping.",
        ),
    )
    return asked.format(item), {"item": item}, {"ok": True}, f"I added {item} to your shopping list."


def taxi(rng: random.Random) -> Case:
    place, time = pick(rng, PLACES), clock(rng)
    asked = pick(rng, ("Book a taxi to {0} at {1}.", "I need a taxi to {0} at {1}.", "Order a cab to {0} for {1}."))
    return (
        asked.format(place, time),
        {"to": place, "time": time},
        {"ok": True},
        f"A taxi to {place} is booked for {time}.",
    )


def table(rng: random.Random) -> Case:
    people, time = rng.randrange(2, 9), clock(rng)
    asked = pick(
        rng,
        (
            "Book a table for {0} at {1}.",
            "Reserve a table for {0} people at {1}.",
            "A table for {0} at {1} please.",
        ),
    )
    return (
        asked.format(people, time),
        {"people": people, "time": time},
        {"ok": True},
        f"A table for {people} is booked at {time}.",
    )


def note(rng: random.Random) -> Case:
    name, thing = pick(rng, NAMES), pick(rng, OBJECTS)
    words = pick(
        rng,
        (
            f"{name} has my {thing}",
            f"buy a new {thing}",
            f"give {name} the {thing}",
            f"the {thing} is broken",
        ),
    )
    asked = pick(rng, ("Take a note: {}.", "Write this down: {}.", "Note: {}.", "Remember this: {}."))
    return asked.format(words), {"text": words}, {"ok": True}, "I wrote it down."


def volume(rng: random.Random) -> Case:
    level = rng.randrange(0, 101)
    asked = pick(rng, ("Set the volume to {}.", "Volume {} please.", "Change the volume to {} percent."))
    return asked.format(level), {"level": level}, {"ok": True}, f"The volume is {level}."


def dice(rng: random.Random) -> Case:
    sides, value = pick(rng, (4, 6, 8, 10, 12, 20)), 0
    value = rng.randrange(1, sides + 1)
    asked = pick(rng, ("Roll a dice with {} sides.", "Roll a {} sided dice.", "Throw a dice with {} sides please."))
    return asked.format(sides), {"sides": sides}, {"rolled": value}, f"I rolled {value}."


def door(rng: random.Random) -> Case:
    which, state = pick(rng, ("front", "back", "garage", "garden")), pick(rng, ("lock", "unlock"))
    asked = pick(rng, ("{1} the {0} door.", "Please {1} the {0} door.", "Can you {1} the {0} door?"))
    asked = asked.format(which, state)
    return (
        asked[0].upper() + asked[1:],
        {"door": which, "action": state},
        {"ok": True},
        f"The {which} door is {state}ed.",
    )
