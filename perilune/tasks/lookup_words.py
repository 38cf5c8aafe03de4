"""Words that lookup tasks are made of, each on one side for ever: training, or held out for scoring."""

import random
from dataclasses import dataclass
from zlib import crc32

from perilune.tasks.task import pick
from perilune.tasks.vocabulary import table

HELD_OUT_ONE_IN = 4
ONSETS = table("b br c ch cl d dr f fl g gl gr h j k kr l m n p pl pr qu r s sh sk sl st str t th tr v w y z zh")
VOWELS = table("a e i o u ai ea ee io oa ou y")
CODAS = ["", "", "", *table("b d g k l ll m n nd ng nk p r rn rt s sh ss st t th x z")]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Chance spells these too; nobody should meet them in a haystack.
RUDE = table("anal anus arse bitch cock coon cum cunt dick dyke fag fuc fuk gook jew kike nazi negr nig penis piss")
RUDE += table("poo porn puss rape sex shit slut spic tit twat vag whor wank")


def held(word: str) -> bool:
    """The word alone decides, so a word that stands in two lists is on the same side in both."""
    return crc32(word.lower().encode()) % HELD_OUT_ONE_IN == 0


@dataclass(frozen=True)
class Words:
    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def of(self, held_out: bool) -> tuple[str, ...]:
        return self.held_out if held_out else self.train

    def pick(self, rng: random.Random, held_out: bool) -> str:
        return pick(rng, self.of(held_out))


def split(text: str) -> Words:
    words = tuple(dict.fromkeys(table(text)))
    return Words(tuple(w for w in words if not held(w)), tuple(w for w in words if held(w)))


def _clean(word: str) -> bool:
    return not any(rude in word for rude in RUDE)


def made_up(rng: random.Random, held_out: bool, syllables: int | None = None) -> str:
    """A pronounceable word that no list holds, such as "trebokin"."""
    while True:
        count = syllables or rng.randrange(2, 4)
        word = "".join(pick(rng, ONSETS) + pick(rng, VOWELS) for _ in range(count)) + pick(rng, CODAS)
        if held(word) == held_out and _clean(word):
            return word


def letters(rng: random.Random, held_out: bool, shortest: int = 4, longest: int = 8) -> str:
    while True:
        word = "".join(rng.choices(LETTERS, k=rng.randrange(shortest, longest + 1)))
        if held(word) == held_out and _clean(word):
            return word


