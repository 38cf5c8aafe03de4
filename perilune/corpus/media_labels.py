"""What the media sources call things, in simple English words."""

import re
from typing import Any

from perilune.corpus.readers import clean
from perilune.tasks.vocabulary import table

CLOTHES = (
    "a T-shirt",
    "trousers",
    "a pullover",
    "a dress",
    "a coat",
    "a sandal",
    "a shirt",
    "a sneaker",
    "a bag",
    "an ankle boot",
)

SOUNDS = {
    "dog bark": "a dog barking",
    "rain": "rain falling",
    "sea waves": "sea waves",
    "baby cry": "a baby crying",
    "clock tick": "a clock ticking",
    "person sneeze": "a person sneezing",
    "helicopter": "a helicopter flying",
    "chainsaw": "a chainsaw running",
    "rooster": "a rooster crowing",
    "fire crackling": "a fire crackling",
}

# Shelves show many of a kind, so fruit and vegetables are named in the plural; packages hold a mass.
GROCERIES = {
    "Apple": "apples",
    "Asparagus": "asparagus",
    "Aubergine": "aubergines",
    "Avocado": "avocados",
    "Banana": "bananas",
    "Cabbage": "cabbage",
    "Carrots": "carrots",
    "Cucumber": "cucumbers",
    "Garlic": "garlic",
    "Ginger": "ginger",
    "Juice": "juice",
    "Kiwi": "kiwis",
    "Leek": "leeks",
    "Lemon": "lemons",
    "Lime": "limes",
    "Mango": "mangoes",
    "Melon": "melons",
    "Milk": "milk",
    "Mushroom": "mushrooms",
    "Nectarine": "nectarines",
    "Oat Milk": "oat milk",
    "Oatghurt": "oat yoghurt",
    "Onion": "onions",
    "Orange": "oranges",
    "Papaya": "papayas",
    "Passion Fruit": "passion fruit",
    "Peach": "peaches",
    "Pear": "pears",
    "Pepper": "peppers",
    "Pineapple": "pineapples",
    "Plum": "plums",
    "Pomegranate": "pomegranates",
    "Potato": "potatoes",
    "Red Beet": "beetroots",
    "Red Grapefruit": "grapefruits",
    "Satsumas": "satsumas",
    "Sour Cream": "sour cream",
    "Sour Milk": "sour milk",
    "Soy Milk": "soy milk",
    "Soyghurt": "soy yoghurt",
    "Tomato": "tomatoes",
    "Yoghurt": "yoghurt",
    "Zucchini": "zucchini",
}
# The finer names worth telling apart, without the brands that stand on packages.
FINER = {
    "Anjou": "Anjou pears",
    "Beef Tomato": "beef tomatoes",
    "Cantaloupe": "cantaloupe melons",
    "Conference": "Conference pears",
    "Floury Potato": "floury potatoes",
    "Galia Melon": "Galia melons",
    "Golden Delicious": "Golden Delicious apples",
    "Granny Smith": "Granny Smith apples",
    "Green Bell Pepper": "green peppers",
    "Honeydew Melon": "honeydew melons",
    "Kaiser": "Kaiser pears",
    "Orange Bell Pepper": "orange peppers",
    "Pink Lady": "Pink Lady apples",
    "Red Bell Pepper": "red peppers",
    "Red Delicious": "Red Delicious apples",
    "Regular Tomato": "plain tomatoes",
    "Royal Gala": "Royal Gala apples",
    "Solid Potato": "firm potatoes",
    "Sweet Potato": "sweet potatoes",
    "Vine Tomato": "vine tomatoes",
    "Watermelon": "watermelons",
    "Yellow Bell Pepper": "yellow peppers",
}

PICTOGRAPH_KINDS = {
    "Smileys & Emotion": "a face or a feeling",
    "People & Body": "a person or a part of the body",
    "Animals & Nature": "an animal or a plant",
    "Food & Drink": "food or drink",
    "Travel & Places": "a place, a vehicle or the sky",
    "Activities": "a game or a feast",
    "Objects": "a thing",
    "Flags": "a flag",
}
_WITHOUT_ARTICLE = frozenset(
    table(
        """
        asparagus bacon bread butter camping candy cooking curry custard fire fog foggy fondue food garlic ice
        luggage money oden popcorn rice rock sake salt skiing soap spaghetti sushi tamale tennis wood yarn
        bowling badminton hockey lacrosse pong dna people men women construction coral broccoli skis
        """
    )
)
_NAMES = ("the ", "Santa", "Mrs", "Mx", "mount ", "map ")
_WITH = re.compile(r"^(man|woman|person) (\w+ hair)$")
_AFTER_HEAD = re.compile(r" (?:with|without|in|of|on|at|over|from|behind|to|pointing|showing|curving)\b")


def pictograph(row: dict[str, Any]) -> str | None:
    """A pictograph's name with its article ("a koala"); None for those no simple name fits."""
    name = re.sub(r" \(.*\)", "", clean(row["name"])).replace(" & ", " and ")
    odd = "," in name or ":" in name or "facing right" in name or not name.isascii()
    if row["group"] not in PICTOGRAPH_KINDS or odd:
        return None
    if name.startswith("flag "):
        return f"the flag of {name[5:]}"
    if row["group"] == "Animals & Nature":
        name = name.removesuffix(" face")
    name = _WITH.sub(r"\1 with \2", name)
    name = re.sub(r"^(man|woman|person) beard$", r"\1 with a beard", name)
    name = re.sub(r"^(man|woman|person) bald$", r"bald \1", name)
    head = _AFTER_HEAD.split(name)[0].split()[-1].lower()
    plural = head.endswith("s") and not head.endswith(("ss", "us", "is"))
    if plural or head in _WITHOUT_ARTICLE or name.startswith(_NAMES) or re.search(r"o'clock|-thirty", name):
        return name
    vowel = name[0].lower() in "aeiou" and not name.startswith(("uni", "ewe", "euro"))
    return f"{'an' if vowel or name.startswith(('x-ray', 'hour')) else 'a'} {name}"


def order(slots: dict[str, str]) -> dict[str, str]:
    """The slots of a spoken order, cleaned: drink, size, roast, shots, milk, sugar."""
    names = {
        "coffeeDrink": "drink",
        "size": "size",
        "roast": "roast",
        "numberOfShots": "shots",
        "milkAmount": "milk",
        "sugarAmount": "sugar",
    }
    return {names[slot]: value.strip() for slot, value in slots.items()}


def order_phrase(slots: dict[str, str]) -> str:
    """A cleaned order as one phrase: "a large dark roast mocha with a double shot, soy milk and sugar"."""
    front = " ".join(slots[name] for name in ("size", "roast", "drink") if name in slots)
    extras = [f"a {slots['shots']}"] if "shots" in slots else []
    extras += [slots[name] for name in ("milk", "sugar") if name in slots]
    article = "an" if front[0] in "aei" else "a"
    phrase = f"{article} {front}"
    if not extras:
        return phrase
    joined = extras[0] if len(extras) == 1 else f"{', '.join(extras[:-1])} and {extras[-1]}"
    return f"{phrase} with {joined}"
