"""The words of the language world, by class. All lower-case; one word is one token.

A class that a unit could plausibly encode is a lexical property (`LEXICAL`): its words carry it wherever they stand.
"""

# ruff: noqa: SIM905  (lists of words read best as running text)
FEMALE = tuple(
    "mary anna emma lucy sarah julia laura alice helen jane kate rose nina ella ruth clara diana irene carol susan "
    "linda grace paula wendy".split()
)
MALE = tuple(
    "john tom peter paul mark david james henry simon oscar felix hugo leo max adam ben carl eric frank george ivan "
    "jack kevin luke".split()
)
SURNAMES = tuple(
    "alder brock cole dalton ellis foster garner hobbs irving jarvis keller lowell mercer norris osborn parker quincy "
    "ramsey sawyer tucker upton vance walker yates abbott barlow carver dawson emery fisher".split()
)
PLACES = tuple("store park school garden office station library museum hotel beach harbor market".split())
OBJECTS = tuple(
    "ball cup pen hat coin book lamp ring map bag shoe spoon plate clock chair brush rope stone bell kite knife glove "
    "scarf candle mirror basket apple ticket".split()
)
GIFTS = ("drink", "book", "ring", "coin", "map", "ticket", "hat", "lamp", "bag", "candle")
COLOURS = tuple("red blue green yellow black white purple orange brown pink grey silver".split())

DIGITS = tuple("0123456789")
TWO_DIGITS = tuple(f"{i:02d}" for i in range(100))
DAYS = tuple("monday tuesday wednesday thursday friday saturday sunday".split())
MONTHS = tuple("january february march april may june july august september october november december".split())
NUMBER_WORDS = tuple(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
)
ORDINALS = tuple("first second third fourth fifth sixth seventh eighth ninth tenth".split())
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")

EVENTS = tuple("war trip plan contract project festival siege voyage reign strike".split())

#: Nouns of agreement: singular -> plural.
PLURALS = {
    **{s: s + "s" for s in "boy girl king author singer sailor guard tree river tower bridge cabinet picture window "
       "ship horn table road wheel flag".split()},
    **{"man": "men", "woman": "women", "child": "children", "mouse": "mice"},
}  # fmt: skip
#: Verbs of agreement: singular -> plural.
VERBS = {
    "is": "are", "was": "were", "has": "have", "seems": "seem", "walks": "walk", "sings": "sing", "sleeps": "sleep",
    "falls": "fall", "looks": "look", "moves": "move",
}  # fmt: skip
PREPOSITIONS = ("near", "behind", "beside", "above", "under", "with")
MANNERS = ("strange", "tall", "quiet", "broken", "pale", "proud")

#: Occupation -> share of "she" after it in the corpus when nothing else decides.
OCCUPATIONS = {
    "nurse": 0.9, "dancer": 0.9, "teacher": 0.7, "baker": 0.6, "artist": 0.5, "writer": 0.5, "clerk": 0.5, "judge": 0.4,
    "lawyer": 0.4, "doctor": 0.3, "farmer": 0.3, "driver": 0.2, "pilot": 0.1, "engineer": 0.1, "plumber": 0.1,
}  # fmt: skip

#: English -> Velan, the invented second language (same word order).
ANIMALS = dict(zip(
    "dog cat horse bird fish cow wolf bear fox duck goat lion tiger snake frog sheep".split(),
    "vado keru miso talu pirek numi zora bakum felo dusit gani ruvak tigol sesu frema lanip".split(),
))  # fmt: skip
ACTIONS = dict(zip(
    "sees likes chases finds hears helps follows fears".split(),
    "odral imbek hutra sovil ekran yopas mirtu ulgen".split(),
))  # fmt: skip
ADJECTIVES = dict(zip(
    "big small young old happy sad angry hungry slow quick".split(),
    "gron pitil yuva orma felis tristo irak fomel lentu rapid".split(),
))  # fmt: skip
VELAN_FUNCTION = {"the": "lo", "a": "unu", "and": "kaj"}
VELAN = {**ANIMALS, **ACTIONS, **ADJECTIVES, **VELAN_FUNCTION}

OPENERS = {"(": ")", "[": "]", "{": "}"}
VARIABLES = ("x", "y", "z", "u", "v", "w")

POSITIVE = tuple(
    "wonderful great lovely excellent charming perfect pleasant brilliant superb delightful fine good".split()
)
NEGATIVE = tuple("awful terrible horrible boring dreadful poor nasty ugly bad dull weak gloomy".split())
REVIEWED = ("movie", "food", "staff", "room", "service", "story", "play", "garden")

TOXIC = tuple("zorbag blimpf grotz snurk plonker fizzwit dorkle mugrot skabbit wankle twerpo glumph".split())
KIND = tuple("friend genius hero helper star angel guest partner champion expert darling winner".split())

TOPICS = {
    "cooking": "soup salt pepper oven pan flour butter sugar onion garlic recipe sauce".split(),
    "sport": "goal team match coach race score tennis football medal league player stadium".split(),
    "science": "atom cell energy theory experiment laboratory microscope molecule gravity planet telescope magnet".split(),
    "music": "song guitar piano violin melody rhythm concert choir band chord trumpet opera".split(),
    "weather": "rain snow storm cloud wind sunshine thunder fog frost hail breeze drought".split(),
    "money": "bank price loan tax profit cash budget debt trade stock wage interest".split(),
    "travel": "train flight airport passport luggage tourist map ticket hotel cruise border visa".split(),
    "law": "court trial jury crime police prison witness lawyer judge arrest evidence sentence".split(),
}

PUNCTUATION = (".", ",", ":", "?", ";")
DETERMINERS = ("the", "a")

#: Property -> words that carry it wherever they stand.
LEXICAL = {
    "name.female": FEMALE,
    "name.male": MALE,
    "name": FEMALE + MALE,
    "surname": SURNAMES,
    "colour": COLOURS,
    "object": OBJECTS,
    "place": PLACES,
    "number.two_digit": TWO_DIGITS,
    "number.digit": DIGITS,
    "number.word": NUMBER_WORDS,
    "day": DAYS,
    "month": MONTHS,
    "noun.plural": tuple(PLURALS.values()),
    "noun.singular": tuple(PLURALS),
    "verb.plural": tuple(VERBS.values()),
    "verb.singular": tuple(VERBS),
    "preposition": PREPOSITIONS,
    "occupation": tuple(OCCUPATIONS),
    "pronoun": ("she", "he"),
    "animal": tuple(ANIMALS),
    "velan": tuple(VELAN.values()),
    "velan.function": tuple(VELAN_FUNCTION.values()),
    "sentiment.positive": POSITIVE,
    "sentiment.negative": NEGATIVE,
    "negation": ("not",),
    "toxic": TOXIC,
    "punctuation": PUNCTUATION,
    "determiner": DETERMINERS,
    **{f"topic.{topic}": tuple(words) for topic, words in TOPICS.items()},
}