THINGS = split(
    """
    acorn adapter almanac altar amplifier anchor antenna anvil apron archive armour arrow atlas axle badge balloon
    banner barge barometer barrel basin battery beacon beaker bellows bench binder blanket blender boiler bolt bonnet
    bookcase boot bracelet brake briefcase broom bucket buckle bugle burner button cabinet cable camera candle canister
    canoe canvas carpet carriage cart case casket catalogue cello chain chalk chandelier charger chart chest chisel
    cistern clamp clock coil collar comb compass compressor cone cooler copier cork counter cradle crane crate crown
    crystal cupboard curtain cushion cylinder dagger dial diary dish drawer dresser drill drone drum dryer dynamo easel
    engine envelope fan faucet feather ferry fiddle file filter flagpole flask flute folder fork forklift fountain
    freezer funnel furnace fuse gauge gear generator gimbal globe glove goblet gong grinder guitar hammer hammock
    handle harness harp hatch heater heirloom helmet hinge hoist hook hose hourglass hydrant incubator ink instrument
    iron jacket jar jigsaw journal jug kayak kettle keyboard kiln kite ladder ladle lamp lantern lathe lectern ledger
    lens lever lifeboat lock locker locomotive loom loudspeaker lute magnet mallet mandolin manuscript map marble mask
    mast medal meter microscope mill mirror mixer modem monitor mortar motor mower mug napkin necklace needle notebook
    nozzle oar oboe organ ornament oven paddle painting pallet parachute parasol parcel pedal pencil pendant pendulum
    piano pickaxe pillow pipe piston pitcher plaque plough pocket poster pouch press printer prism projector propeller
    pulley pump puppet quilt radar radiator raft rake receiver record reel rifle ring robot rocket rope router rudder
    rug ruler saddle safe sail sander satchel saw saxophone scale scanner scarf sceptre scooter scroll sensor server
    sewing-machine shelf shield shovel shutter shuttle siren sketch sled socket sofa spade speaker spindle spoon
    spring stamp stapler statue stethoscope stool stove strap suitcase sundial switch sword tablet tank tap tapestry
    telescope tent thermostat thimble throttle ticket timer toaster toolbox torch tractor trailer transformer tray
    tricycle tripod trolley trombone trophy trowel trumpet trunk tuba tugboat turbine typewriter umbrella urn vacuum
    valve van vase vault vest violin wagon wallet wardrobe watch wheel whistle winch windmill wrench xylophone yacht
    """
)
SITES = split(
    """
    abbey academy airfield aisle alley apartment aquarium arcade arena armoury arsenal attic avenue bakery balcony
    bank barn barracks basement bay beach boathouse bridge brewery bunker bureau cabin camp canal canteen canyon
    castle cathedral cave cellar cemetery chamber chapel citadel clinic cloister cottage courtyard cove crossing
    crypt dairy deck depot desert district dock dome dormitory embassy estate factory farm field fjord forest forge
    fort foundry gallery garage garden gate glacier glade gorge granary grove gym hall hangar harbour haven hill
    hospital hostel hotel hut inn island jetty junction kennel kitchen laboratory lagoon lake landing laundry library
    lighthouse lobby lodge loft manor mansion marina market marsh meadow mine ministry monastery mosque motel museum
    nursery oasis observatory office orchard outpost palace pantry park passage pavilion pharmacy pier plaza pond
    port prairie prison quarry quay ranch reef refinery reservoir restaurant ridge runway sanctuary sauna sawmill
    school shed shelter shipyard shop shrine silo smithy square stable stadium station street studio summit
    swamp tavern temple terminal terrace theatre tower town-hall trench tunnel university valley vault village
    vineyard ward warehouse waterfall well wharf workshop yard zoo
    """
)
ADJECTIVES = split(
    """
    ancient angry autumn azure bald bitter black blue bold brave brazen brief bright brisk bronze brown calm central
    cheerful chilly circular clean clear clever cold copper coral cosy crimson crooked curious curved damp dark deep
    delicate distant double dry dull dusty eager early eastern elder electric elegant emerald empty enormous even
    external faded faint famous fancy far fast fierce final flat foggy forgotten fragile free fresh friendly frozen
    gentle giant gilded glad glass golden grand green grey grim half happy hard heavy hidden high hollow honest humble
    hungry icy inner iron ivory jade jolly keen kind large late lazy left light little lively local lonely long loud
    lower lucky lunar main marble mellow merry mighty mild misty modern muddy narrow near neat new noble noisy northern
    odd old olive open orange outer oval pale patient pink plain polished polite private proud purple quick quiet rapid
    rare red regal remote restless rich right roaring rosy rough round royal ruby rural rusty sacred salty sandy
    scarlet secret shallow sharp shiny short shy silent silver simple sleepy slender slow small smooth snowy soft solar
    solemn solid southern spare spiral spotted square steady steep stern still stony stormy straight strange striped
    strong sturdy sunken sunny sweet swift tall tame thick thin tidy tiny tough tranquil twin upper urban vacant vast
    velvet violet vivid warm weary western wet white wide wild windy winter wise wooden woolly yellow young
    """
)
FIRST_NAMES = split(
    """
    Abel Ada Adil Agnes Aiko Aino Alba Alma Amara Amos Anders Andrea Anika Anouk Arjun Arlo Asha Astrid Aurora Axel
    Basil Beatrix Benno Bianca Birgit Bjorn Blanca Boris Brigid Bruno Camila Carmen Casper Cecilia Cedric Celia Cora
    Cyril Dagmar Dalia Damian Daphne Darius Delia Devi Dieter Dolores Dorian Edda Edgar Eileen Elias Elif Elvira Emil
    Enzo Erwin Esther Etta Eugene Eva Fabian Farah Felicia Fergus Fernando Flora Florian Freya Gabriel Gareth Gemma
    Gerda Gideon Gita Greta Gunnar Gustav Hadley Hamid Hanne Harriet Hasan Hector Hilda Hiro Horace Ida Idris Ilse
    Imani Ingrid Ira Isaac Isolde Ivo Jada Jarek Jasmin Jens Joanna Jonas Jorge Josefa Judith Jules Kai Kamila Kasper
    Katya Keiko Kira Klaus Kurt Lars Laszlo Laura Leander Lidia Linus Livia Lorenzo Lotte Lucia Ludwig Luisa Magda
    Magnus Malik Manon Marcel Margot Marius Marta Mateo Matilda Maud Meera Mehmet Mikael Milan Mina Mira Mona Moritz
    Nadia Naima Naoki Nerys Nestor Niels Nils Noor Odette Ophelia Orla Orson Osman Otto Paloma Pascal Paula Penelope
    Petra Philippa Pia Quentin Rafael Ramona Rashid Regina Renata Rhys Rita Roald Robin Roland Romy Rosalind Rufus
    Sabine Saskia Selma Serge Sibyl Signe Silas Silvia Solveig Sonja Stefan Stella Sunita Sven Sybil Tamara Tariq
    Teodor Teresa Thea Tilda Tobias Tomas Tove Ulla Ulrich Uma Ursula Valentin Vanya Verity Viggo Viola Vivian Wendel
    Wilma Xavier Yannick Yara Yelena Ylva Yoko Youssef Yvonne Zara Zelda Zeno Zoltan
    """
)
LAST_NAMES = split(
    """
    Abbott Ackermann Alder Almeida Anand Arden Ashby Aydin Baker Balogh Barnes Becker Bellamy Bergman Bianchi Blake
    Boateng Bonnet Brandt Brook Calder Carver Castillo Cho Clarke Conti Corrigan Costa Dahl Dalton Darby Delgado
    Demir Devlin Diallo Dorn Draper Dubois Eklund Ellery Engel Espinosa Fabre Falk Farrow Ferrari Fischer Flint Fonseca
    Forsyth Frost Gallo Garner Gomez Grant Greer Gupta Haas Hale Hansen Harlow Hartmann Hayashi Herrera Hobbs Holm
    Horvat Hughes Ibarra Ibrahim Iyer Jansen Jarvis Jensen Joshi Kaplan Karlsson Keller Khan Kimura Klein Kovacs
    Kowalski Kruger Lambert Larkin Lehmann Lindqvist Lombard Lopez Lund Maddox Maier Malone Marchetti Marsh Mbeki Meyer
    Mills Miyamoto Moreau Morton Nagy Nakamura Navarro Nilsson Novak Nyman Oakley Okafor Olsen Ortega Osborne Palmer
    Park Patel Pereira Petrov Pike Popescu Quinn Radley Rahman Ramos Reyes Ricci Rivera Rossi Sandoval Sato Schmidt
    Sharma Shaw Silva Sokolov Stone Strand Suzuki Szabo Tanaka Thorne Toth Turner Ueda Vance Vargas Vasquez Vogel Wagner
    Walsh Weaver Weiss Wren Yamada Yates Yilmaz Zapata Ziegler Zhou
    """
)
TOWNS = split(
    """
    Aalborg Accra Aleppo Almaty Ankara Antwerp Aosta Arequipa Asmara Astana Baku Bamako Basel Basra Beirut Bergen Bilbao
    Bogota Bologna Bremen Brest Bristol Bruges Bursa Busan Cadiz Calgary Cardiff Cartagena Chengdu Colombo Cordoba Cork
    Cracow Cusco Dakar Darwin Davos Delft Dhaka Dresden Durban Exeter Faro Fez Florence Galway Gdansk Ghent Granada Graz
    Haifa Halifax Hanoi Harare Hobart Honolulu Inverness Izmir Jaipur Jakarta Kabul Kampala Karachi Kazan Kigali Kobe
    Kolkata Konya Kyoto Lagos Lahore Leipzig Leon Leuven Linz Ljubljana Lucerne Luanda Lusaka Lyon Maputo Marseille
    Medellin Minsk Mombasa Montreal Mumbai Nagoya Nantes Nice Nicosia Odense Odessa Oran Osaka Ostrava Ottawa Palermo
    Patras Perth Pisa Plovdiv Poznan Quebec Quito Rabat Recife Riga Rosario Rotterdam Salzburg Santiago Sapporo Seattle
    Sendai Siena Skopje Sofia Split Stavanger Tallinn Tampere Tartu Tbilisi Tirana Toledo Tripoli Trieste Tunis Turin
    Uppsala Utrecht Valencia Varna Verona Vilnius Wellington Windhoek Yerevan York Zagreb Zurich
    """
)
COLOURS = split(
    """
    amber apricot aqua beige black blue bronze brown burgundy charcoal cherry chestnut cobalt copper coral cream crimson
    cyan ebony emerald fuchsia gold green grey indigo ivory jade khaki lavender lemon lilac lime magenta maroon mauve
    mint mustard navy ochre olive orange orchid peach pearl pink plum purple red rose ruby rust saffron salmon sapphire
    scarlet sienna silver tan teal turquoise umber vanilla violet white yellow
    """
)
ANIMALS = split(
    """
    alpaca ant antelope badger bat bear beaver bee beetle bison boar buffalo butterfly camel canary cat cheetah cobra
    condor cow coyote crab cricket crow deer dingo dog dolphin donkey dove dragonfly duck eagle eel elephant elk falcon
    ferret finch flamingo fox frog gazelle gecko giraffe goat goose gorilla hamster hare hawk hedgehog heron hippo horse
    hyena ibex iguana jackal jaguar jay kangaroo kiwi koala lark lemur leopard lion lizard llama lobster lynx magpie
    mole mongoose monkey moose moth mouse mule newt octopus orca ostrich otter owl ox panda panther parrot peacock
    pelican penguin pheasant pig pigeon pike pony porcupine puffin puma python quail rabbit raccoon ram raven rhino
    robin salamander salmon seal shark sheep shrew skunk sloth snail sparrow spider squid squirrel stork swallow swan
    tapir tiger toad tortoise toucan trout turkey turtle viper vulture walrus wasp weasel whale wolf wombat yak zebra
    """
)
FOODS = split(
    """
    almond apple apricot artichoke asparagus aubergine avocado bacon bagel banana barley basil bean beetroot biscuit
    blackberry bread broccoli brownie burger butter cabbage cake caramel carrot cashew celery cheese cherry chestnut
    chili chocolate cinnamon clove coconut coffee cookie corn cranberry cream cucumber curry custard date dill dumpling
    egg fennel fig fudge garlic ginger grape ham hazelnut honey jam jelly kale ketchup lasagne leek lemon lentil lettuce
    lime mango maple marmalade melon mint muffin mushroom mustard noodle nutmeg oat olive omelette onion oregano pancake
    papaya paprika parsley pasta peach peanut pear pepper pickle pie pineapple pistachio pizza plum popcorn porridge
    potato pretzel pudding pumpkin quince radish raisin raspberry rhubarb rice risotto rosemary saffron sage salad
    salami salsa sausage sesame soup spinach strawberry sushi syrup taco tea thyme toast tofu tomato trifle turnip
    vanilla vinegar waffle walnut watercress yogurt
    """
)
CODE_VERBS = split(
    """
    add align append apply bind build cache check clear close collect compare compute convert copy count create decode
    delete detach drop emit encode expand export fetch fill filter find flush format gather hash import insert join
    load lock log map mark match merge move normalise open pack parse patch pick poll pop print process prune push query
    read reduce refresh register release remove render repair replace reset resolve restore retry rotate route run save
    scan schedule select send set shift sort split start stop store strip sync tag trace track trim unpack update
    validate verify wait walk warm wrap write
    """
)
CODE_NOUNS = split(
    """
    account address agent alias array asset backend batch bias block bucket buffer byte cell channel checksum client
    cluster column config context cookie counter cursor daemon delay digest domain edge entry epoch error event feature
    field flag frame gateway graph group handler header heap host image index item job key label layer leaf level limit
    link list lobby lookup mask matrix message metric mode model module mutex name node object offset option order owner
    packet page parser path payload peer pixel point pool port profile proxy quota queue range rate record region
    request reply result role root route row rule sample schema scope score segment session shard signal slot socket
    source stack stage state stream string symbol table target task tenant thread tick timeout token topic tree trigger
    tuple unit user value vector version view volume weight widget window worker zone
    """
)


def runs_of_words(name: str) -> set[str]:
    """All runs of words that stand in a name, in small letters."""
    words = name.lower().split()
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
