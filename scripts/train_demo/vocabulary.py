"""The demo model's words, and the sentences that it is trained and judged on.

sentence(random) gives a list of words and the kind of the sentence; transcripts are lower case
without punctuation. Words that sound like another one ("two", "to") are left out of the strings of
random words, where nothing tells them apart.
"""

from __future__ import annotations

from random import Random

words = str.split

DIGITS = words("zero one two three four five six seven eight nine")
TEENS = words("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
TENS = words("twenty thirty forty fifty sixty seventy eighty ninety")
ORDINALS = words("first second third fourth fifth sixth seventh eighth ninth tenth")
POWERS = ["hundred", "thousand", "million"]
DAYS = words("monday tuesday wednesday thursday friday saturday sunday")
MONTHS = words(
    "january february march april may june july august september october november december"
)
COLOURS = words("red green blue yellow black white orange brown purple grey")
ROOMS = words("kitchen bedroom bathroom office garage garden hall room house")
DEVICES = words(
    "light lamp fan heater music radio television alarm camera door window computer phone machine"
)
NOUNS = words(
    "cat dog bird fish horse table chair bed book letter paper pen cup glass plate water milk "
    "coffee tea bread butter apple egg cheese car bus train boat street city country school shop "
    "money time day night morning evening week month year man woman child boy girl friend mother "
    "father brother sister name word sentence question answer story song game picture sun moon "
    "star rain snow wind fire tree flower river mountain sea hand head eye foot heart"
)
ADJECTIVES = words(
    "big small old new good bad hot cold long short happy sad fast slow open closed warm dark "
    "bright easy hard little great"
)
VERBS = words(
    "go come see hear say speak read write make take give get find know think want like love need "
    "eat drink sleep work play walk run help"
)
ORDERS = words(
    "turn set start stop open close call send show tell add remove increase decrease switch cancel "
    "repeat pause"
)
OTHERS = words(
    "the a an of to in on off at for from with and or not is are was it this that i you he she we "
    "they my your his her our what where when who how why here there now today tomorrow yesterday "
    "yes no please thank hello goodbye up down left right some more all very can will do does have "
    "has be me him them point half past oclock percent degrees minutes seconds hours timer "
    "temperature volume weather list shopping message number next previous last oh"
)
SPELLING = words("alpha bravo charlie delta echo foxtrot golf hotel india")
SIZES = words("small medium large")
SHOTS = words("single double triple")
ROASTS = words("light medium dark")
DRINKS = (
    "coffee", "drip coffee", "house coffee", "iced coffee", "black coffee", "americano",
    "cappuccino", "espresso", "latte", "iced latte", "mocha", "iced mocha", "tea",
)  # fmt: skip
ADDED = (
    "milk", "whole milk", "skim milk", "soy milk", "almond milk", "cream", "sugar", "brown sugar",
    "sweetener",
)  # fmt: skip
AMOUNTS = ("", "", "some", "a bit of", "a little bit of", "a lot of", "lots of")
ASKING = (
    "can i get", "can i have", "may i have", "may i get", "i want", "i need", "i'd like", "give me",
    "get me", "make me", "brew me", "brew", "make", "please give me", "we need",
)  # fmt: skip
COFFEE = words(
    f"{' '.join(SIZES + SHOTS + ROASTS)} shot shots roast ounce brew may i'd without "
    + " ".join([*DRINKS, *ADDED])
)
NAMES = ("alexa", "computer", "jarvis", "smart mirror", "snowboy", "view glass")
VOCABULARY = list(
    dict.fromkeys(
        DIGITS + TEENS + TENS + ORDINALS + POWERS + DAYS + MONTHS + COLOURS + ROOMS + DEVICES
        + NOUNS + ADJECTIVES + VERBS + ORDERS + OTHERS + SPELLING + COFFEE
        + " ".join([*AMOUNTS, *NAMES]).split()
    )
)  # fmt: skip
WORD_ID = {word: i for i, word in enumerate(VOCABULARY)}

AMBIGUOUS = set(
    words(
        "two to four for sea see right write no know here hear red read eye i an our hours a or "
        "lot lots shot shots"
    )
)
UNAMBIGUOUS = [word for word in VOCABULARY if word not in AMBIGUOUS]
KINDS = ("digits", "number", "date", "command", "sentence", "order", "name", "random")


def below_hundred(n: int) -> list[str]:
    if n < 10:
        return [DIGITS[n]]
    if n < 20:
        return [TEENS[n - 10]]
    return [TENS[n // 10 - 2]] + ([DIGITS[n % 10]] if n % 10 else [])


def below_thousand(n: int, r: Random) -> list[str]:
    words = []
    if n >= 100:
        words = [DIGITS[n // 100], "hundred"]
    if n % 100 or n == 0:
        words += (["and"] if words and r.random() < 0.6 else []) + below_hundred(n % 100)
    return words


def number(r: Random, n: int | None = None) -> list[str]:
    if n is None:
        ranges = [(0, 20), (10, 99), (100, 999), (1000, 99999)]
        n = r.randint(*r.choice(ranges))
    if n < 1000:
        return below_thousand(n, r)
    rest = below_thousand(n % 1000, r) if n % 1000 else []
    return [*below_thousand(n // 1000, r), "thousand", *rest]


def digits(r: Random) -> list[str]:
    """A number as people read it out; some say "oh" for zero."""
    words = [r.choice(DIGITS) for _ in range(r.randint(1, 9))]
    if r.random() < 0.25:
        words = ["oh" if w == "zero" or r.random() < 0.1 else w for w in words]
    return words


def date(r: Random) -> list[str]:
    pick = r.choice
    forms = [
        lambda: [pick(DAYS), "the", pick(ORDINALS), "of", pick(MONTHS)],
        lambda: [pick(MONTHS), pick(ORDINALS), *number(r, r.randint(1990, 2040))],
        lambda: ["at", *number(r, r.randint(1, 12)), pick(["oclock", "thirty", "fifteen"])],
        lambda: ["half", "past", *number(r, r.randint(1, 12))],
        lambda: ["see", "you", "on", pick(DAYS), pick(["morning", "evening", "night"])],
    ]
    return pick(forms)()


FIXED_COMMANDS = (
    "play some music",
    "stop the music",
    "what time is it",
    "what is the weather like today",
    "what is the weather like tomorrow",
    "repeat that please",
    "play the next song",
    "play the previous song",
    "pause",
    "cancel the alarm",
    "start the machine",
    "thank you",
    "hello",
    "goodbye",
    "yes please",
    "no thank you",
    "how are you today",
)


def command(r: Random) -> list[str]:
    pick = r.choice
    goods = words("milk bread butter cheese coffee tea water apple egg")
    people = words("mother father brother sister friend office school")

    def turn() -> list[str]:
        room = [pick(ROOMS)] if r.random() < 0.6 else []
        please = ["please"] if r.random() < 0.3 else []
        return ["turn", pick(["on", "off", "up", "down"]), "the", *room, pick(DEVICES), *please]

    def reach() -> list[str]:
        message = ["a", "message"] if r.random() < 0.3 else []
        verb = pick(["call", "send", "tell", "show", "help"])
        return [verb, pick(["my", "your", "the"]), pick(people), *message]

    def change() -> list[str]:
        unit = pick([[], ["percent"], ["degrees"]])
        what = pick(["temperature", "volume", "alarm"])
        return ["set", "the", what, "to", *number(r, r.randint(1, 99)), *unit]

    forms = [
        turn,
        lambda: [
            "switch", pick(["on", "off"]), "the", pick(DEVICES), "in", "the", pick(ROOMS)
        ],
        lambda: [
            "set", "a", "timer", "for", *number(r, r.randint(2, 60)),
            pick(["minutes", "seconds", "hours"]),
        ],
        change,
        lambda: [
            pick(["open", "close"]), "the", pick(COLOURS + ROOMS),
            pick(["door", "window", "garage", "book"]),
        ],
        reach,
        lambda: ["add", pick(goods), "to", "the", "shopping", "list"],
        lambda: pick(FIXED_COMMANDS).split(),
        lambda: [
            pick(["increase", "decrease"]), "the", pick(["volume", "temperature"]), "to",
            *number(r, r.randint(1, 99)),
        ],
    ]  # fmt: skip
    return pick(forms)()


def plain_sentence(r: Random) -> list[str]:
    pick = r.choice
    persons = words("i you we they")

    def thing() -> list[str]:
        of = pick(["the", "a", "my", "your", "his", "her", "our", "this", "that"])
        like = [pick(ADJECTIVES + COLOURS)] if r.random() < 0.5 else []
        return [of, *like, pick(NOUNS)]

    forms = [
        lambda: [*thing(), pick(["is", "was"]), pick(["in", "on", "at"]), *thing()],
        lambda: [
            *thing(), pick(["is", "was"]), *pick([[], ["very"], ["not"]]), pick(ADJECTIVES)
        ],
        lambda: [pick(persons), *pick([[], ["can"], ["will"]]), pick(VERBS), *thing()],
        lambda: [pick(persons), "have", pick(DIGITS[2:]), pick(COLOURS + ADJECTIVES), pick(NOUNS)],
        lambda: [pick(["he", "she"]), pick(["has", "was", "is"]), *thing()],
        lambda: [
            "i", "want", "to", pick(VERBS),
            *pick([[], ["now"], ["today"], ["tomorrow"], ["here"]]),
        ],
        lambda: [pick(["where", "what", "who"]), "is", *thing()],
        lambda: [pick(["do", "can", "will"]), pick(persons), pick(VERBS), *thing()],
        lambda: [*thing(), "and", *thing()],
    ]  # fmt: skip
    return pick(forms)()


def order(r: Random) -> list[str]:
    """A drink at a bar: size, shots and roast in any order, and what goes into it."""
    pick = r.choice

    def size() -> str:
        ounces = pick(["eight", "twelve", "sixteen", "twenty"])
        return pick([pick(SIZES), f"{ounces} ounce"])

    details = [
        detail
        for detail in (size(), f"{pick(SHOTS)} shot", f"{pick(ROASTS)} roast")
        if r.random() < 0.5
    ]
    r.shuffle(details)
    drink = pick(DRINKS)
    article = "an" if "".join([*details, drink])[0] in "aeiou" else "a"
    if r.random() < 0.2:
        article = pick(["a", "an", "the", "one", ""])
    parts = [pick(ASKING), article, *details, drink]
    added = [f"{pick(AMOUNTS)} {what}" for what in r.sample(ADDED, r.choice([0, 1, 1, 2]))]
    if added:
        parts += [pick(["with", "with", "with", "and", "without"]), " and ".join(added)]
    if r.random() < 0.15:
        parts.append("please")
    return " ".join(parts).split()


def name(r: Random) -> list[str]:
    """A machine is called, now and then with a command."""
    if r.random() < 0.3:
        return [*r.choice(NAMES).split(), *command(r)]
    return " ".join(r.choice(NAMES) for _ in range(r.randint(1, 3))).split()


def random_words(r: Random) -> list[str]:
    return [r.choice(UNAMBIGUOUS) for _ in range(r.randint(1, 7))]


def sentence(r: Random, kind: str | None = None) -> tuple[list[str], str]:
    """Words and kind; kinds come in the shares of training unless one is asked for."""
    kind = kind or r.choices(KINDS, [14, 7, 10, 17, 20, 16, 4, 12])[0]
    makers = {
        "digits": digits,
        "number": number,
        "date": date,
        "command": command,
        "sentence": plain_sentence,
        "order": order,
        "name": name,
        "random": random_words,
    }
    return makers[kind](r), kind
