"""Facts about people, places and machines in plain sentences, and questions that paraphrase them."""

import random
from dataclasses import dataclass

from perilune.tasks import lookup_words as w
from perilune.tasks.lookup_forms import carrier
from perilune.tasks.lookup_keys import Keys
from perilune.tasks.lookup_questions import wrap
from perilune.tasks.lookup_types import Lookup, Question, fair_questions, prose_filler, question
from perilune.tasks.lookup_values import KINDS, Values
from perilune.tasks.task import capital, chance, pick

PEOPLE = ("people", "people", "first_names", "made_up", "titled")
PLACES = ("described", "phrases", "nouns", "titled", "towns")
MACHINES = ("numbered", "numbered", "described", "titled", "letters")


@dataclass(frozen=True)
class Fact:
    """{s} the subject, {v} the value. Sentences and questions are parted by " | "."""

    subjects: tuple[str, ...]
    values: tuple[str, ...]
    sentences: str
    questions: str


TRAIN: tuple[Fact, ...] = (
    Fact(
        PEOPLE,
        ("town", "made_up"),
        "{s} lives in {v} | {s} has a small flat in {v} | {s} moved to {v} last spring | {v} is where {s} lives",
        "where does {s} live? | in which town is {s} at home? | which place did {s} move to? | home of {s}?",
    ),
    Fact(
        PEOPLE,
        ("food",),
        "{s} likes to eat {v} | {s} orders {v} every day | the dish that {s} likes best is {v} | {s} cannot resist {v}",
        "what does {s} like to eat? | what is {s}'s favourite food? | which food should I cook for {s}?",
    ),
    Fact(
        PEOPLE,
        ("animal", "made_up"),
        "{s} lives with one tame {v} | {s} owns the {v} | there is one {v} in the house of {s}",
        "which animal does {s} keep? | what pet does {s} have? | what kind of animal lives with {s}?",
    ),
    Fact(
        PEOPLE,
        ("year", "date"),
        "{s} was born in {v} | the year {v} saw the birth of {s} | {s} came into the world in {v}",
        "when was {s} born? | what is {s}'s date of birth? | since when has {s} been in the world?",
    ),
    Fact(
        PEOPLE,
        ("phone", "digits4", "digits6"),
        "{s} can be reached at {v} | to call {s}, dial {v} | {s} answers the telephone at {v}",
        "how can I reach {s} by telephone? | which number do I dial for {s}? | what is {s}'s phone number?",
    ),
    Fact(
        PEOPLE,
        ("thing", "phrase"),
        "{s} bought {v} at the market | {s} came home with {v} | at the market, {v} was all that {s} bought",
        "what did {s} buy? | what did {s} bring home from the market? | which thing did {s} pay for?",
    ),
    Fact(
        PEOPLE,
        ("clock",),
        "{s} gets up at {v} | at {v} {s} leaves the bed | the alarm of {s} rings at {v}",
        "when does {s} get up? | at what time does {s} wake? | when does the day of {s} begin?",
    ),
    Fact(
        PEOPLE,
        ("spot",),
        "{s} sits in {v} | you will find {s} in {v} | {s} was told to wait in {v}",
        "where does {s} sit? | where can I find {s}? | in which place is {s} waiting?",
    ),
    Fact(
        PEOPLE,
        ("person",),
        "{s} is married to {v} | {s} and {v} are a couple | {v} became the husband or wife of {s}",
        "who is {s} married to? | who is the partner of {s}? | whom did {s} marry?",
    ),
    Fact(
        PEOPLE,
        ("amount",),
        "{s} earns {v} a week | every week {s} is paid {v} | the wage of {s} comes to {v}",
        "how much does {s} earn? | what is {s} paid each week? | what is the wage of {s}?",
    ),
    Fact(
        PEOPLE,
        ("colour",),
        "{s} always wears {v} | the coat of {s} is {v} | {s} painted the door {v}",
        "which colour goes with {s}? | what colour did {s} choose? | what colour belongs to {s}?",
    ),
    Fact(
        PEOPLE,
        ("phrase", "made_up", "word"),
        "{s} opens the door with the words {v} | to let {s} in, one has to hear {v} | {s} says {v} at the gate",
        "what does {s} say at the gate? | which words does {s} use to open the door? | {s}'s secret words?",
    ),
    Fact(
        PLACES,
        ("clock",),
        "{s} opens at {v} | the doors of {s} open at {v} | nobody gets into {s} before {v}",
        "when does {s} open? | what is the opening time of {s}? | from what time on may one enter {s}?",
    ),
    Fact(
        PLACES,
        ("person", "made_up"),
        "{v} looks after {s} | {s} is run by {v} | it is {v} who takes care of {s}",
        "who looks after {s}? | who runs {s}? | who is in charge of {s}? | whom should I ask about {s}?",
    ),
    Fact(
        PLACES,
        ("year", "digits4"),
        "{s} was built in {v} | work on {s} was finished in {v} | the stones of {s} were laid in {v}",
        "when was {s} built? | in which year was {s} finished? | how old is {s}, built in what year?",
    ),
    Fact(
        PLACES,
        ("phrase", "mixed", "digits4", "digits6"),
        "you get into {s} with {v} | the guard of {s} only accepts {v} | {v} opens {s} | whoever enters {s} types {v}",
        "how do I get into {s}? | what opens {s}? | which code lets me into {s}? | what do I type to enter {s}?",
    ),
    Fact(
        PLACES,
        ("thing", "animal", "phrase"),
        "people found {v} in {s} | {s} is famous for {v} | there is nothing in {s} but {v} | they hid {v} in {s}",
        "what was found in {s}? | what is {s} known for? | what is there in {s}? | what is hidden in {s}?",
    ),
    Fact(
        PLACES,
        ("distance",),
        "from here to {s} it is {v} | {s} lies {v} away | one has to travel {v} to see {s}",
        "how far is it to {s}? | how far away is {s}? | what is the distance to {s}?",
    ),
    Fact(
        MACHINES,
        ("digits4", "digits5", "serial", "mixed"),
        "to repair {s}, enter {v} | the engineers maintain {s} with {v} | {s} restarts when you type {v}",
        "which code do I need to maintain {s}? | what do I enter to repair {s}? | how can I restart {s}?",
    ),
    Fact(
        MACHINES,
        ("spot", "street", "town"),
        "{s} stands in {v} | we moved {s} to {v} | {s} is kept in {v}",
        "where is {s}? | where does {s} stand? | in which place can {s} be found? | where was {s} moved?",
    ),
    Fact(
        MACHINES,
        ("mass",),
        "{s} weighs {v} | on the scales {s} showed {v} | the weight of {s} comes to {v}",
        "how heavy is {s}? | how much does {s} weigh? | what did the scales show for {s}?",
    ),
    Fact(
        MACHINES,
        ("amount",),
        "{s} costs {v} | they sold {s} for {v} | you can have {s} for {v}",
        "how much is {s}? | what does {s} cost? | what is the price of {s}? | for how much was {s} sold?",
    ),
    Fact(
        MACHINES,
        ("date", "weekday", "clock"),
        "{s} will be checked on {v} | the next test of {s} is on {v} | {s} is to be switched off on {v}",
        "when will {s} be checked? | when is the next test of {s}? | on which day is {s} due?",
    ),
    Fact(
        MACHINES,
        ("person", "made_up"),
        "{s} was invented by {v} | {v} designed {s} | we owe {s} to {v} | {v} was the first to build {s}",
        "who invented {s}? | who designed {s}? | to whom do we owe {s}? | who was the builder of {s}?",
    ),
    Fact(
        MACHINES,
        ("ip", "hex", "uuid"),
        "{s} answers at {v} | the network knows {s} as {v} | {s} was registered as {v}",
        "at which address does {s} answer? | how does the network know {s}? | as what was {s} registered?",
    ),
    Fact(
        MACHINES,
        ("colour",),
        "{s} was painted {v} | the paint of {s} is {v} | {s} shines in {v}",
        "what colour is {s}? | in which colour was {s} painted? | which paint does {s} have?",
    ),
    Fact(
        PEOPLE,
        ("thing", "phrase", "word"),
        "{s} lost {v} on the way | {v} fell out of the bag of {s} | {s} came back without {v}",
        "what did {s} lose? | what is {s} missing? | what fell out of the bag of {s}?",
    ),
    Fact(
        PEOPLE,
        ("spelled", "amount"),
        "{s} owes the bank {v} | {v} was lent to {s} | {s} borrowed {v} for the house",
        "how much does {s} owe? | what sum did {s} borrow? | how large is the loan of {s}? | how much was lent to {s}?",
    ),
    Fact(
        PEOPLE,
        ("person", "made_up"),
        "{s} wrote a letter to {v} | {v} got the letter that {s} had written | the letter of {s} was meant for {v}",
        "to whom did {s} write? | who got the letter of {s}? | who was the letter from {s} for?",
    ),
    Fact(
        PEOPLE,
        ("weekday", "date", "month"),
        "{s} will be back in {v} | nobody will see {s} before {v} | the holiday of {s} ends in {v}",
        "when will {s} be back? | until when is {s} away? | when does the holiday of {s} end?",
    ),
    Fact(
        PEOPLE,
        ("phrase", "thing", "word"),
        "{s} studies {v} at the institute | {s} wrote a thesis about {v} | {v} is what {s} lectures on",
        "what does {s} study? | what is the thesis of {s} about? | which subject does {s} lecture on?",
    ),
    Fact(
        PEOPLE,
        ("town", "made_up"),
        "{s} took the night train to {v} | the ticket of {s} was for {v} | {s} has to change trains in {v}",
        "where did {s} travel? | for which town was the ticket of {s}? | where does {s} have to change trains?",
    ),
    Fact(
        PEOPLE,
        ("spelled", "distance"),
        "{s} ran {v} without a rest | it took {s} {v} to get home | {s} gave up after {v}",
        "how far did {s} run? | how long was the way of {s}? | after how much did {s} give up?",
    ),
    Fact(
        PLACES,
        ("spelled",),
        "{s} has room for {v} | {v} fit into {s} | {s} was built for {v}",
        "how many fit into {s}? | what was {s} built for? | how much room is there in {s}?",
    ),
    Fact(
        PLACES,
        ("spelled", "measure", "distance"),
        "the walls of {s} are {v} thick | {s} is {v} wide | someone measured {s} and got {v}",
        "how thick are the walls of {s}? | how wide is {s}? | what did they get when they measured {s}?",
    ),
    Fact(
        PLACES,
        ("person", "made_up"),
        "{s} belongs to {v} | {v} bought {s} from the state | {v} inherited {s}",
        "who owns {s}? | to whom does {s} belong? | who inherited {s}? | whose is {s}?",
    ),
    Fact(
        PLACES,
        ("colour", "phrase"),
        "the roof of {s} is {v} | above {s} one sees a flag with {v} | the gate of {s} bears {v}",
        "what is the roof of {s} like? | what is on the flag above {s}? | what does the gate of {s} bear?",
    ),
    Fact(
        PLACES,
        ("weekday", "date", "month"),
        "{s} was closed in {v} | no guest came to {s} after {v} | they shut {s} down in {v}",
        "when was {s} closed? | since when have no guests come to {s}? | when did they shut {s} down?",
    ),
    Fact(
        PLACES,
        ("phone", "email", "street"),
        "write to {s} at {v} | letters for {s} go to {v} | the post of {s} arrives at {v}",
        "where do letters for {s} go? | how do I write to {s}? | where does the post of {s} arrive?",
    ),
    Fact(
        MACHINES,
        ("spelled",),
        "{s} must be oiled every {v} | {s} ran for {v} | after {v} {s} has to rest | the battery of {s} lasts {v}",
        "how often must {s} be oiled? | how long did {s} run? | after how long does {s} have to rest?",
    ),
    Fact(
        MACHINES,
        ("measure", "percent", "spelled"),
        "{s} burns {v} a day | each day {s} takes in {v} | the daily need of {s} is {v}",
        "how much does {s} burn in a day? | what does {s} take in each day? | what is the daily need of {s}?",
    ),
    Fact(
        MACHINES,
        ("thing", "word", "phrase"),
        "{s} was stopped by {v} | {v} got stuck in {s} | {s} broke down because of {v}",
        "what stopped {s}? | what got stuck in {s}? | why did {s} break down? | what was it that broke {s}?",
    ),
    Fact(
        MACHINES,
        ("version", "digits4", "year"),
        "{s} runs on {v} since the repair | they updated {s} to {v} | {s} came with {v} from the factory",
        "what does {s} run on? | to what was {s} updated? | what did {s} come with from the factory?",
    ),
    Fact(
        MACHINES,
        ("path", "email", "ip"),
        "{s} sends its reports to {v} | what {s} measures ends up in {v} | {s} reports to {v}",
        "where does {s} send its reports? | where do the measurements of {s} end up? | to what does {s} report?",
    ),
    Fact(
        MACHINES,
        ("hex", "uuid", "mixed", "number"),
        "the plate on {s} reads {v} | {v} is stamped into {s} | on the back of {s} they scratched {v}",
        "what does the plate on {s} read? | what is stamped into {s}? | what was scratched on the back of {s}?",
    ),
)
HELD_OUT: tuple[Fact, ...] = (
    Fact(
        PEOPLE,
        ("town",),
        "{s} grew up near {v} | as a child {s} played in the streets of {v}",
        "where did {s} spend childhood? | near which city did {s} grow up?",
    ),
    Fact(
        PEOPLE,
        ("thing", "phrase"),
        "{s} collects nothing except {v} | the shelves of {s} carry {v}",
        "what does {s} collect? | what stands on the shelves of {s}?",
    ),
    Fact(
        PEOPLE,
        ("person",),
        "{s} learned the trade from {v} | the apprentice of {v} was {s}",
        "from whom did {s} learn? | who taught {s} the trade?",
    ),
    Fact(
        PEOPLE,
        ("digits4", "digits7"),
        "{s} swims with the start number {v} | the judges wrote {v} beside {s}",
        "with which start number does {s} swim? | what did the judges write beside {s}?",
    ),
    Fact(
        PLACES,
        ("food", "animal"),
        "{s} smells of {v} | visitors of {s} are greeted by the smell of {v}",
        "what does {s} smell of? | which smell greets the visitors of {s}?",
    ),
    Fact(
        PLACES,
        ("phrase", "mixed", "digits6"),
        "a wooden box beneath {s} holds {v} | what lies buried below {s} is {v}",
        "what does the box beneath {s} hold? | what lies buried below {s}?",
    ),
    Fact(
        MACHINES,
        ("digits5", "digits7", "serial"),
        "{s} only starts after the sequence {v} | the pilot wakes {s} through {v}",
        "after which sequence does {s} start? | through what does the pilot wake {s}?",
    ),
    Fact(
        MACHINES,
        ("clock",),
        "{s} falls silent at {v} | at {v} somebody unplugs {s}",
        "when does {s} fall silent? | at which hour does somebody unplug {s}?",
    ),
)
FACTS = {False: TRAIN, True: HELD_OUT}
FRAMES = {
    False: (*("{X}.",) * 4, "I heard that {x}.", "{X}, they say.", "Everyone knows that {x}.", "- {X}", "Oh, and {x}."),
    True: (*("{X}.",) * 4, "Gossip has it that {x}.", "Curiously enough, {x}."),
}


