"""Questions about real recordings and tones: spoken digits and words, coffee orders, everyday sounds, beeps."""

import numpy as np

from perilune.corpus.media import SAMPLE_RATE, Piece, sound
from perilune.tasks.shown import Draw, ShownFamily, Told, wordings
from perilune.tasks.task import a, capital, chance, pick
from perilune.tasks.vocabulary import table

DIGIT = wordings(
    "Which digit do you hear?",
    "What number is said?",
    "Which number does the voice say?",
    "What digit was spoken?",
    "Listen. Which digit is it?",
    "Tell me the digit you hear.",
    "What does the voice say?",
    "Which figure was said?",
    "What number did you hear?",
    "Someone says a digit. Which one?",
    "Name the spoken digit.",
    "Which number is it?",
)
DIGITS = wordings(
    "Which digits do you hear?",
    "Write down the digits.",
    "What numbers are said, in order?",
    "Listen and write the digits in order.",
    "Which digits does the voice say?",
    "Tell me all the digits you hear.",
    "What digits were spoken?",
    "Note the spoken digits.",
    "Which numbers did you hear, one after another?",
    "Write the digits as they are said.",
)
WORD = wordings(
    "Which word do you hear?",
    "What is said?",
    "Which word does the voice say?",
    "What word was spoken?",
    "Listen. Which word is it?",
    "Tell me the word you hear.",
    "What does the voice say?",
    "Write down the word.",
    "What did the person say?",
    "Someone says a word. Which one?",
    "Name the spoken word.",
    "What do you hear?",
)
FIRST = wordings(
    "Which word comes {place}?",
    "Two words are said. Which is {place}?",
    "Which word do you hear {place}?",
    "What is said {place}?",
    "Listen to the two words. Which one comes {place}?",
    "Tell me which word is {place}.",
    "Which of the two words was spoken {place}?",
    "What is the {place} word?",
    "Name the {place} word.",
    "What does the voice say {place}?",
)
ORDER = wordings(
    "What is ordered?",
    "What does the person want?",
    "Which drink is asked for?",
    "What should I make?",
    "Write down the order.",
    "Tell me the order.",
    "What would the guest like?",
    "Listen to the order. What is it?",
    "Somebody orders coffee. What exactly?",
    "Repeat the order in short.",
)
DETAILS = {
    "drink": wordings(
        "Which drink is it?",
        "What kind of coffee is ordered?",
        "Which coffee should I make?",
        "What is the drink?",
        "Name the drink that is ordered.",
        "Which kind of drink do you hear?",
        "What does the guest drink?",
        "Tell me only the drink.",
        "What drink does the voice ask for?",
        "Which drink does the person want?",
    ),
    "size": wordings(
        "Which size?",
        "What size is ordered?",
        "How large should it be?",
        "What size does the person want?",
        "Tell me the size.",
        "How big is the drink?",
        "Which size do you hear?",
        "What size of cup do I take?",
        "Name the size.",
        "Of what size is the order?",
    ),
    "roast": wordings(
        "Which roast?",
        "What roast is asked for?",
        "Which roast does the person want?",
        "What kind of roast do you hear?",
        "Tell me the roast.",
        "Name the roast.",
        "How should the coffee be roasted?",
        "What roast should I take?",
        "Which roast is ordered?",
        "Of which roast is the coffee?",
    ),
}
SOUND = wordings(
    "What do you hear?",
    "What sound is this?",
    "What makes this sound?",
    "Which sound do you hear?",
    "Listen. What is it?",
    "Tell me what you hear.",
    "What is this noise?",
    "What can be heard here?",
    "What is going on in this recording?",
    "Describe the sound.",
    "Can you tell what this sound is?",
    "Which noise is this?",
    "What is making this noise?",
    "Name the sound.",
    "What was recorded here?",
)
SOUNDS_IN_ORDER = wordings(
    "Which two sounds do you hear?",
    "What do you hear first, and what then?",
    "Tell me the two sounds in order.",
    "Listen. What comes first and what second?",
    "Name both sounds in order.",
    "Which sounds follow each other?",
    "What are the two noises, one after the other?",
    "What can be heard, in order?",
    "Describe both sounds in order.",
    "Which sound is first, and which is second?",
)
BEEPS = wordings(
    "How many beeps do you hear?",
    "Count the beeps.",
    "How many tones are there?",
    "How often does it beep?",
    "What is the number of beeps?",
    "How many beeps are there?",
    "Tell me how many beeps you hear.",
    "How many times does it beep?",
    "Listen and count the beeps.",
    "How many short tones can you hear?",
)
PITCH = wordings(
    "Is the second tone higher or lower?",
    "Does the tone go up or down: is the second higher or lower?",
    "Higher or lower: how is the second tone?",
    "Compare the tones. Is the second one higher or lower?",
    "Is the second sound higher or lower than the first?",
    "Two tones: is the last one higher or lower?",
    "How is the second tone, higher or lower than the first?",
    "Listen to the tones. Is the second higher or lower?",
    "Tell me if the second tone is higher or lower.",
    "After the first tone, is the next higher or lower?",
)
DIGIT_WORDS = table("zero one two three four five six seven eight nine")
# A digit is a command word, too: the source that has it under another label, and that label.
IN_THE_OTHER_SET = {
    **{word: ("spoken_digits_fsdd", str(digit)) for digit, word in enumerate(DIGIT_WORDS)},
    **{str(digit): ("speech_commands_sample", word) for digit, word in enumerate(DIGIT_WORDS)},
}
MOST_DIGITS, MOST_BEEPS = 6, 7
LONGEST_SOUND = 4.0


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def joined(draw: Draw, pieces: list[np.ndarray], least: float = 0.1, most: float = 0.5) -> np.ndarray:
    """Sounds one after another with pauses between them."""
    parts = [pieces[0]]
    for piece in pieces[1:]:
        parts += [silence(draw.rng.uniform(least, most)), piece]
    return np.concatenate(parts)


