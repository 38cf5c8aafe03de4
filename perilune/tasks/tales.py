"""Short children's stories from a grammar of heroes, places, wishes, troubles, helpers and endings."""

import random

from perilune.tasks.task import Example, a, ask, capital, chance, pick
from perilune.tasks.vocabulary import ANIMALS, COLOURS, OBJECTS, table

HERO_NAMES = table(
    """
    Milo Luna Pip Rosie Benny Tilly Oscar Daisy Max Ruby Toby Nina Leo Bella Sam Coco Finn Poppy
    Hugo Lola Teddy Mimi Rex Willow Olly Fern Jasper Hazel Bruno Kiki
    """
)
CHILDREN = table("Anna Mia Lucy Tom Ben Ella Jack Nora Sam Zoe Amina Kofi Ravi Lila Tara Omar")
TRAITS = table(
    """
    little small brave shy kind clever curious lazy hungry happy lonely old young funny quiet gentle
    """
)
HOMES = (
    "in a green forest",
    "by a quiet lake",
    "near a small village",
    "on a high hill",
    "under an old tree",
    "at the edge of a river",
    "in a cosy house",
    "on a farm",
    "by the sea",
    "in a warm cave",
    "in a big garden",
    "behind the mountains",
)
OUTINGS = (
    "walked along the path",
    "went into the forest",
    "climbed up the hill",
    "went down to the river",
    "walked through the garden",
    "set off early in the morning",
    "followed a small trail",
    "ran across the field",
    "crossed the old bridge",
)
WISHES: tuple[tuple[str, str, str], ...] = (
    ("wanted to find a friend", "Nobody wanted to play", "Now {n} had a friend"),
    ("wanted to see the sea", "The way was very long", "At last {n} saw the sea, and it was big and blue"),
    ("wanted to learn to sing", "Every song came out wrong", "Soon {n} could sing a lovely song"),
    ("wanted to bake a cake", "There was no flour left", "Together they baked a big cake"),
    ("wanted to fly a kite", "There was no wind at all", "Then the wind came and the kite flew high"),
    ("was looking for something to eat", "There was no food anywhere", "They shared a big warm meal"),
    (
        "wanted to build a house",
        "The walls fell down again and again",
        "In the evening the new house stood strong",
    ),
    ("wanted to swim", "The water was deep and cold", "After some days {n} could swim very well"),
    (
        "wanted to touch the moon",
        "The moon was much too far away",
        "In the lake {n} could touch the moon in the water",
    ),
    ("wanted to be brave", "Every small noise was scary", "From that day {n} was not afraid any more"),
    ("wanted to plant a tree", "The ground was hard and dry", "After the rain a small green tree grew"),
    (
        "wanted to give a present to Mother",
        "There was no money for a present",
        "Mother was very happy with the flowers",
    ),
)
TROUBLES = (
    "Suddenly it began to rain hard.",
    "Then a strong wind began to blow.",
    "Soon it was dark and cold.",
    "But then {n} lost the way.",
    "Then {n} fell into a deep hole.",
    "Suddenly there was a loud noise.",
    "But a big stone was in the way.",
    "Then {n} got stuck in the mud.",
    "Soon {n} was very tired.",
)
CRIES = (
    '"Oh no!" said {n}. "What can I do now?"',
    '"Help!" called {n}.',
    "{n} sat down and cried.",
    "{n} did not give up.",
    '"I must be brave," said {n}.',
    "{n} thought for a long time.",
)
MEETINGS = (
    "Then {a} came by.",
    "Just then {n} met {a}.",
    "Behind a bush sat {a}.",
    "High up in a tree sat {a}.",
    "{A} heard this and came closer.",
)
OFFERS = (
    '"Do not worry," said the {h}. "I will help you."',
    '"Why are you so sad?" asked the {h}. "Let me help you."',
    '"Come with me," said the {h}. "I know what to do."',
    '"Two are better than one," said the {h}.',
    '"I can show you how," said the {h} with a smile.',
    '"Please sit on my back," said the {h}.',
)
DEEDS = (
    "They worked together all day.",
    "The {h} showed {n} the right way.",
    "Step by step they went on.",
    "{n} held on tight, and off they went.",
    "They tried once, twice, and then it worked.",
    "The {h} pulled and {n} pushed.",
    "{n} listened well and tried again.",
)
THANKS = (
    '"Thank you!" said {n}. "You are a true friend."',
    "{n} gave the {h} a big hug.",
    '"Hooray!" they both shouted.',
    "{n} laughed and danced with joy.",
    '"I could not do it alone," said {n}.',
)
ENDINGS = (
    "From that day on they were best friends.",
    "And they lived happily ever after.",
    "That night {n} slept very well.",
    "And every day they played together.",
    "{n} never forgot that day.",
    "Then {n} went home and told everyone about it.",
    "The end.",
    "And so {n} learned that it is good to help each other.",
    "And so {n} learned to ask for help.",
)