def facts(
    rng: random.Random, needles: int, held_out: bool, keys: Keys | None = None, values: Values | None = None
) -> Lookup:
    """Few kinds of fact with many subjects each; a subject may have several facts, never two of one kind."""
    count = max(1, needles)
    keys, values = keys or Keys(rng, held_out), values or Values(rng, held_out)
    table = [fact for fact in FACTS[held_out] if max(KINDS[v].room for v in fact.values) >= 4 * count]
    some = rng.sample(table, min(len(table), count, rng.randrange(1, 6)))
    made: list[tuple[str, Fact, str, str]] = []
    for fact in some:
        subjects = keys.several(pick(rng, fact.subjects), -(-count // len(some)))
        mates = [f for f in table if f is not fact and f.subjects == fact.subjects and f not in some]
        kind = pick(rng, [v for v in fact.values if KINDS[v].room >= 4 * count])
        for subject in subjects:
            made.append(_said(rng, fact, subject.said, values.fresh(kind) or "0", held_out))
            if mates and chance(rng, 0.3):
                other = pick(rng, mates)
                more = pick(rng, [v for v in other.values if KINDS[v].room >= 4 * count] or ["phrase"])
                made.append(_said(rng, other, subject.said, values.fresh(more) or "0", held_out))
    rng.shuffle(made)
    made = made[:count]

    def ask() -> Question:
        index = rng.randrange(len(made))
        _, fact, subject, value = made[index]
        text = pick(rng, fact.questions.split(" | ")).format(s=subject)
        return question(wrap(rng, text, held_out, keep=text.startswith(subject)), [value], [index])

    return Lookup("facts", tuple(text for text, *_ in made), fair_questions(rng, ask), prose_filler(rng))


def _said(rng: random.Random, fact: Fact, subject: str, value: str, held_out: bool) -> tuple[str, Fact, str, str]:
    template = pick(rng, fact.sentences.split(" | "))
    text = template.format(s=subject, v=value)
    own = template.startswith("{v}") or (template.startswith("{s}") and not subject.startswith("the "))
    frame = pick(rng, FRAMES[held_out]) if held_out or chance(rng, 0.5) else carrier(rng, False)
    speaker = w.FIRST_NAMES.pick(rng, held_out) if "{N}" in frame else ""
    return frame.format(x=text, X=text if own else capital(text), N=speaker), fact, subject, value