def spoken_digit(draw: Draw) -> Told:
    piece = draw.labelled("spoken_digits_fsdd")
    medium = draw.recorded(sound(_by_others(draw, piece).array))
    return Told(draw.around(draw.ask(DIGIT), medium), f"The digit is {piece.label}.", piece.label)


def _by_others(draw: Draw, piece: Piece) -> Piece:
    """To train on, a third of the digits come from the other set: one has many speakers and few recordings, the other
    few speakers and many."""
    if not draw.trains or not chance(draw.rng, 0.35) or piece.label not in IN_THE_OTHER_SET:
        return piece
    return draw.with_label(*IN_THE_OTHER_SET[piece.label]) or piece


def spoken_digits(draw: Draw) -> Told:
    """Several digits by one speaker."""
    first = draw.labelled("spoken_digits_fsdd")
    pieces = [first, *(_same_voice(draw, first) for _ in range(draw.rng.randint(1, MOST_DIGITS - 1)))]
    answer = " ".join(piece.label for piece in pieces)
    medium = draw.recorded(joined(draw, [sound(piece.array) for piece in pieces]))
    return Told(draw.around(draw.ask(DIGITS), medium), f"{answer}.", answer)


def _same_voice(draw: Draw, like: Piece) -> Piece:
    while (piece := draw.labelled("spoken_digits_fsdd")).group != like.group:
        pass
    return piece


def command(draw: Draw) -> Told:
    piece = draw.labelled("speech_commands_sample")
    medium = draw.recorded(sound(_by_others(draw, piece).array))
    return Told(draw.around(draw.ask(WORD), medium), f'The word is "{piece.label}".', f'"{piece.label}"')


def first_word(draw: Draw) -> Told:
    one = draw.labelled("speech_commands_sample")
    while (two := draw.labelled("speech_commands_sample")).label == one.label:
        pass
    place, word = pick(draw.rng, (("first", one.label), ("second", two.label)))
    medium = draw.recorded(joined(draw, [sound(one.array), sound(two.array)]))
    return Told(draw.around(draw.ask(FIRST, place=place), medium), f'The {place} word is "{word}".', f'"{word}"')


def coffee_order(draw: Draw) -> Told:
    piece = draw.piece("spoken_commands_coffee")
    medium = draw.recorded(sound(piece.array))
    return Told(draw.around(draw.ask(ORDER), medium), f"{capital(piece.label)}.", piece.label)