def tale(rng: random.Random, kind: str | None = None, name: str | None = None) -> str:
    """Eight to twelve sentences about one hero, animal or child."""
    child = kind in ("girl", "boy", "child")
    name = name or pick(rng, CHILDREN if child else HERO_NAMES)
    kind = kind or pick(rng, ANIMALS)
    helper = pick(rng, [animal for animal in ANIMALS if animal != kind])
    helper_trait = pick(rng, TRAITS)
    trait, colour, thing = pick(rng, TRAITS), pick(rng, COLOURS), pick(rng, OBJECTS)
    wish, obstacle, success = pick(rng, WISHES)
    opening = pick(
        rng,
        (
            f"Once upon a time there was {a(trait)} {kind} called {name}.",
            f"{name} was {a(trait)} {kind}.",
            f"Long ago there lived {a(trait)} {kind}. The name of the {kind} was {name}.",
            f"There was once {a(trait)} {kind} named {name}.",
        ),
    )
    lines = [opening, f"{name} lived {pick(rng, HOMES)}."]
    if chance(rng, 0.5):
        lines.append(f"{name} had {a(colour)} {thing} and loved it very much.")
    lines += [f"One day {name} {wish}.", f"So {name} {pick(rng, OUTINGS)}."]
    lines += [f"{obstacle}."] if chance(rng, 0.6) else [pick(rng, TROUBLES)]
    lines.append(pick(rng, CRIES))
    lines.append(pick(rng, MEETINGS))
    lines += [pick(rng, OFFERS), pick(rng, DEEDS), f"{success}."]
    if chance(rng, 0.6):
        lines.append(pick(rng, THANKS))
    lines.append(pick(rng, ENDINGS))
    one = f"{a(helper_trait)} {helper}"
    return " ".join(lines).format(n=name, h=helper, a=one, A=capital(one))


REQUESTS = (
    "Tell me a story about {}.",
    "Tell me a story about {}",
    "Please tell me a short story about {}.",
    "Write a story about {}.",
    "Can you tell me a story about {}?",
    "I want to hear a story about {}.",
    "a story about {} please",
    "Make up a story about {}.",
)
OPEN_REQUESTS = (
    "Tell me a story.",
    "Please tell me a story.",
    "Can you tell me a bedtime story?",
    "I would like to hear a story.",
)


def story(rng: random.Random) -> Example:
    thinking = chance(rng, 0.5)
    if chance(rng, 0.12):
        return ask(pick(rng, OPEN_REQUESTS), tale(rng), "", None, thinking=thinking)
    child = chance(rng, 0.15)
    kind = pick(rng, ("girl", "boy")) if child else pick(rng, ANIMALS)
    name = None
    wanted = a(kind)
    if chance(rng, 0.2):
        name = pick(rng, CHILDREN if child else HERO_NAMES)
        wanted = f"{wanted} {pick(rng, ('called', 'named'))} {name}"
    question = pick(rng, REQUESTS).format(wanted)
    return ask(question, tale(rng, kind, name), kind, None, thinking=thinking)
