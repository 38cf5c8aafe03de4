"""Word lists the task families draw from: names, places, things, colours, numbers in words."""


def table(words: str) -> list[str]:
    """Words parted by spaces; a long list stays readable as running text."""
    return words.split()


GIRLS = table(
    """
    Anna Mia Lucy Sara Emma Nora Ella Ruby Alice Clara Maya Zoe Rosa Lily Hana Amina Grace Ivy Julia
    Kate Leila Nina Olga Priya Tara Vera Wanda Yara Betty Daisy Fiona Gina Helen Irene Jane Lena
    Molly Pam Sofia Tina
    """
)
BOYS = table(
    """
    Ben Tom Max Leo Sam Jack Paul Omar Hugo Finn Noah Peter Adam Carl David Erik Felix George Henry
    Ivan James Karim Liam Mark Nick Oscar Pedro Ravi Simon Theo Victor Will Yusuf Zack Alan Bob
    Chris Dan Frank Kofi
    """
)
NAMES = tuple(GIRLS + BOYS)
PLACES = table(
    """
    Paris London Rome Berlin Madrid Lisbon Vienna Oslo Dublin Prague Tokyo Cairo Delhi Lima Boston
    Chicago Sydney Toronto Athens Warsaw Helsinki Nairobi Havana Seoul Denver Dallas Geneva Milan
    Naples Munich Hamburg Porto Seville Dover York Leeds Bath Oxford Cambridge Austin
    """
)
COLOURS = table("red blue green yellow white black brown pink purple orange grey silver golden")
ANIMALS = table(
    """
    fox cat dog rabbit bear mouse owl frog duck lion elephant monkey turtle squirrel hedgehog horse
    goat sheep pig bird tiger wolf deer penguin crow snail bee ant hen cow donkey camel whale
    dolphin seal parrot kitten puppy
    """
)
PETS = table("cat dog rabbit parrot hamster goldfish turtle pony mouse duck goat hen")
OBJECTS = table(
    """
    ball book hat kite cup box lamp key bag coat drum chair bell boat bottle basket scarf clock
    mirror ring shoe umbrella blanket brush spoon bowl pencil doll bicycle wagon flute ladder bucket
    plate map candle
    """
)
COUNTED = table(
    """
    apple egg book coin stone shell pencil orange flower stamp cookie marble button balloon card cup
    lemon pear nut ribbon star ticket toy cake carrot potato candle leaf
    """
)
FOODS = table(
    """
    soup bread rice cheese honey cake pasta fish salad pancakes apples carrots noodles beans pizza
    porridge eggs dumplings berries yogurt
    """
)
JOBS = table(
    """
    teacher doctor baker farmer nurse driver painter gardener pilot cook tailor singer fisherman
    carpenter dentist writer builder librarian waiter sailor
    """
)
CONTAINERS = table(
    """
    box drawer basket bag cupboard kitchen garden garage bedroom school car shed attic cellar
    suitcase
    """
)
DAYS = table("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = table(
    """
    January February March April May June July August September October November December
    """
)
WEATHER = table("sunny rainy windy snowy cloudy foggy stormy cold warm hot")
SPORTS = table("football tennis chess basketball swimming running cycling skating hockey golf")
INSTRUMENTS = table("piano guitar violin drums flute trumpet cello harp")
PLURALS = {
    "leaf": "leaves",
    "berry": "berries",
    "box": "boxes",
    "potato": "potatoes",
    "sheep": "sheep",
    "mouse": "mice",
}
WORDS = table(
    """
    apple river cloud house garden window yellow mother winter summer table paper letter music
    school forest island bridge market flower butter silver planet rocket pencil tiger monkey rabbit
    orange lemon pepper sugar coffee water fire stone mountain valley ocean desert bird fish horse
    train plane wheel clock light shadow dream story friend smile laugh dance song word number
    circle square line point hand foot head heart bread milk cheese honey grape melon onion carrot
    bean corn rice wheat salt glass metal wood cotton wool leather shirt shoe coat scarf glove belt
    button pocket zipper street city town village farm field fence gate door wall roof floor stairs
    kitchen bed chair lamp mirror candle basket bottle spoon fork knife plate bowl cup pot pan oven
    soap towel brush comb cat dog cow pig hen duck goose sheep goat wolf bear lion fox deer mouse
    snake frog spider ant bee star moon sun sky rain snow wind storm leaf root seed tree branch
    """
)


def plural(noun: str, count: int = 2) -> str:
    if count == 1:
        return noun
    return PLURALS.get(noun, noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s"))


def pronoun(name: str) -> str:
    return "she" if name in GIRLS else "he"