def coffee_detail(draw: Draw) -> Told:
    piece = draw.piece("spoken_commands_coffee")
    asked = pick(draw.rng, [name for name in DETAILS if name in piece.about])
    medium = draw.recorded(sound(piece.array))
    answer = piece.about[asked]
    reply = f"The guest wants {a(answer)}." if asked == "drink" else f"{capital(answer)}."
    return Told(draw.around(draw.ask(DETAILS[asked]), medium), reply, answer)


def part(draw: Draw, samples_S: np.ndarray, longest: float) -> np.ndarray:
    """At most `longest` seconds of a sound: its loudest part and some chance, for barks are short."""
    count = int(longest * SAMPLE_RATE)
    if len(samples_S) <= count:
        return samples_S
    middle = int(np.argmax(np.abs(samples_S)))
    start = min(max(0, middle - draw.rng.randrange(count)), len(samples_S) - count)
    return samples_S[start : start + count]


def everyday_sound(draw: Draw) -> Told:
    piece = draw.labelled("sounds_esc10")
    samples_S = part(draw, sound(piece.array), draw.rng.uniform(2.0, LONGEST_SOUND))
    return Told(draw.around(draw.ask(SOUND), draw.recorded(samples_S)), f"I hear {piece.label}.", piece.label)


def sounds_in_order(draw: Draw) -> Told:
    one = draw.labelled("sounds_esc10")
    while (two := draw.labelled("sounds_esc10")).label == one.label:
        pass
    samples = [part(draw, sound(piece.array), 2.5) for piece in (one, two)]
    answer = f"{one.label} and then {two.label}"
    medium = draw.recorded(joined(draw, samples))
    return Told(draw.around(draw.ask(SOUNDS_IN_ORDER), medium), f"I hear {answer}.", answer)


def tone(pitch: float, seconds: float, sharp: bool = False) -> np.ndarray:
    """A tone of `pitch` Hz with soft ends; `sharp` adds overtones."""
    time_S = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave_S = np.sin(2 * np.pi * pitch * time_S)
    if sharp:
        wave_S = wave_S + 0.4 * np.sin(6 * np.pi * pitch * time_S) + 0.2 * np.sin(10 * np.pi * pitch * time_S)
    ramp = np.minimum(1.0, np.minimum(time_S, seconds - time_S) / 0.01)
    return (0.5 * wave_S * ramp).astype(np.float32)


def beeps(draw: Draw) -> Told:
    number = draw.rng.randint(1, MOST_BEEPS)
    pitch, seconds = draw.rng.uniform(300, 1400), draw.rng.uniform(0.08, 0.25)
    beep = tone(pitch, seconds, chance(draw.rng, 0.5))
    samples_S = joined(draw, [beep] * number, 0.15, 0.45)
    medium = draw.recorded(np.concatenate([silence(0.2), samples_S, silence(0.2)]), (1.0, 1.0))
    answer = f"{number} beep{'' if number == 1 else 's'}"
    return Told(draw.around(draw.ask(BEEPS), medium), f"I hear {answer}.", answer)


def pitch(draw: Draw) -> Told:
    """Two tones at least a whole tone apart."""
    low = draw.rng.uniform(180, 700)
    high = low * draw.rng.uniform(1.15, 2.2)
    sharp = chance(draw.rng, 0.5)
    answer = pick(draw.rng, ("higher", "lower"))
    pair = (low, high) if answer == "higher" else (high, low)
    tones = [tone(hertz, draw.rng.uniform(0.25, 0.6), sharp) for hertz in pair]
    medium = draw.recorded(joined(draw, tones), (1.0, 1.0))
    return Told(draw.around(draw.ask(PITCH), medium), f"The second tone is {answer}.", f"is {answer}")


FAMILIES = (
    ShownFamily("spoken_digit", spoken_digit, 2.0),
    ShownFamily("spoken_digits", spoken_digits, 1.2),
    ShownFamily("command_word", command, 2.0),
    ShownFamily("first_word", first_word, 0.5),
    ShownFamily("coffee_order", coffee_order, 0.8),
    ShownFamily("coffee_detail", coffee_detail, 0.5),
    ShownFamily("everyday_sound", everyday_sound, 1.4),
    ShownFamily("sounds_in_order", sounds_in_order, 0.6),
    ShownFamily("beeps", beeps, 0.6),
    ShownFamily("pitch", pitch, 0.4),
)
